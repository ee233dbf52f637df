FROM node:18-alpine            # the small one

WORKDIR /shop
WORKDIR front                  # now /shop/front
COPY package*.json ./          # both of them
RUN npm install                # into node_modules
COPY . .                       # all the rest
ENV GREETING=hello             # said by the server
CMD ["node", "server.js"]      # and go
