# docker build -t onward-worker . && docker run -v ./app:/app/app onward-worker worker app.tasks
ARG PYTHON=3.13.14

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/onward
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
ARG EXTRAS=celery,cli,hatchet,otel,temporal,yaml
RUN /opt/onward/bin/pip install ".[${EXTRAS}]"

FROM python:${PYTHON}-slim
RUN useradd --uid 10001 --create-home --home-dir /app --shell /usr/sbin/nologin onward
COPY --from=build /opt/onward /opt/onward
ENV PATH=/opt/onward/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["onward"]
CMD ["worker", "--help"]
