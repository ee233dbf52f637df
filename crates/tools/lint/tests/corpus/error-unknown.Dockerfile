FROM alpine:3.20
COYP a b
