FROM somebodys-own-app
EXPOSE 8080/tcp
