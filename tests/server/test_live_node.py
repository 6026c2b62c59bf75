"""One real node over the wire: every call of the API, and every bad input with its typed refusal."""

from __future__ import annotations

import struct
import threading
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any

import google_crc32c
import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from server.live_nodes import LiveCluster, LiveNode, Refused, live_cluster, one_batch, until

from quorumlog.v1 import admin_pb2, log_pb2, metadata_pb2
from quorumlog.wire.batch import decode_batch
from quorumlog.wire.header import CHECKSUM_FROM

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    with live_cluster(tmp_path_factory.mktemp("one"), 1) as running:
        yield running


@pytest.fixture(scope="module")
def node(cluster: LiveCluster) -> LiveNode:
    return cluster.nodes[1]


@pytest.fixture
def topic(cluster: LiveCluster) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    cluster.create_topic(name)
    return name


def append(node: LiveNode, topic: str, *values: bytes, partition: int = 0, **head: int) -> log_pb2.AppendResponse:
    request = log_pb2.AppendRequest(topic=topic, partition=partition, batch=one_batch(*values, **head))
    answer: log_pb2.AppendResponse = node.log.Append(request, timeout=5)
    return answer


def values(response: log_pb2.ReadResponse) -> list[bytes | None]:
    return [record.value for batch in response.batches for record in decode_batch(batch)]


# --- what it does ---------------------------------------------------------------------------------------------


def test_appended_records_are_read_back_under_dense_offsets(node: LiveNode, topic: str) -> None:
    assert append(node, topic, b"a", b"b").base_offset == 0
    assert append(node, topic, b"c").base_offset == 2
    answer = node.log.Read(log_pb2.ReadRequest(topic=topic, offset=0), timeout=5)
    assert values(answer) == [b"a", b"b", b"c"]
    assert (answer.start_offset, answer.end_offset) == (0, 3)
    assert [record.offset for batch in answer.batches for record in decode_batch(batch)] == [0, 1, 2]


def test_a_batch_that_holds_the_offset_in_its_middle_comes_whole(node: LiveNode, topic: str) -> None:
    append(node, topic, b"a", b"b", b"c")
    answer = node.log.Read(log_pb2.ReadRequest(topic=topic, offset=1), timeout=5)
    assert values(answer) == [b"a", b"b", b"c"]


def test_a_read_at_the_end_waits_for_the_next_record(node: LiveNode, topic: str) -> None:
    waiting = node.log.Read.future(log_pb2.ReadRequest(topic=topic, offset=0, max_wait_ms=10_000), timeout=15)
    until(lambda: any(replica.topic == topic for replica in node.describe().replicas), "the replica is there")
    append(node, topic, b"late")
    assert values(waiting.result(timeout=5)) == [b"late"]


def test_a_read_at_the_end_that_may_not_wait_answers_empty(node: LiveNode, topic: str) -> None:
    answer = node.log.Read(log_pb2.ReadRequest(topic=topic, offset=0), timeout=5)
    assert (values(answer), answer.end_offset) == ([], 0)


def test_max_bytes_bounds_a_read_but_one_batch_always_comes(node: LiveNode, topic: str) -> None:
    for _ in range(3):
        append(node, topic, bytes(2000))
    answer = node.log.Read(log_pb2.ReadRequest(topic=topic, offset=0, max_bytes=1), timeout=5)
    assert len(answer.batches) == 1


def pipelined(correlation: int, topic: str, value: bytes) -> log_pb2.PipelinedAppend:
    append = log_pb2.AppendRequest(topic=topic, batch=one_batch(value))
    return log_pb2.PipelinedAppend(correlation=correlation, append=append)


def stream_answers(node: LiveNode, *messages: list[log_pb2.PipelinedAppend]) -> dict[int, log_pb2.PipelinedAnswer]:
    """What a stream answers to these messages, by correlation; each is answered once."""
    requests = iter([log_pb2.AppendStreamRequest(appends=appends) for appends in messages])
    answers = [each for response in node.log.AppendStream(requests, timeout=10) for each in response.answers]
    found = {answer.correlation: answer for answer in answers}
    assert len(found) == len(answers)
    return found


