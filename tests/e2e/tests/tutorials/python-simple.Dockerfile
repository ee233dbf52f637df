FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 \
    APP_HOME=/srv/app
WORKDIR $APP_HOME
RUN apt-get update && \
    apt-get install -y --no-install-recommends gcc && \
    rm -rf /var/lib/apt/lists/*
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
RUN useradd -m -u 1000 worker && chown -R worker:worker $APP_HOME
USER worker
EXPOSE 8000
CMD ["python", "app.py"]
