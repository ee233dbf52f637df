FROM node:22 AS build
WORKDIR /web
COPY . .
RUN npm ci && npm run build
FROM nginx:1.27-alpine
COPY --from=build /web/dist /usr/share/nginx/html
COPY <<EOF /etc/nginx/conf.d/default.conf
server {
    listen 80;
    root /usr/share/nginx/html;
    location / { try_files \$uri /index.html; }
}
EOF
EXPOSE 80
