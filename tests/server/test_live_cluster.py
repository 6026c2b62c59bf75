"""Three real nodes over the wire: leadership, its loss, and what is left when the majority is gone."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from server.live_nodes import LiveCluster, LiveNode, Refused, live_cluster, one_batch, until

from quorumlog.v1 import admin_pb2, log_pb2, metadata_pb2
from quorumlog.wire.batch import decode_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    with live_cluster(tmp_path_factory.mktemp("three"), 3) as running:
        running.create_topic("steady", partitions=3)
        yield running


@pytest.fixture
def whole(cluster: LiveCluster) -> LiveCluster:
    """The cluster, with every node running and connected to every other."""
    for node in cluster.nodes.values():
        if node.process is not None and node.process.poll() is not None:
            node.start()
    for node in cluster.nodes.values():
        until(node.serving, f"node {node.node_id} serves")
    until(
        lambda: all(link.up for node in cluster.nodes.values() for link in node.describe().links),
        "all links are up",
    )
    return cluster


def append(node: LiveNode, topic: str, value: bytes, partition: int = 0, **more: int) -> log_pb2.AppendResponse:
    request = log_pb2.AppendRequest(topic=topic, partition=partition, batch=one_batch(value), **more)
    answer: log_pb2.AppendResponse = node.log.Append(request, timeout=5)
    return answer


def read_all(node: LiveNode, topic: str, partition: int = 0) -> list[bytes | None]:
    request = log_pb2.SubscribeRequest(topic=topic, partition=partition, offset=0, stop_at_end=True)
    answers = node.log.Subscribe(request, timeout=10)
    return [record.value for answer in answers for batch in answer.batches for record in decode_batch(batch)]


def others(cluster: LiveCluster, node: LiveNode) -> list[LiveNode]:
    return [other for other in cluster.nodes.values() if other is not node]


def test_an_append_is_on_all_replicas_with_one_digest(whole: LiveCluster) -> None:
    leader = whole.leader("steady")
    append(leader, "steady", b"x")

    def digests() -> set[tuple[int, bytes]]:
        return {
            (replica.applied_index, replica.digest)
            for node in whole.nodes.values()
            for replica in node.describe().replicas
            if (replica.topic, replica.partition) == ("steady", 0)
        }

    until(lambda: len(digests()) == 1, "all replicas agree")


@pytest.mark.parametrize("call", ["append", "read", "subscribe", "offsets"])
def test_the_wrong_node_names_the_right_one(whole: LiveCluster, call: str) -> None:
    leader = whole.leader("steady")
    wrong = others(whole, leader)[0]
    with Refused() as refused:
        if call == "append":
            append(wrong, "steady", b"x")
        elif call == "read":
            wrong.log.Read(log_pb2.ReadRequest(topic="steady"), timeout=5)
        elif call == "subscribe":
            next(wrong.log.Subscribe(log_pb2.SubscribeRequest(topic="steady"), timeout=5))
        else:
            wrong.log.ListOffsets(log_pb2.ListOffsetsRequest(topic="steady", end=True), timeout=5)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_LEADER")
    assert refused.outcome == "NOT_DONE"
    assert (refused.error.leader.node_id, refused.error.leader.address) == (leader.node_id, leader.address)


def test_topics_are_made_by_the_controllers_leader_which_others_name(whole: LiveCluster) -> None:
    leader = whole.controller()
    wrong = others(whole, leader)[0]
    with Refused() as refused:
        wrong.admin.CreateTopic(
            admin_pb2.CreateTopicRequest(name="elsewhere", config=metadata_pb2.TopicConfig(partitions=1)), timeout=5
        )
    assert refused.reason == "NOT_LEADER"
    assert refused.error.leader.address == leader.address


def test_any_node_knows_whether_a_topic_exists(whole: LiveCluster) -> None:
    for node in whole.nodes.values():
        assert set(node.topics("steady", "nowhere")) == {"steady"}
        with Refused() as refused:
            append(node, "nowhere", b"x")
        assert refused.reason == "UNKNOWN_TOPIC"


def test_more_replicas_than_nodes_are_refused_by_three_nodes_too(whole: LiveCluster) -> None:
    with Refused() as refused:
        whole.controller().admin.CreateTopic(
            admin_pb2.CreateTopicRequest(
                name="wide", config=metadata_pb2.TopicConfig(partitions=1, replication_factor=4)
            ),
            timeout=5,
        )
    assert (refused.reason, refused.error.fields["nodes"]) == ("NOT_ENOUGH_NODES", "3")


def test_leadership_goes_where_it_is_sent(whole: LiveCluster) -> None:
    leader = whole.leader("steady", 1)
    target = others(whole, leader)[0]
    leader.admin.TransferLeadership(
        admin_pb2.TransferLeadershipRequest(topic="steady", partition=1, node_id=target.node_id), timeout=5
    )
    until(lambda: whole.leader("steady", 1) is target, "the target leads")


def unavailable_seconds(cluster: LiveCluster, topic: str) -> float:
    """Appends once more as soon as anybody takes it; how long that took."""
    began = time.monotonic()

    def taken() -> bool:
        for node in cluster.nodes.values():
            with contextlib.suppress(grpc.RpcError):
                append(node, topic, b"after", timeout_ms=500)
                return True
        return False

    until(taken, f"{topic} takes appends again")
    return time.monotonic() - began


def test_a_killed_leader_is_replaced_within_a_second_and_nothing_is_lost(whole: LiveCluster) -> None:
    whole.create_topic("killed")
    leader = whole.leader("killed")
    for number in range(20):
        append(leader, "killed", str(number).encode())
    leader.kill()
    assert unavailable_seconds(whole, "killed") < 1.0
    found = read_all(whole.leader("killed"), "killed")
    assert found[:20] == [str(number).encode() for number in range(20)]
    assert set(found[20:]) == {b"after"}


def test_a_stopped_leader_hands_over_first(whole: LiveCluster) -> None:
    whole.create_topic("rolled")
    leader = whole.leader("rolled")
    append(leader, "rolled", b"before")
    codes: list[int] = []
    stopping = threading.Thread(target=lambda: codes.append(leader.terminate()))
    stopping.start()
    gap = unavailable_seconds(whole, "rolled")
    stopping.join()
    assert codes == [0]
    assert gap < 0.5
    said = leader.log_path.read_text()
    assert "still leading" not in said
    assert "LeadershipLost" in said[said.rindex("stopping") :], "leadership went while the node still lived"


def test_a_paused_leader_is_replaced_and_finds_its_place_again(whole: LiveCluster) -> None:
    whole.create_topic("paused")
    leader = whole.leader("paused")
    append(leader, "paused", b"before")
    leader.signal(signal.SIGSTOP)
    try:
        rest = LiveClusterView(others(whole, leader))
        assert until(lambda: rest.append("paused", b"during"), "a new leader") is not leader
    finally:
        leader.signal(signal.SIGCONT)
    until(lambda: all(link.up for link in leader.describe().links), "the paused node is back")

    def caught_up() -> bool:
        ends = {
            replica.end_offset
            for node in whole.nodes.values()
            for replica in node.describe().replicas
            if replica.topic == "paused"
        }
        return len(ends) == 1

    until(caught_up, "its log is the others'")
    assert read_all(whole.leader("paused"), "paused")[:2] == [b"before", b"during"]


class LiveClusterView:
    """Some of the nodes: whoever of them takes an append."""

    def __init__(self, nodes: list[LiveNode]) -> None:
        self._nodes = nodes

    def append(self, topic: str, value: bytes) -> LiveNode | None:
        for node in self._nodes:
            with contextlib.suppress(grpc.RpcError):
                append(node, topic, value, timeout_ms=500)
                return node
        return None


def test_a_killed_node_comes_back_with_what_it_had(whole: LiveCluster) -> None:
    whole.create_topic("back")
    append(whole.leader("back"), "back", b"kept")
    for node in whole.nodes.values():
        node.kill()
    for node in whole.nodes.values():
        node.start()
    assert read_all(whole.leader("back"), "back") == [b"kept"]


def test_without_a_majority_calls_end_in_no_quorum_within_their_deadline(whole: LiveCluster) -> None:
    whole.create_topic("lonely")
    leader = whole.leader("lonely")
    append(leader, "lonely", b"before")
    for node in others(whole, leader):
        node.kill()
    with Refused() as refused:
        append(leader, "lonely", b"never", timeout_ms=400)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "NO_QUORUM")
    assert refused.outcome == "UNKNOWN", "the entry is in the leader's log and may yet be committed"
    assert refused.seconds < 0.8
    with Refused() as refused:
        request = log_pb2.AppendRequest(topic="lonely", batch=one_batch(b"never"))
        leader.log.Append(request, timeout=0.6)
    assert refused.reason in ("NO_QUORUM", "NOT_LEADER"), "typed, so it came before gRPC's own bare deadline"
    with Refused() as refused:
        leader.log.ListOffsets(log_pb2.ListOffsetsRequest(topic="lonely", end=True), timeout=2.5)
    assert refused.reason in ("NO_QUORUM", "NOT_LEADER"), "nothing stale is served as fresh"
    until(lambda: lonely_reason(leader) == "NO_QUORUM", "the lone node knows that it has no quorum")
    assert leader.serving(), "it lives, and says so"


def lonely_reason(node: LiveNode) -> str:
    with Refused() as refused:
        append(node, "lonely", b"never", timeout_ms=200)
    return str(refused.reason)
