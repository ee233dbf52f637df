FROM debian:12
MAINTAINER Someone <a@example.com>
ENV APP_ENV production
LABEL description some text
ENV A=1
