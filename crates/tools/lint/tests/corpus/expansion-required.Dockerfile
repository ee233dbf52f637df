FROM alpine:3.20
ARG v
ENV x="${v:?set v with --build-arg}"
