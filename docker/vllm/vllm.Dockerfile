# vLLM without root: a user with a name, and a folder for weights that is its own.
ARG BASE=vllm/vllm-openai:v0.32.0
FROM ${BASE}

RUN useradd --create-home --uid 10001 cotam && install -d -o cotam -g cotam /models
ENV HF_HOME=/models HOME=/tmp VLLM_NO_USAGE_STATS=1

USER cotam
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=1800s \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
