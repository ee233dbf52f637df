FROM ubuntu:22.04
MAINTAINER A Person <person@example.com>
ENV APP_ENV production
ENV MODE fast and loose
RUN apt-get update
RUN apt-get install -y curl
ADD app.py /opt/
CMD echo $APP_ENV $MODE
