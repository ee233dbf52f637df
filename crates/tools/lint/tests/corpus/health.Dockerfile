FROM alpine:3.20
HEALTHCHECK --interval=1m30s --timeout=500ms --start-interval=1s --retries=2 CMD wget -q -O- localhost || exit 1
HEALTHCHECK NONE
STOPSIGNAL SIGQUIT
