FROM alpine:3.20
RUN <<EOF
apk add curl
apt-get install git
EOF
