FROM alpine:3.20 AS one
COPY --from=one /a /a
COPY --from=two /a /a
COPY --from=0 /a /a
COPY --from=docker.io/library/busybox:1.36 /bin/busybox /bin/
FROM scratch AS two
COPY --from=one / /
