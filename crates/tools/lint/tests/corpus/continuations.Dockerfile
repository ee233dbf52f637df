FROM alpine:3.20
RUN true \

 && false \
# between
 && true
ENV A=1 \
    B="two words" \
    C=three\ words
