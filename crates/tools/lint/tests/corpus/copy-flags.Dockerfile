# syntax=docker/dockerfile:1
FROM alpine:3.20
WORKDIR /app
COPY --link --chown=1000:1000 --chmod=u=rwX,go=rX src/ ./src/
COPY --parents --exclude=**/*_test.go ./x/./**/*.go /out/
COPY a b c
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.com/x.tar.xz /
ADD --keep-git-dir=true https://example.com/a/b.git#v1 /b
ADD archive.tar.gz /opt/
ADD --unpack=false archive.tar.gz /opt/
ADD conf /etc/
