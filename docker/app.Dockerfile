# The service: ONNX Runtime and HTTP, no torch.
#
#   docker build -f docker/app.Dockerfile -t simtrue .
#   docker build -f docker/app.Dockerfile -t simtrue:cpu --build-arg BASE_IMAGE=python:3.12-slim .
#
# BASE_IMAGE brings the CUDA 13 and cuDNN 9 libraries that ONNX Runtime's CUDA provider loads; any Debian or Ubuntu
# with Python 3.11 or newer (its own or apt's) will do, and one without CUDA gives a service for the processor.
# EXTRAS are those of pyproject.toml: PostgreSQL and S3 for jobs, and for a cluster `postgres,ray,s3`.
ARG BASE_IMAGE=nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04

FROM ${BASE_IMAGE} AS python
RUN python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    || { apt-get update \
        && apt-get install -y --no-install-recommends python3 python3-venv \
        && rm -rf /var/lib/apt/lists/*; }

FROM python AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/simtrue
COPY constraints.txt ./
RUN /opt/simtrue/bin/pip install -c constraints.txt pip setuptools
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY model model
ARG EXTRAS=postgres,s3
RUN /opt/simtrue/bin/pip install --no-build-isolation -c constraints.txt ".[${EXTRAS}]" \
    && rm /opt/simtrue/bin/simtrue-train

FROM python
RUN groupadd --gid 10001 simtrue \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin simtrue \
    && install -d -o 10001 -g 10001 /var/lib/simtrue
COPY --from=build /opt/simtrue /opt/simtrue
# A named volume that is still empty when it is first mounted here starts with these models.
COPY --chown=10001:10001 app/bundled/models /models
ENV PATH=/opt/simtrue/bin:${PATH} \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SIMTRUE_MODELS=/models \
    SIMTRUE_DATA=/var/lib/simtrue
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
# http.client, unlike urllib, never goes through a proxy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('SIMTRUE_PORT', '8000')), timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["simtrue"]
CMD ["serve", "--host", "0.0.0.0"]
