FROM ghcr.io/a/b:1 AS one
FROM quay.io:443/a/b
FROM localhost:5000/x:2
FROM one
RUN --mount=from=docker.io/library/alpine:3,target=/x true
