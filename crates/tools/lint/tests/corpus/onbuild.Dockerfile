FROM node:20 AS base
ONBUILD WORKDIR /app
ONBUILD COPY package.json /app/
ONBUILD RUN npm install lodash
ONBUILD RUN apt-get update && apt-get install python3
FROM base
CMD ["node"]
