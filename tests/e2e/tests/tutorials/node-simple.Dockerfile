FROM node:18-alpine
WORKDIR /srv/shop

# What changes seldom comes first.
COPY package*.json ./
RUN npm ci --omit=dev
COPY . .

EXPOSE 3000
CMD ["node", "server.js"]
