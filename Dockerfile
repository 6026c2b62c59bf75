# One node. Its configuration comes from the environment (QUORUMLOG_CLUSTER_ID, QUORUMLOG_NODE_ID, QUORUMLOG_NODES; see
# compose.yaml) or from a file: docker run … node run --config /etc/quorumlog.toml
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
# pip reads these two. Where the build reaches no package index, docker/image gives PIP_NO_INDEX=1 and the wheels that
# docker/wheels has gathered; otherwise they stay unset.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY . .
RUN python3 -m venv /tools \
    && /tools/bin/pip install --constraint constraints.txt hatchling setuptools \
    && /tools/bin/pip wheel --no-build-isolation --constraint constraints.txt --wheel-dir /wheels .
RUN python3 -m venv /opt/quorumlog \
    && /opt/quorumlog/bin/pip install --no-index --find-links /wheels quorumlog \
    && /opt/quorumlog/bin/pip uninstall --yes pip setuptools

FROM ${BASE_IMAGE}
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin quorumlog \
    && install --directory --owner quorumlog /data
COPY --from=build /opt/quorumlog /opt/quorumlog
USER quorumlog
VOLUME /data
# Listen on every interface: the addresses in QUORUMLOG_NODES are how others reach the node, not what it binds.
ENV PATH=/opt/quorumlog/bin:$PATH \
    QUORUMLOG_DATA_DIR=/data \
    QUORUMLOG_BIND_HOST=0.0.0.0 \
    QUORUMLOG_LOG_FORMAT=json \
    PYTHONUNBUFFERED=1
EXPOSE 7401 7501 7601
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["quorumlog", "cluster", "ping", "--server", "127.0.0.1:7401"]
# Docker's default signal, which a node takes as: hand leadership over, then go.
STOPSIGNAL SIGTERM
ENTRYPOINT ["quorumlog"]
CMD ["node", "run"]
