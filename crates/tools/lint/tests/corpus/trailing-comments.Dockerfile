FROM node:16-alpine  # small
WORKDIR app   # now in /app
COPY package*.json ./  # first the list
ENV DATABASE_PASSWORD=secret123  # DON'T DO THIS
EXPOSE 80 443  # web
USER node # not root
RUN npm install  # a shell knows comments
CMD ["node", "server.js"]  # starts it
