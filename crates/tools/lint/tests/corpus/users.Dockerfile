FROM alpine:3.20
USER root
RUN useradd -u 123456789 big
RUN useradd -l -u 123456789 big
USER app:app
FROM alpine:3.20
USER 0
FROM alpine:3.20
USER root
USER 1000
