FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements.txt .
RUN pip wheel --no-cache-dir --wheel-dir=/wheels -r requirements.txt

FROM python:3.12-slim
RUN groupadd --gid 1001 app && useradd --uid 1001 --gid app app
WORKDIR /app
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl && rm -rf /wheels
COPY app/ app/
USER 1001
ENTRYPOINT ["gunicorn", "--bind", "0.0.0.0:8000", "app:app"]
