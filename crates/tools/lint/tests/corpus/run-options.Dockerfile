# syntax=docker/dockerfile:1
FROM alpine:3.20
RUN --mount=type=secret,id=token,env=TOKEN,required=true ./login
RUN --mount=type=ssh git clone git@example.com:a/b
RUN --mount=type=tmpfs,target=/tmp,size=64m --network=none ./test
RUN --security=sandbox ["./a", "b c"]