@pytest.mark.parametrize("together", [1, 7, 50])
def test_a_stream_answers_every_append_by_its_correlation(node: LiveNode, topic: str, together: int) -> None:
    appends = [pipelined(100 + number, topic, str(number).encode()) for number in range(50)]
    answers = stream_answers(node, *(appends[low : low + together] for low in range(0, 50, together)))
    assert {number - 100: answer.appended.base_offset for number, answer in answers.items()} == {
        number: number for number in range(50)
    }, "in the order of the stream"


@pytest.mark.parametrize("together", [True, False])
def test_a_refused_batch_ends_neither_the_stream_nor_its_neighbours(
    node: LiveNode, topic: str, together: bool
) -> None:
    appends = [pipelined(1, topic, b"x"), pipelined(2, "nowhere", b"x"), pipelined(3, topic, b"x")]
    answers = stream_answers(node, *([appends] if together else [[each] for each in appends]))
    assert answers[2].error.message == "there is no topic 'nowhere'"
    assert [answers[number].appended.base_offset for number in (1, 3)] == [0, 1]


def test_a_message_without_appends_has_no_answer_and_ends_nothing(node: LiveNode, topic: str) -> None:
    answers = stream_answers(node, [], [pipelined(1, topic, b"x")], [])
    assert [answer.appended.base_offset for answer in answers.values()] == [0]


def test_a_subscription_delivers_what_is_there_and_what_comes(node: LiveNode, topic: str) -> None:
    append(node, topic, b"before")
    stream = node.log.Subscribe(log_pb2.SubscribeRequest(topic=topic, offset=0), timeout=15)
    assert values(next(stream)) == [b"before"]
    append(node, topic, b"after")
    assert values(next(stream)) == [b"after"]
    stream.cancel()


def test_a_quiet_subscription_shows_that_it_lives(node: LiveNode, topic: str) -> None:
    append(node, topic, b"only")
    request = log_pb2.SubscribeRequest(topic=topic, offset=1, heartbeat_ms=50)
    stream = node.log.Subscribe(request, timeout=15)
    beats = [next(stream) for _ in range(3)]
    assert [(list(beat.batches), beat.end_offset) for beat in beats] == [([], 1)] * 3
    stream.cancel()


def test_a_subscription_that_goes_leaves_no_waiter_behind(node: LiveNode, topic: str) -> None:
    def waiting() -> float:
        return metrics(node)["quorumlog_requests_waiting"]

    before = waiting()
    streams = [
        node.log.Subscribe(log_pb2.SubscribeRequest(topic=topic, offset=0, heartbeat_ms=60_000), timeout=30)
        for _ in range(5)
    ]
    until(lambda: waiting() == before + 5, "five reads wait")
    for stream in streams:
        stream.cancel()
    until(lambda: waiting() == before, "the waits are withdrawn")


def test_a_subscription_can_end_at_the_end(node: LiveNode, topic: str) -> None:
    for number in range(20):
        append(node, topic, str(number).encode())
    request = log_pb2.SubscribeRequest(topic=topic, offset=5, max_bytes=200, stop_at_end=True)
    answers = list(node.log.Subscribe(request, timeout=10))
    found = [value for answer in answers for value in values(answer)]
    assert found == [str(number).encode() for number in range(5, 20)]
    assert len(answers) > 1


def test_offsets_are_found_by_position_and_by_time(node: LiveNode, topic: str) -> None:
    append(node, topic, b"a", b"b", b"c")

    def offset(**position: Any) -> int:
        request = log_pb2.ListOffsetsRequest(topic=topic, **position)
        return int(node.log.ListOffsets(request, timeout=5).offset)

    assert offset(earliest=True) == 0
    assert offset(end=True) == 3
    assert offset(timestamp_ms=0) == 0
    assert offset(timestamp_ms=1_700_000_000_001) == 1
    assert offset(timestamp_ms=1_700_000_000_003) == 3


