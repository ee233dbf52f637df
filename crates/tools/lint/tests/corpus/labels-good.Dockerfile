FROM alpine:3.20
LABEL maintainer="a@example.com" \
      org.opencontainers.image.version="1.0.0"
