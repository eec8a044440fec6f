# The trainer: torch, ONNX export, TensorBoard logs.
#
#   docker build -f docker/trainer.Dockerfile -t simtrue-trainer .
#
# torch's own wheels carry CUDA, so that BASE_IMAGE only has to be a Debian or Ubuntu with Python 3.11 or newer (its
# own or apt's); the driver comes from the host. gcc and Python's headers are for torch.compile.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS python
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && { python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
        || apt-get install -y --no-install-recommends python3-dev python3-venv; } \
    && rm -rf /var/lib/apt/lists/*

FROM python AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/simtrue
COPY constraints.txt ./
RUN /opt/simtrue/bin/pip install -c constraints.txt pip setuptools
COPY pyproject.toml README.md LICENSE ./
COPY model model
COPY trainer trainer
RUN /opt/simtrue/bin/pip install --no-build-isolation -c constraints.txt '.[train]' \
    && rm /opt/simtrue/bin/simtrue

FROM python
# The same user as the service's: what the trainer publishes in the shared volume, the service can read.
RUN groupadd --gid 10001 simtrue \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin simtrue \
    && install -d -o 10001 -g 10001 /models /runs
COPY --from=build /opt/simtrue /opt/simtrue
ENV PATH=/opt/simtrue/bin:${PATH} \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /runs
STOPSIGNAL SIGTERM
ENTRYPOINT ["simtrue-train"]
CMD ["--help"]
