# hadolint global ignore=DL3059
FROM ubuntu:22.04
# hadolint ignore=DL3008,DL3015
RUN apt-get update && apt-get install -y curl
RUN apt-get install -y git
# hadolint ignore=DL4006
# not directly above
RUN a | b
# hadolint stage ignore=DL3006
FROM debian
# check=skip=WorkdirRelativePath
WORKDIR app
