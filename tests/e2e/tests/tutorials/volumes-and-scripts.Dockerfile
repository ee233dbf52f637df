FROM postgres:15
COPY docker-entrypoint.sh /
RUN chmod +x /docker-entrypoint.sh
VOLUME ["/var/lib/data"]
ENTRYPOINT ["/docker-entrypoint.sh"]
CMD ["echo", "served"]
