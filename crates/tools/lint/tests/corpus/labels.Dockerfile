FROM alpine:3.20
LABEL org.opencontainers.image.source="https://example.com/a" Upper=x
LABEL com.docker.internal=1
LABEL a..b=1 trailing-=2
LABEL maintainer me
