# dhow=strict
FROM node:16-alpine
WORKDIR /app # not a comment
CMD ["node", "server.js"] # shell form
