FROM node:20-bookworm
WORKDIR /src
COPY . /src/
RUN yarn install
RUN yarn cache clean && yarn install
CMD ["yarn", "start"]
