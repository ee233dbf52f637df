RUN true
ARG X
COPY a b
