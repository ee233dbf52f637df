FROM node
COPY . .
RUN npm install
RUN npm install express
RUN npm install -g yarn@1.22
EXPOSE 3000
CMD npm start
