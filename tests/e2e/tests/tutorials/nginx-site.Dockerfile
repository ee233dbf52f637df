FROM node:18 AS builder
WORKDIR /site
COPY package*.json ./
RUN npm ci
COPY . .
RUN npm run build && sed s/x/y/ < server.js > dist/index.html

FROM nginx:alpine
COPY --from=builder /site/dist /usr/share/nginx/html
COPY nginx.conf /etc/nginx/conf.d/default.conf
HEALTHCHECK --interval=30s --timeout=3s \
  CMD wget --quiet --tries=1 --spider http://localhost/ || exit 1
