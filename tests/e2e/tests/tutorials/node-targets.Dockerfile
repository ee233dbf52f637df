FROM node:18-alpine AS base
WORKDIR /shop
COPY package*.json ./

FROM base AS development
RUN npm install
COPY . .
CMD ["npm", "start"]

FROM development AS test
RUN npm run test && npm run lint

FROM base AS production
RUN npm ci --only=production
COPY --from=development /shop/server.js ./
CMD ["node", "server.js"]
