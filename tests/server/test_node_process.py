"""A node as a process: what keeps it from starting is one clear line, and stopping it is orderly."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from queue import SimpleQueue
from typing import TYPE_CHECKING

import google_crc32c
import grpc
import pytest
from server.live_nodes import PATIENCE_SECONDS, LiveCluster, LiveNode, one_batch, until

from quorumlog.v1 import errors_pb2, log_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LiveCluster]:
    made = LiveCluster(tmp_path / "cluster", 1)
    yield made
    made.close()


def run_to_its_end(*arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a node that cannot start."""
    result = subprocess.run(
        [sys.executable, "-m", "quorumlog.server", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return result.returncode, result.stderr


def refusal(*arguments: str, code: int = 1) -> str:
    """The one line with which a node says why it does not start."""
    returned, said = run_to_its_end(*arguments)
    assert returned == code, said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("quorumlog: ")
    return lines[0]


def test_an_unknown_key_ends_it_with_code_2(cluster: LiveCluster) -> None:
    config = cluster.nodes[1].config
    config.write_text('data_dri = "x"\n' + config.read_text())
    assert "unknown key 'data_dri'" in refusal("--config", str(config), code=2)


def test_a_wrong_flag_ends_it_with_code_2(cluster: LiveCluster) -> None:
    said = refusal("--config", str(cluster.nodes[1].config), "--log-level", "loud", code=2)
    assert "log_level" in said


def test_a_directory_in_use_is_refused(cluster: LiveCluster) -> None:
    node = cluster.nodes[1]
    node.start()
    until(node.serving, "it serves")
    assert "in use by a running node" in refusal("--config", str(node.config))
    assert node.serving(), "the running node is not disturbed"


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> LiveNode:
    """A node that has run and left its directory behind."""
    left = LiveCluster(tmp_path_factory.mktemp("used"), 1)
    node = left.nodes[1]
    node.start()
    until(node.serving, "it serves")
    left.close()
    return node


def test_a_directory_of_another_cluster_is_refused(used: LiveNode) -> None:
    said = refusal("--config", str(used.config), "--cluster-id", "other")
    assert "belongs to cluster 'test', not 'other'" in said


def test_a_directory_of_another_node_is_refused(used: LiveNode) -> None:
    nodes = "1=127.0.0.1:1001:1002:1003,2=127.0.0.1:1004:1005:1006"
    assert "belongs to node 1, not 2" in refusal("--config", str(used.config), "--node-id", "2", "--nodes", nodes)


def test_a_directory_of_a_newer_format_is_refused_and_not_touched(used: LiveNode) -> None:
    path = used.data_dir / "node.json"
    before = path.read_text()
    identity = json.loads(before)
    identity["format"] = 99
    checked = json.dumps([99, identity["cluster"], identity["node"]]).encode()
    identity["crc32c"] = google_crc32c.value(checked)
    path.write_text(json.dumps(identity))
    assert "format version 99" in refusal("--config", str(used.config))
    assert json.loads(path.read_text()) == identity
    path.write_text(before)


def test_a_damaged_identity_is_refused(used: LiveNode) -> None:
    paths = [used.data_dir / name for name in ("node.json", "node.copy.json")]
    before = paths[0].read_text()
    for path in paths:
        path.write_text(before.replace('"node": 1', '"node": 2'))
    assert "is damaged" in refusal("--config", str(used.config))
    for path in paths:
        path.write_text(before)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["clients", "peers", "metrics"])
def test_a_port_in_use_is_named(cluster: LiveCluster, which: int) -> None:
    port = cluster.ports[1][which]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        said = refusal("--config", str(cluster.nodes[1].config))
    assert f"127.0.0.1:{port}" in said
    assert ("clients", "peers", "metrics")[which] in said
    assert "in use" in said


def test_a_missing_parent_directory_is_refused(cluster: LiveCluster, tmp_path: Path) -> None:
    said = refusal("--config", str(cluster.nodes[1].config), "--data-dir", str(tmp_path / "not" / "there"))
    assert "No such file or directory" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_good_order(cluster: LiveCluster, number: signal.Signals) -> None:
    node = cluster.nodes[1]
    node.start()
    until(node.serving, "it serves")
    cluster.create_topic("kept")
    node.log.Append(log_pb2.AppendRequest(topic="kept", batch=one_batch(b"x")), timeout=5)
    node.signal(number)
    assert node.process is not None
    assert node.process.wait(PATIENCE_SECONDS) == 0
    said = node.log_path.read_text()
    assert "ready" in said
    assert "stopped" in said
    assert "Traceback" not in said
    node.start()
    until(node.serving, "it serves again")
    until(lambda: cluster.leader("kept"), "it leads again")
    answer = node.log.Read(log_pb2.ReadRequest(topic="kept"), timeout=5)
    assert answer.end_offset == 1


class OpenStream:
    """An append stream that is held open, which keeps a node that stops from being done at once."""

    def __init__(self, node: LiveNode) -> None:
        self._requests: SimpleQueue[log_pb2.AppendStreamRequest] = SimpleQueue()
        self._answers = node.log.AppendStream(iter(self._requests.get, None), timeout=30)

    def append(self) -> log_pb2.PipelinedAnswer:
        append = log_pb2.PipelinedAppend(append=log_pb2.AppendRequest(topic="t", batch=one_batch(b"x")))
        self._requests.put(log_pb2.AppendStreamRequest(appends=[append]))
        answer: log_pb2.PipelinedAnswer
        (answer,) = next(self._answers).answers
        return answer


def test_while_it_stops_it_refuses_what_is_new(cluster: LiveCluster) -> None:
    node = cluster.nodes[1]
    node.start()
    cluster.create_topic("t")
    stream = OpenStream(node)
    assert stream.append().HasField("appended")
    node.signal(signal.SIGTERM)

    def refusal_of_an_append() -> errors_pb2.Error | None:
        answer = stream.append()
        return answer.error if answer.HasField("error") else None

    refused = until(refusal_of_an_append, "an append is refused")
    assert errors_pb2.Reason.Name(refused.reason) == "REASON_SHUTTING_DOWN"
    assert errors_pb2.Outcome.Name(refused.outcome) == "OUTCOME_NOT_DONE"


def test_a_second_signal_ends_it_at_once(cluster: LiveCluster) -> None:
    node = cluster.nodes[1]
    node.start()
    cluster.create_topic("t")
    stream = OpenStream(node)
    assert stream.append().HasField("appended")
    node.signal(signal.SIGTERM)
    until(lambda: "stopping" in node.log_path.read_text(), "it stops")
    node.signal(signal.SIGTERM)
    assert node.process is not None
    assert node.process.wait(PATIENCE_SECONDS) == 1
    assert "stopped" not in node.log_path.read_text()


def test_a_node_that_was_never_told_to_stop_keeps_what_it_acknowledged(cluster: LiveCluster) -> None:
    node = cluster.nodes[1]
    node.start()
    until(node.serving, "it serves")
    cluster.create_topic("kept")
    for number in range(10):
        node.log.Append(log_pb2.AppendRequest(topic="kept", batch=one_batch(str(number).encode())), timeout=5)
    node.kill()
    node.start()
    until(lambda: cluster.leader("kept"), "it leads again")
    try:
        answer = node.log.Read(log_pb2.ReadRequest(topic="kept"), timeout=5)
    except grpc.RpcError as error:
        raise AssertionError(node.log_path.read_text()) from error
    assert answer.end_offset == 10
