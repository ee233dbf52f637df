FROM node:18-alpine
RUN addgroup -g 1001 -S shop && \
    adduser -S clerk -u 1001 -G shop
WORKDIR /shop
COPY package*.json ./
RUN npm ci --only=production
COPY . .
RUN chown -R clerk:shop /shop
USER clerk
CMD ["sh", "-c", "id -un; node server.js"]
