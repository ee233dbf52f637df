FROM alpine:3.20 AS a
RUN wget -q https://example.com/a
FROM alpine:3.20 AS b
RUN curl -fsS https://example.com/b -o b
RUN wget --progress=dot:giga https://example.com/b
