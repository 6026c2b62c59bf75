# One node. Its configuration comes from the environment (QUORUMLOG_CLUSTER_ID, QUORUMLOG_NODE_ID, QUORUMLOG_NODES; see
# compose.yaml) or from a file: docker run … node run --config /etc/quorumlog.toml
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /source
COPY . .
RUN python -m pip install --no-cache-dir --constraint constraints.txt hatchling \
    && python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM ${BASE_IMAGE}
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/
RUN python -m pip install --no-cache-dir --no-compile --constraint /wheels/constraints.txt /wheels/*.whl \
    && rm -r /wheels \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin quorumlog \
    && install --directory --owner quorumlog /data
USER quorumlog
VOLUME /data
# Listen on every interface: the addresses in QUORUMLOG_NODES are how others reach the node, not what it binds.
ENV QUORUMLOG_DATA_DIR=/data \
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
