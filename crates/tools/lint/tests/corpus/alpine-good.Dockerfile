FROM alpine:3.20
RUN apk add --no-cache nginx=1.26.2-r0 curl~8
RUN adduser -D -u 10001 web
USER 10001
CMD ["nginx", "-g", "daemon off;"]