def test_a_repeated_append_has_one_effect(node: LiveNode, topic: str) -> None:
    producer = node.log.OpenProducer(log_pb2.OpenProducerRequest(), timeout=5)
    session = {"producer_id": producer.producer_id, "producer_epoch": producer.epoch}
    first = append(node, topic, b"once", base_sequence=0, **session)
    second = append(node, topic, b"once", base_sequence=0, **session)
    assert (first.duplicate, second.duplicate) == (False, True)
    assert second.base_offset == first.base_offset
    assert node.log.ListOffsets(log_pb2.ListOffsetsRequest(topic=topic, end=True), timeout=5).offset == 1


def test_metadata_names_nodes_topics_and_leaders(node: LiveNode, topic: str) -> None:
    answer = node.metadata.GetMetadata(metadata_pb2.GetMetadataRequest(topics=[topic, "nowhere"]), timeout=5)
    assert (answer.cluster_id, answer.node_id, answer.controller_node_id) == ("test", 1, 1)
    assert [(entry.node_id, entry.address, entry.alive) for entry in answer.nodes] == [(1, node.address, True)]
    (found,) = answer.topics
    assert found.name == topic
    assert [(part.partition, list(part.replicas), part.leader_node_id) for part in found.partitions] == [
        (0, [1], 1)
    ]
    assert found.config.replication_factor == 1


def test_metadata_without_names_lists_all_topics(node: LiveNode, topic: str) -> None:
    assert topic in node.topics()


def test_a_topic_lives_and_dies(node: LiveNode, cluster: LiveCluster) -> None:
    made = cluster.create_topic("life", partitions=2)
    again = node.admin.CreateTopic(admin_pb2.CreateTopicRequest(name="life", config=made.config), timeout=5)
    assert again.existed
    altered = node.admin.AlterTopic(admin_pb2.AlterTopicRequest(name="life", retention_ms=60_000), timeout=5)
    assert altered.topic.config.retention_ms == 60_000
    assert altered.topic.config.segment_bytes == made.config.segment_bytes
    node.admin.DeleteTopic(admin_pb2.DeleteTopicRequest(name="life"), timeout=5)
    assert node.topics("life") == {}
    anew = cluster.create_topic("life", partitions=2)
    assert anew.topic_id != made.topic_id


def test_a_node_describes_itself(node: LiveNode, topic: str) -> None:
    append(node, topic, b"x")
    answer = node.describe()
    assert (answer.node_id, answer.cluster_id, answer.engine) == (1, "test", "raft")
    assert answer.uptime_seconds > 0
    (replica,) = (replica for replica in answer.replicas if replica.topic == topic)
    assert (replica.role, replica.leader_node_id, replica.end_offset) == ("leader", 1, 1)
    assert replica.applied_index == replica.commit_index
    assert replica.digest


@pytest.mark.parametrize("service", ["", "quorumlog.v1.Log", "quorumlog.v1.Metadata", "quorumlog.v1.Admin"])
def test_health_is_told_for_the_whole_and_for_each_service(node: LiveNode, service: str) -> None:
    answer = node.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_services(node: LiveNode) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(node.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=5)
    names = {service.name for service in answer.list_services_response.service}
    assert {"quorumlog.v1.Log", "quorumlog.v1.Metadata", "quorumlog.v1.Admin", "grpc.health.v1.Health"} <= names


