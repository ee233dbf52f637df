ARG NODE=18-alpine
FROM node:${NODE}
ARG NODE_ENV=production
ARG VERSION=1.0.0
ARG COMMIT
LABEL version="${VERSION}" commit="${COMMIT:-unknown}"
ENV NODE_ENV=${NODE_ENV} \
    PORT=3000 \
    RELEASE=${VERSION}-${NODE_ENV}
WORKDIR /shop
COPY package*.json ./
RUN if [ "$NODE_ENV" = "development" ]; then \
      npm install; \
    else \
      npm ci --only=production; \
    fi
COPY . .
EXPOSE ${PORT}
CMD echo $RELEASE $PORT
