FROM alpine:3
RUN apk add --no-cache --virtual .build-deps gcc musl-dev \
    && pip install --no-cache-dir cython==3.0 \
    && apk del .build-deps
RUN apk add --update openssl
