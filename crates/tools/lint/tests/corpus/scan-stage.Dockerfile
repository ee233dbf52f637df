FROM aquasec/trivy:0.56.0 AS security
COPY . /scan
RUN trivy fs --exit-code 1 /scan
FROM alpine:3.20 AS runtime
HEALTHCHECK CMD ["true"]
FROM runtime
