# Stage 1: everything that building needs
FROM node:18 AS builder
WORKDIR /shop
COPY package*.json ./
RUN npm ci
COPY . .
RUN npm run build

# Stage 2: what is shipped
FROM node:18-alpine
WORKDIR /shop
RUN apk add --no-cache dumb-init
COPY --from=builder --chown=node:node /shop/dist ./dist
COPY --chown=node:node package*.json ./
RUN npm ci --only=production
USER node
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s --retries=3 \
  CMD wget --spider http://localhost:3000/health || exit 1
ENTRYPOINT ["dumb-init", "--"]
CMD ["node", "dist/server.js"]
