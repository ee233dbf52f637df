FROM ubuntu:22.04
RUN apt update
RUN apt-get install vim curl
RUN apt-get -y install wget
RUN wget https://example.com/x.tgz
RUN curl -s https://example.com | tar xz
RUN sudo service nginx start
RUN ln -sf /bin/bash /bin/sh
RUN service nginx start
