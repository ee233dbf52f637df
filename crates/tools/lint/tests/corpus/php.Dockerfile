FROM php:8.3-fpm
RUN apt-get update && apt-get install -y --no-install-recommends libpng-dev=1.6.39-2 \
    && docker-php-ext-install gd
COPY --from=composer:2 /usr/bin/composer /usr/bin/composer
WORKDIR /var/www
COPY . .
RUN composer install --no-dev
USER www-data
