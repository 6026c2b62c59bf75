"""Looking at a node from outside, without waiting: does it serve, and whom does it take for leader?

The launcher polls many nodes that may be dead, and wants an answer or a "no", never an exception or a retry; so it
speaks gRPC directly instead of through the client, whose virtue is to keep trying.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quorumlog.v1 import metadata_pb2, metadata_pb2_grpc

if TYPE_CHECKING:
    from types import TracebackType

#: A channel to a node that is being started must not sit out gRPC's default back-off of a second and more.
CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class NodeProbe:
    """One node's client listener, asked with short deadlines."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._health = health_pb2_grpc.HealthStub(self._channel)
        self._metadata = metadata_pb2_grpc.MetadataStub(self._channel)

    def serving(self, timeout_s: float = 0.5) -> bool:
        """It answers its health check with SERVING."""
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(service=""), timeout=timeout_s)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def metadata(self, timeout_s: float = 0.5) -> metadata_pb2.GetMetadataResponse | None:
        """The cluster as the node knows it; None when it does not answer."""
        try:
            return self._metadata.GetMetadata(metadata_pb2.GetMetadataRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return None

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
