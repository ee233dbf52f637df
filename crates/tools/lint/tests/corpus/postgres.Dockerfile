FROM postgres:16.4
ENV POSTGRES_DB app
ENV POSTGRES_PASSWORD=example
COPY init.sql /docker-entrypoint-initdb.d/
