FROM python:3.11 AS base
ENV PIP_NO_CACHE_DIR=1
FROM base
RUN pip install -r requirements.txt
ONBUILD RUN pip install black
