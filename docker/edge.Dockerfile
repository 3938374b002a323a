# The edge: numpy and onnxruntime, no torch.  docker build -f docker/edge.Dockerfile .
ARG BASE=python:3.11-slim
FROM ${BASE} AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/cotam

COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY edge_client edge_client
COPY cloud_server cloud_server
COPY shared shared
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install -c constraints.txt . \
    && /opt/venv/bin/pip uninstall --yes setuptools pip \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} + \
    # What the cloud needs of the bundles stays there.
    && cd /opt/venv/lib/python3*/site-packages/shared/bundles \
    && rm -r */mllm */*.safetensors

FROM ${BASE}

COPY --from=build /opt/venv /opt/venv
RUN useradd --create-home --uid 10001 cotam

ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER cotam
WORKDIR /home/cotam
HEALTHCHECK --interval=60s --timeout=10s CMD ["edge_client", "--version"]
ENTRYPOINT ["edge_client"]
CMD ["--help"]
