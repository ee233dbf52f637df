# syntax=docker/dockerfile:1
FROM --platform=$BUILDPLATFORM golang:1.23 AS build
ARG TARGETPLATFORM
RUN echo $TARGETPLATFORM && go version
FROM --platform=$TARGETPLATFORM alpine:3.20
FROM --platform=linux/amd64 alpine:3.20
COPY --from=0 /x /x
