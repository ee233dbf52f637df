# One service a container. The first:
FROM nginx:alpine
COPY nginx.conf /etc/nginx/nginx.conf

# The second:
FROM python:3.11-slim
COPY app.py .
CMD ["python", "app.py"]
