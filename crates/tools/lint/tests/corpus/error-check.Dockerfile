# check=skpi=all
FROM alpine:3.20
