# The service as a Ray Serve application.  docker build -f docker/ray/ray.Dockerfile .
# `docker compose --profile ray up` runs it as it stands; KubeRay runs Ray's own commands in it.
ARG BASE=python:3.11-slim
FROM ${BASE}

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/cotam

COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY edge_client edge_client
COPY cloud_server cloud_server
COPY shared shared
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install -c constraints.txt ".[cloud,ray]" \
    && rm -rf /opt/cotam \
    && useradd --create-home --uid 10001 cotam \
    && install -d -o cotam -g cotam /home/cotam/.ray

ENV PATH=/opt/venv/bin:$PATH COTAM_HOST=0.0.0.0 COTAM_PORT=8000
USER cotam
WORKDIR /home/cotam
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=300s \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["python3", "-m", "cloud_server.ray_app"]