def metrics(node: LiveNode) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{node.metrics_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_metrics_count_what_happens(node: LiveNode, topic: str) -> None:
    before = metrics(node)
    for _ in range(3):
        append(node, topic, b"x")
    with Refused():
        append(node, "nowhere", b"x")
    after = metrics(node)
    assert after["quorumlog_append_seconds_count"] == before["quorumlog_append_seconds_count"] + 3
    assert after["quorumlog_write_seconds_count"] > before["quorumlog_write_seconds_count"]
    assert after[f'quorumlog_replica_end_offset{{partition="0",topic="{topic}"}}'] == 3
    unknown = 'quorumlog_failures_total{reason="UNKNOWN_TOPIC"}'
    assert after[unknown] == before[unknown] + 1
    assert after["quorumlog_leaders"] >= 2


# --- what it refuses ------------------------------------------------------------------------------------------


def refused_append(node: LiveNode, topic: str, batch: bytes, partition: int = 0) -> Refused:
    with Refused() as refused:
        node.log.Append(log_pb2.AppendRequest(topic=topic, partition=partition, batch=batch), timeout=5)
    assert refused.outcome == "NOT_DONE", "a refused append has definitely not happened"
    return refused


def with_checksum(batch: bytes) -> bytes:
    """The batch, lying consistently: whatever was changed, the checksum is right."""
    checksum = google_crc32c.value(batch[CHECKSUM_FROM:])
    return batch[:8] + struct.pack("<I", checksum) + batch[CHECKSUM_FROM:]


def test_an_unknown_topic_is_refused(node: LiveNode) -> None:
    refused = refused_append(node, "nowhere", one_batch(b"x"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_TOPIC")


def test_an_unknown_partition_is_refused(node: LiveNode, topic: str) -> None:
    refused = refused_append(node, topic, one_batch(b"x"), partition=7)
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_PARTITION")


def test_a_batch_larger_than_the_topic_allows_is_refused(node: LiveNode, topic: str) -> None:
    refused = refused_append(node, topic, one_batch(bytes(2 << 20)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE")
    assert refused.error.fields["max_batch_bytes"] == str(1 << 20)


def lie(position: int, value: bytes) -> bytes:
    batch = one_batch(b"one", b"two")
    return with_checksum(batch[:position] + value + batch[position + len(value) :])


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        b"short",
        lie(12, b"\x09"),
        lie(13, b"\x09"),
        lie(14, b"\xff\x00"),
        lie(16, struct.pack("<I", 3)),
        lie(16, struct.pack("<I", 0)),
        lie(20, struct.pack("<I", 7)),
        lie(13, b"\x02"),
        with_checksum(one_batch(b"one", b"two")[:-1]),
    ],
    ids=["empty", "short", "version", "codec", "columns", "count", "nothing", "size", "not-zstd", "cut"],
)
def test_a_malformed_or_lying_batch_is_refused(node: LiveNode, topic: str, batch: bytes) -> None:
    refused = refused_append(node, topic, batch)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_BATCH")


def test_a_batch_damaged_on_its_way_is_refused(node: LiveNode, topic: str) -> None:
    batch = bytearray(one_batch(b"precious"))
    batch[-1] ^= 1
    refused = refused_append(node, topic, bytes(batch))
    assert (refused.code, refused.reason) == (grpc.StatusCode.DATA_LOSS, "CORRUPT_BATCH")


def test_a_gap_in_a_producers_sequence_is_refused(node: LiveNode, topic: str) -> None:
    producer = node.log.OpenProducer(log_pb2.OpenProducerRequest(), timeout=5)
    session = {"producer_id": producer.producer_id, "producer_epoch": producer.epoch}
    append(node, topic, b"0", base_sequence=0, **session)
    refused = refused_append(node, topic, one_batch(b"2", base_sequence=2, **session))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "OUT_OF_SEQUENCE")
    assert refused.error.fields["expected_sequence"] == "1"


def test_a_producer_whose_name_was_taken_over_is_fenced(node: LiveNode, topic: str) -> None:
    older = node.log.OpenProducer(log_pb2.OpenProducerRequest(name="payments"), timeout=5)
    newer = node.log.OpenProducer(log_pb2.OpenProducerRequest(name="payments"), timeout=5)
    assert newer.producer_id == older.producer_id
    assert newer.epoch > older.epoch
    append(node, topic, b"new", producer_id=newer.producer_id, producer_epoch=newer.epoch)
    refused = refused_append(
        node, topic, one_batch(b"old", producer_id=older.producer_id, producer_epoch=older.epoch)
    )
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRODUCER_FENCED")


@pytest.mark.parametrize("subscribe", [False, True], ids=["read", "subscribe"])
def test_an_offset_beyond_the_end_is_refused_with_the_bounds(node: LiveNode, topic: str, subscribe: bool) -> None:
    append(node, topic, b"only")
    with Refused() as refused:
        if subscribe:
            next(node.log.Subscribe(log_pb2.SubscribeRequest(topic=topic, offset=9), timeout=5))
        else:
            node.log.Read(log_pb2.ReadRequest(topic=topic, offset=9), timeout=5)
    assert (refused.code, refused.reason) == (grpc.StatusCode.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE")
    assert (refused.error.fields["start_offset"], refused.error.fields["end_offset"]) == ("0", "1")


def test_a_position_must_be_given(node: LiveNode, topic: str) -> None:
    with Refused() as refused:
        node.log.ListOffsets(log_pb2.ListOffsetsRequest(topic=topic), timeout=5)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert refused.error.fields["field"] == "position"


def refused_topic(node: LiveNode, name: str, **config: int) -> Refused:
    request = admin_pb2.CreateTopicRequest(
        name=name, config=metadata_pb2.TopicConfig(**{"partitions": 1, **config})
    )
    with Refused() as refused:
        node.admin.CreateTopic(request, timeout=5)
    assert refused.outcome == "NOT_DONE"
    assert name not in node.topics()
    return refused


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "ä", "__offsets", "x" * 250, "a/b"])
def test_an_invalid_topic_name_is_refused(node: LiveNode, name: str) -> None:
    refused = refused_topic(node, name)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TOPIC")
    assert refused.error.fields["field"] == "name"


@pytest.mark.parametrize(
    ("field", "value"),
    [("partitions", 0), ("partitions", 10_001), ("segment_bytes", 1), ("max_batch_bytes", 1 << 30)],
)
def test_an_invalid_setting_is_refused_by_name(node: LiveNode, field: str, value: int) -> None:
    refused = refused_topic(node, "odd", **{field: value})
    assert (refused.reason, refused.error.fields["field"]) == ("INVALID_TOPIC", field)


def test_a_topic_made_twice_with_other_settings_is_refused(node: LiveNode, topic: str) -> None:
    request = admin_pb2.CreateTopicRequest(name=topic, config=metadata_pb2.TopicConfig(partitions=5))
    with Refused() as refused:
        node.admin.CreateTopic(request, timeout=5)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "TOPIC_EXISTS")
    assert refused.error.fields["partitions"] == "1"


