FROM node:20-bookworm AS build
WORKDIR /src
COPY package.json yarn.lock ./
RUN yarn install --frozen-lockfile
COPY . .
RUN yarn build

FROM node:20-bookworm
WORKDIR /src
COPY --from=build /src/dist dist/
RUN yarn install --production && yarn cache clean
CMD ["node", "dist/main.js"]
