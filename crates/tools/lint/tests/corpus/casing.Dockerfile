from alpine:3.20 as Build
run true
COPY a /a
Run true
FROM alpine:3.20 as next
