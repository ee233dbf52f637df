# check=experimental=all
# base is what all are from
FROM alpine:3.20 AS base
# no such name
ARG VERSION=1
