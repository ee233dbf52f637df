# syntax=docker/dockerfile:1
FROM debian:12
RUN <<EOF
set -e
apt-get update
apt-get install -y --no-install-recommends git=1:2.39.5-0
rm -rf /var/lib/apt/lists/*
EOF
RUN <<'PY' python3
print("a | b")
PY
RUN <<-EOT
	#!/usr/bin/env bash
	echo indented
	EOT
COPY --chmod=0755 <<one <<-"two" /scripts/
echo $HOME
one
	echo $HOME
	two
RUN cat <<A > /a && cat <<B > /b
first
A
second
B
