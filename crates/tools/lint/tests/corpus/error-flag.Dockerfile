FROM alpine:3.20
RUN --mount=type=chache,target=/x true
