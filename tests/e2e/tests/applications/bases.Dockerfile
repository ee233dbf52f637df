# The names that tutorials know, each with the real tools of its language from Debian's packages.
FROM languages AS node
RUN groupadd -g 1000 node && useradd -m -u 1000 -g node node
CMD ["node"]

FROM languages AS python
RUN ln -s python3 /usr/bin/python
CMD ["python"]

FROM languages AS go
ENV GOPATH=/go GOFLAGS=-mod=mod
WORKDIR /go

FROM languages AS java
ENV JAVA_HOME=/usr/lib/jvm/java-17-openjdk-amd64
CMD ["jshell"]
