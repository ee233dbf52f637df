FROM alpine:3.20
CMD ["a"]
ENTRYPOINT ["b"]
CMD ["c"]
ENTRYPOINT ["d"]
SHELL ["/bin/ash", "-eo", "pipefail", "-c"]
RUN a | b
SHELL ["/bin/sh", "-c"]
RUN a | b
