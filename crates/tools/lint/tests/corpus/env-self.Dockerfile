FROM alpine:3.20
ENV A=1 B=$A/bin
ENV A=2 PATH=$PATH:/opt
ENV C=3 D=${C}
