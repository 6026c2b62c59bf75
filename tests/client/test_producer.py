"""The producer over real gRPC: what it delivers, how it comes through trouble, and what its errors promise."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from client.fake_cluster import (
    UNKNOWN,
    Behave,
    BreakStream,
    FakeCluster,
    Refuse,
    Silence,
)

from quorumlog.client import Producer, RecordPosition
from quorumlog.client.errors import (
    BufferFull,
    Closed,
    CorruptBatch,
    InvalidRequest,
    NoQuorum,
    NotDone,
    OutcomeUnknown,
    ProducerFenced,
    QuorumlogError,
    TooLarge,
    TopicNotReady,
    UnknownPartition,
    UnknownTopic,
    Unreachable,
)
from quorumlog.v1 import errors_pb2
from quorumlog.wire.batch import decode_batch
from quorumlog.wire.header import Codec, parse_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster() as cluster:
        cluster.make("t", partitions=3)
        yield cluster


class TestDelivery:
    async def test_a_record_is_where_its_position_says(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers) as producer:
            position = await producer.append(
                "t", b"value", key=b"key", timestamp_ms=1234, headers=[("h", b"1"), ("h", b"2")], partition=2
            )
        assert position == RecordPosition("t", 2, 0)
        (record,) = decode_batch(cluster.partition("t", 2).batches[0])
        assert (record.key, record.value, record.timestamp_ms) == (b"key", b"value", 1234)
        assert record.headers == (("h", b"1"), ("h", b"2"))

    async def test_order_and_offsets_hold_per_partition(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers, batch_bytes=2000) as producer:
            deliveries = [await producer.send("t", b"%d" % n, key=b"%d" % (n % 10)) for n in range(3000)]
            await producer.flush()
        log = {number: cluster.partition("t", number).values() for number in range(3)}
        last = [-1, -1, -1]
        for number, delivery in enumerate(deliveries):
            topic, partition, offset = delivery.position
            assert topic == "t"
            assert log[partition][offset] == b"%d" % number
            assert offset == last[partition] + 1
            last[partition] = offset

    @pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "lz4"])
    async def test_every_compression_arrives(self, cluster: FakeCluster, compression: str) -> None:
        async with Producer(cluster.servers, compression=compression) as producer:
            for _ in range(50):
                await producer.send("t", b"same " * 20, partition=0)
        partition = cluster.partition("t", 0)
        assert partition.values() == [b"same " * 20] * 50
        assert parse_header(partition.batches[-1]).codec == Codec[compression.upper()]

    async def test_records_of_many_tasks_share_batches(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers) as producer:

            async def task() -> None:
                for _ in range(20):
                    await producer.append("t", b"x")

            await asyncio.gather(*(task() for _ in range(64)))
        assert sum(count for _, count in cluster.messages) == 64 * 20
        assert len(cluster.messages) < 64 * 20 / 10

    @pytest.mark.parametrize(("batch_bytes", "most"), [(4_000, 5), (300_000, 4), (600_000, 2), (900_000, 1)])
    async def test_batches_that_are_ready_together_share_messages_of_a_mebibyte(
        self, cluster: FakeCluster, batch_bytes: int, most: int
    ) -> None:
        async with Producer(cluster.servers, batch_bytes=batch_bytes) as producer:
            await producer.prepare("t")
            sent = [producer.send_nowait("t", bytes(batch_bytes * 3 // 4), partition=0) for _ in range(25)]
            await producer.flush()
        assert [delivery.position.offset for delivery in sent] == list(range(25))
        assert sum(cluster.requests) == len(cluster.messages) == 25
        assert max(cluster.requests) == most

    async def test_leaving_the_context_flushes(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers, linger_ms=60_000) as producer:
            delivery = await producer.send("t", b"x")
            assert not delivery.done
        assert delivery.position.offset == 0

    async def test_a_cancelled_waiter_disturbs_nobody(self, cluster: FakeCluster) -> None:
        cluster.faults.extend([Refuse(errors_pb2.REASON_OVERLOADED, retry_after_ms=30)])
        async with Producer(cluster.servers) as producer:
            await producer.prepare("t")
            first = asyncio.create_task(producer.append("t", b"1", partition=0))
            second = asyncio.create_task(producer.append("t", b"2", partition=0))
            await cluster.seen("appends")
            first.cancel()
            assert (await second).offset == 1
            assert first.cancelled() or isinstance(first.exception(), asyncio.CancelledError)

    async def test_send_nowait_needs_a_prepared_topic_and_room(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers, max_buffer_bytes=1000) as producer:
            with pytest.raises(TopicNotReady):
                producer.send_nowait("t", b"x")
            await producer.prepare("t")
            for _ in range(10):
                producer.send_nowait("t", b"x" * 84)
            with pytest.raises(BufferFull):
                producer.send_nowait("t", b"x" * 84)
            assert producer.buffered_bytes == 1000
            await producer.flush()
            assert producer.buffered_bytes == 0
            producer.send_nowait("t", b"x")

    async def test_send_waits_for_room(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers, max_buffer_bytes=1000) as producer:
            for _ in range(100):
                await producer.send("t", b"x" * 84, partition=0)
                assert producer.buffered_bytes <= 1000
        assert len(cluster.partition("t", 0).values()) == 100

    async def test_a_topic_just_made_is_waited_for(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers) as producer:
            waiting = asyncio.create_task(producer.append("soon", b"x"))
            await cluster.seen("metadata_calls")
            cluster.make("soon")
            assert (await waiting).topic == "soon"


class TestTrouble:
    async def test_a_killed_leader_costs_little_once_another_leads(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers) as producer:
            await producer.append("t", b"before", partition=0)
            await cluster.nodes[1].stop()
            waiting = asyncio.create_task(producer.append("t", b"after", partition=0))
            asked = cluster.metadata_calls
            await asyncio.sleep(0.3)
            assert not waiting.done()
            # Often enough to find a new leader at once, and no storm upon those who are electing one.
            assert 5 < cluster.metadata_calls - asked < 120
            cluster.controller = 2
            cluster.elect("t", 0, 2)
            elected = time.monotonic()
            await waiting
            took_ms = (time.monotonic() - elected) * 1000
        assert took_ms < 200
        assert cluster.partition("t", 0).values() == [b"before", b"after"]

    async def test_a_hung_leader_is_left_as_soon_as_another_leads(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers) as producer:
            await producer.append("t", b"before", partition=0)
            cluster.nodes[1].hung = True
            waiting = asyncio.create_task(producer.append("t", b"after", partition=0))
            await asyncio.sleep(0.3)
            cluster.controller = 2
            cluster.elect("t", 0, 3)
            elected = time.monotonic()
            await waiting
            assert (time.monotonic() - elected) * 1000 < 400
            assert cluster.partition("t", 0).values() == [b"before", b"after"]

    async def test_a_node_that_comes_back_is_used_again(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers) as producer:
            await producer.append("t", b"1", partition=0)
            await cluster.nodes[1].stop()
            waiting = asyncio.create_task(producer.append("t", b"2", partition=0))
            await asyncio.sleep(0.1)
            await cluster.nodes[1].start()
            assert (await waiting).offset == 1

    async def test_a_moved_leader_is_found_by_its_hint(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers) as producer:
            await producer.append("t", b"1", partition=0)
            cluster.elect("t", 0, 3)
            began = time.monotonic()
            assert (await producer.append("t", b"2", partition=0)).offset == 1
            assert (time.monotonic() - began) * 1000 < 200

    @pytest.mark.parametrize(
        "fault",
        [
            BreakStream(append_first=True),
            BreakStream(append_first=False),
            Refuse(errors_pb2.REASON_OVERLOADED, retry_after_ms=5),
            Refuse(errors_pb2.REASON_NO_QUORUM),
            Refuse(errors_pb2.REASON_NO_QUORUM, outcome=UNKNOWN),
            Refuse(errors_pb2.REASON_SHUTTING_DOWN),
            Refuse(errors_pb2.REASON_NOT_LEADER),
            Refuse(errors_pb2.REASON_UNKNOWN_TOPIC),
        ],
        ids=str,
    )
    async def test_every_passing_fault_is_passed_over_exactly_once(
        self, cluster: FakeCluster, fault: object
    ) -> None:
        cluster.faults.extend([Behave(), fault, Behave(), fault, fault])  # type: ignore[list-item]
        async with Producer(cluster.servers, batch_bytes=300) as producer:
            deliveries = [await producer.send("t", b"%d" % number, partition=0) for number in range(100)]
            await producer.flush()
        assert [delivery.position.offset for delivery in deliveries] == list(range(100))
        assert cluster.partition("t", 0).values() == [b"%d" % number for number in range(100)]

    async def test_an_answer_that_never_comes_is_asked_for_again(self, cluster: FakeCluster) -> None:
        cluster.faults.append(Silence(append_first=True))
        async with Producer(cluster.servers) as producer:
            # Half the patience a producer has for one answer, or the test would take that long.
            producer._sender._settings = quick = type(producer._settings)(attempt_timeout_ms=200.0)
            assert quick.idempotent
            assert (await producer.append("t", b"x", partition=0)).offset == 0
        assert cluster.partition("t", 0).values() == [b"x"]

    async def test_a_session_the_node_forgot_is_opened_again(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers) as producer:
            await producer.append("t", b"1", partition=0)
            cluster.partition("t", 0).sessions.clear()
            assert (await producer.append("t", b"2", partition=0)).offset == 1
        assert cluster.producers == 2

    async def test_without_a_session_a_lost_answer_is_an_unknown_outcome(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers, idempotent=False) as producer:
            for append_first in (True, False):
                cluster.faults.append(BreakStream(append_first=append_first))
                with pytest.raises(OutcomeUnknown) as caught:
                    await producer.append("t", b"x", partition=0)
                assert isinstance(caught.value, Unreachable)
            assert cluster.partition("t", 0).values() == [b"x"]
            assert (await producer.append("t", b"y", partition=0)).offset == 1
        assert cluster.producers == 0

    async def test_a_controller_that_moved_is_found(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers) as producer:
            await producer.prepare("t")
            cluster.controller = 3
            assert (await producer.append("t", b"x")).offset == 0


class TestErrors:
    async def test_no_server_at_all_is_unreachable_within_the_time(self) -> None:
        async with FakeCluster(nodes=1) as cluster:
            address = cluster.servers[0]
        producer = Producer(address, delivery_timeout_ms=300)
        began = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            await producer.send("t", b"x")
        assert isinstance(caught.value, NotDone)
        assert 0.25 < time.monotonic() - began < 2.0
        await producer.close()

    async def test_an_unknown_topic_is_named(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers) as producer:
            with pytest.raises(UnknownTopic, match="nothing"):
                await producer.send("nothing", b"x")

    async def test_a_partition_without_a_leader_ends_in_no_quorum_within_the_time(
        self, cluster: FakeCluster
    ) -> None:
        cluster.elect("t", 0, 0)
        async with Producer(cluster.servers, delivery_timeout_ms=300) as producer:
            began = time.monotonic()
            with pytest.raises(NoQuorum) as caught:
                await producer.append("t", b"x", partition=0)
            assert isinstance(caught.value, NotDone)
            assert time.monotonic() - began < 1.5
            assert (await producer.append("t", b"x", partition=1)).offset == 0

    async def test_a_quorum_that_stays_away_leaves_the_outcome_open(self, cluster: FakeCluster) -> None:
        cluster.faults.extend([Refuse(errors_pb2.REASON_NO_QUORUM, outcome=UNKNOWN)] * 1000)
        async with Producer(cluster.servers, delivery_timeout_ms=200) as producer:
            with pytest.raises(NoQuorum) as caught:
                await producer.append("t", b"x", partition=0)
            assert isinstance(caught.value, OutcomeUnknown)
            cluster.faults.clear()

    async def test_no_controller_means_no_session_and_a_definite_error(self, cluster: FakeCluster) -> None:
        cluster.controller = 0
        async with Producer(cluster.servers, delivery_timeout_ms=300) as producer:
            with pytest.raises(NotDone):
                await producer.append("t", b"x")
        assert cluster.appends == 0

    async def test_a_final_refusal_is_told_and_the_next_record_goes_on(self, cluster: FakeCluster) -> None:
        cluster.faults.append(Refuse(errors_pb2.REASON_CORRUPT_BATCH))
        async with Producer(cluster.servers) as producer:
            with pytest.raises(CorruptBatch):
                await producer.append("t", b"1", partition=0)
            assert (await producer.append("t", b"2", partition=0)).offset == 0

    async def test_a_record_too_large_is_refused_before_it_is_sent(self, cluster: FakeCluster) -> None:
        cluster.make("small", max_batch_bytes=2000)
        async with Producer(cluster.servers) as producer:
            with pytest.raises(TooLarge):
                await producer.append("small", b"x" * 2000)
            await producer.append("small", b"x" * 1900)
        assert cluster.appends == 1

    async def test_a_newer_producer_of_the_same_name_fences_the_older(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers, name="n") as old, Producer(cluster.servers, name="n") as new:
            await old.append("t", b"old", partition=0)
            await new.append("t", b"new", partition=0)
            with pytest.raises(ProducerFenced):
                await old.append("t", b"zombie", partition=0)
            with pytest.raises(ProducerFenced):
                await old.send("t", b"zombie", partition=1)
            await new.append("t", b"newer", partition=0)
        assert cluster.partition("t", 0).values() == [b"old", b"new", b"newer"]

    @pytest.mark.parametrize(
        ("arguments", "kind"),
        [
            ({"value": "text"}, InvalidRequest),
            ({"value": b"", "key": 5}, InvalidRequest),
            ({"value": b"", "timestamp_ms": -1}, InvalidRequest),
            ({"value": b"", "partition": 3}, UnknownPartition),
        ],
    )
    async def test_a_record_that_is_none_is_refused_at_once(
        self, cluster: FakeCluster, arguments: dict[str, object], kind: type[QuorumlogError]
    ) -> None:
        async with Producer(cluster.servers) as producer:
            with pytest.raises(kind):
                await producer.send("t", **arguments)  # type: ignore[arg-type]

    async def test_anything_like_bytes_is_taken_and_copied(self, cluster: FakeCluster) -> None:
        async with Producer(cluster.servers) as producer:
            value = bytearray(b"abc")
            delivery = await producer.send("t", value, partition=0)  # type: ignore[arg-type]
            value[0] = 0
            await delivery
        assert cluster.partition("t", 0).values() == [b"abc"]

    async def test_a_closed_producer_takes_nothing(self, cluster: FakeCluster) -> None:
        producer = Producer(cluster.servers)
        await producer.append("t", b"x")
        await producer.close()
        await producer.close()
        with pytest.raises(Closed):
            await producer.send("t", b"x")
        with pytest.raises(Closed):
            producer.send_nowait("t", b"x")

    async def test_a_close_that_is_cut_short_settles_every_delivery(self, cluster: FakeCluster) -> None:
        cluster.nodes[1].hung = True
        producer = Producer(cluster.servers)
        await producer.prepare("t")
        delivery = producer.send_nowait("t", b"x", partition=0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await producer.close()
        with pytest.raises(QuorumlogError):
            await delivery

    @pytest.mark.parametrize("wrong", [{"compression": "snappy"}, {"batch_bytes": 0}, {"linger_ms": -1}])
    def test_settings_that_make_no_sense_are_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Producer("a:1", **wrong)  # type: ignore[arg-type]

    def test_no_servers_is_refused(self) -> None:
        with pytest.raises(ValueError, match="server"):
            Producer(" , ")