def test_more_replicas_than_nodes_are_refused(node: LiveNode) -> None:
    refused = refused_topic(node, "wide", replication_factor=3)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_ENOUGH_NODES")


@pytest.mark.parametrize("call", ["alter", "delete"])
def test_what_is_not_there_can_neither_be_altered_nor_deleted(node: LiveNode, call: str) -> None:
    with Refused() as refused:
        if call == "alter":
            node.admin.AlterTopic(admin_pb2.AlterTopicRequest(name="nowhere", retention_ms=1), timeout=5)
        else:
            node.admin.DeleteTopic(admin_pb2.DeleteTopicRequest(name="nowhere"), timeout=5)
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_TOPIC")


def test_refusals_harm_nothing(node: LiveNode, topic: str) -> None:
    """Bad input from many sides at once while good input goes on."""
    bad = [b"", bytes(64), lie(16, struct.pack("<I", 9)), one_batch(bytes(2 << 20))]

    def abuse() -> None:
        for batch in bad * 10:
            refused_append(node, topic, batch)

    threads = [threading.Thread(target=abuse) for _ in range(4)]
    for thread in threads:
        thread.start()
    offsets = [append(node, topic, b"good").base_offset for _ in range(50)]
    for thread in threads:
        thread.join()
    assert offsets == list(range(50))
