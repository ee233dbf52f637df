FROM alpine:3.20
CMD ['sh', '-c', 'true']
ENTRYPOINT ["sh" "-c"]
