"""Real nodes as processes on the loopback, for tests that talk to them with bare gRPC stubs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from quorumlog.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    errors_pb2,
    groups_pb2_grpc,
    log_pb2,
    log_pb2_grpc,
    metadata_pb2,
    metadata_pb2_grpc,
    offsets_pb2_grpc,
)
from quorumlog.wire.batch import encode_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_SECONDS = 15.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """What ``condition`` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return found


def one_batch(*values: bytes, producer_id: int = 0, producer_epoch: int = 0, base_sequence: int = 0) -> bytes:
    """A batch of records with these values."""
    return encode_batch(
        values,
        timestamps_ms=[1_700_000_000_000 + number for number in range(len(values))],
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )


def error_of(error: Any) -> errors_pb2.Error:
    """The typed error inside a failed call; every failure must carry one."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    for detail in status.details:
        if detail.Is(errors_pb2.Error.DESCRIPTOR):
            found = errors_pb2.Error()
            detail.Unpack(found)
            return found
    raise AssertionError(f"no quorumlog.v1.Error in {status}")


class Refused:
    """``with Refused() as refused: stub.Call(...)`` — afterwards what it failed with."""

    code: grpc.StatusCode
    reason: str
    outcome: str
    error: errors_pb2.Error
    seconds: float

    def __enter__(self) -> Refused:
        self._began = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        assert error is not None, "the call succeeded"
        if not isinstance(error, grpc.RpcError):
            return False
        self.seconds = time.monotonic() - self._began
        self.code = error.code()
        self.error = error_of(error)
        self.reason = errors_pb2.Reason.Name(self.error.reason).removeprefix("REASON_")
        self.outcome = errors_pb2.Outcome.Name(self.error.outcome).removeprefix("OUTCOME_")
        return True


class LiveNode:
    """One node: its files, its process, its stubs."""

    def __init__(self, cluster: LiveCluster, node_id: int) -> None:
        self.node_id = node_id
        self.address = f"127.0.0.1:{cluster.ports[node_id][0]}"
        self.metrics_port = cluster.ports[node_id][2]
        self.data_dir = cluster.directory / f"data-{node_id}"
        self.config = cluster.directory / f"node-{node_id}.toml"
        self.log_path = cluster.directory / f"node-{node_id}.log"
        self.config.write_text(cluster.config_text(node_id, self.data_dir))
        self.process: subprocess.Popen[bytes] | None = None
        options = (("grpc.max_receive_message_length", -1), ("grpc.max_reconnect_backoff_ms", 100))
        self.channel = grpc.insecure_channel(self.address, options=(*options, ("grpc.enable_http_proxy", 0)))
        # Any: the stubs' types do not know that a streaming call is an iterator that can be cancelled.
        self.log: Any = log_pb2_grpc.LogStub(self.channel)
        self.offsets: Any = offsets_pb2_grpc.OffsetsStub(self.channel)
        self.groups: Any = groups_pb2_grpc.GroupsStub(self.channel)
        self.metadata: Any = metadata_pb2_grpc.MetadataStub(self.channel)
        self.admin: Any = admin_pb2_grpc.AdminStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def start(self) -> None:
        """Starts the process; does not wait for it."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "quorumlog.server", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if not name.startswith("QUORUMLOG_")},
            )

    def serving(self, service: str = "") -> bool:
        """Health says so."""
        assert self.process is None or self.process.poll() is None, self.log_path.read_text()
        try:
            answer = self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=1)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and waits until the kernel has buried it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(PATIENCE_SECONDS)

    def describe(self) -> admin_pb2.DescribeNodeResponse:
        answer: admin_pb2.DescribeNodeResponse = self.admin.DescribeNode(admin_pb2.DescribeNodeRequest(), timeout=5)
        return answer

    def topics(self, *names: str) -> dict[str, metadata_pb2.TopicInfo]:
        answer = self.metadata.GetMetadata(metadata_pb2.GetMetadataRequest(topics=names), timeout=5)
        return {topic.name: topic for topic in answer.topics}


class LiveCluster:
    """Nodes on free ports with their data under ``directory``."""

    def __init__(self, directory: Path, size: int, cluster_id: str = "test") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.cluster_id = cluster_id
        ports = free_ports(3 * size)
        self.ports = {number + 1: tuple(ports[3 * number : 3 * number + 3]) for number in range(size)}
        self.nodes = {number: LiveNode(self, number) for number in self.ports}

    def config_text(self, node_id: int, data_dir: Path) -> str:
        lines = [f'cluster_id = "{self.cluster_id}"', f"node_id = {node_id}", f'data_dir = "{data_dir}"']
        for number, ports in self.ports.items():
            lines += ["[[nodes]]", f"node_id = {number}"]
            for key, port in zip(("client", "peer", "metrics"), ports, strict=True):
                lines.append(f'{key}_address = "127.0.0.1:{port}"')
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        """Starts all nodes and waits until they serve."""
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            until(node.serving, f"node {node.node_id} serves")

    def close(self) -> None:
        for node in self.nodes.values():
            node.channel.close()
            node.kill()

    def create_topic(self, name: str, **config: int) -> metadata_pb2.TopicInfo:
        """Makes a topic through whichever node leads the controller, and waits for its leaders."""
        request = admin_pb2.CreateTopicRequest(
            name=name, config=metadata_pb2.TopicConfig(**{"partitions": 1, **config})
        )

        def made() -> bool:
            for node in self.nodes.values():
                with contextlib.suppress(grpc.RpcError):
                    node.admin.CreateTopic(request, timeout=5)
                    return True
            return False

        until(made, f"topic {name} is made")
        until(lambda: self._all_know(name), f"all nodes know who leads {name}")
        return self.leader(name).topics(name)[name]

    def _all_know(self, topic: str) -> bool:
        """Every node names the same leaders, and each of them serves."""
        try:
            views = [node.topics(topic) for node in self.nodes.values()]
        except grpc.RpcError:
            return False
        if not all(views):
            return False
        leaders = [[part.leader_node_id for part in view[topic].partitions] for view in views]
        return (
            all(leaders[0])
            and all(view == leaders[0] for view in leaders)
            and all(self._leader(topic, partition) for partition in range(len(leaders[0])))
        )

    def leader(self, topic: str, partition: int = 0) -> LiveNode:
        """The node that leads a partition, by the word of a node that serves it itself."""
        return until(lambda: self._leader(topic, partition), f"{topic}/{partition} has a leader")  # type: ignore[no-any-return]

    def _leader(self, topic: str, partition: int) -> LiveNode | None:
        request = log_pb2.ListOffsetsRequest(topic=topic, partition=partition, end=True)
        for node in self.nodes.values():
            with contextlib.suppress(grpc.RpcError):
                node.log.ListOffsets(request, timeout=2)
                return node
        return None

    def controller(self) -> LiveNode:
        """The node that leads the controller."""

        def named() -> LiveNode | None:
            for node in self.nodes.values():
                with contextlib.suppress(grpc.RpcError):
                    for replica in node.describe().replicas:
                        if replica.group_id == 1 and replica.role == "leader":
                            return node
            return None

        return until(named, "the controller has a leader")  # type: ignore[no-any-return]


@contextlib.contextmanager
def live_cluster(directory: Path, size: int) -> Iterator[LiveCluster]:
    """A running cluster, killed at the end."""
    cluster = LiveCluster(directory, size)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
