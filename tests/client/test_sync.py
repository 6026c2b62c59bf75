"""The synchronous form: the same objects, used from threads that know nothing of asyncio."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from client.fake_cluster import FakeCluster, Refuse

from quorumlog.client import sync
from quorumlog.client.errors import Closed, CorruptBatch, TooLarge, UnknownTopic
from quorumlog.v1 import errors_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """A cluster on a loop of its own, because the test blocks its thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    cluster = FakeCluster()
    asyncio.run_coroutine_threadsafe(cluster.__aenter__(), loop).result()
    cluster.make("t", partitions=2)
    yield cluster
    asyncio.run_coroutine_threadsafe(cluster.__aexit__(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_records_go_there_and_come_back(cluster: FakeCluster) -> None:
    with sync.Admin(cluster.servers) as admin:
        assert admin.create_topic("made", 2)[1]
        assert [topic.name for topic in admin.list_topics()] == ["made", "t"]
    with sync.Producer(cluster.servers, compression="lz4") as producer:
        deliveries = [producer.send("made", b"%d" % number, key=b"%d" % (number % 9)) for number in range(20_000)]
        assert producer.append("made", b"last", partition=0).partition == 0
    offsets = [delivery.result() for delivery in deliveries]
    assert len(set(offsets)) == 20_000
    with sync.Reader(cluster.servers, "made", stop_at_end=True) as reader:
        records = list(reader)
    assert len(records) == 20_001
    by_position = {(record.partition, record.offset): record.value for record in records}
    for number, (_, partition, offset) in enumerate(offsets):
        assert by_position[partition, offset] == b"%d" % number


def test_a_loop_may_be_left_and_taken_up_again(cluster: FakeCluster) -> None:
    with sync.Producer(cluster.servers) as producer:
        for number in range(100):
            producer.send("t", b"%d" % number, partition=0)
    with sync.Reader(cluster.servers, "t", partitions=[0], stop_at_end=True) as reader:
        first = [record for record, _ in zip(reader, range(10), strict=False)]
        rest = [record for batch in reader.batches() for record in batch]
    # zip takes one record more than it gives when its other side ends first.
    assert [record.offset for record in first] == list(range(10))
    assert [record.offset for record in rest] == list(range(11, 100))


def test_several_threads_may_send(cluster: FakeCluster) -> None:
    with sync.Producer(cluster.servers) as producer, ThreadPoolExecutor(8) as pool:
        positions = list(pool.map(lambda n: producer.append("t", b"%d" % n, partition=1), range(400)))
    assert sorted(position.offset for position in positions) == list(range(400))


def test_errors_are_told_by_the_delivery(cluster: FakeCluster) -> None:
    with sync.Producer(cluster.servers) as producer:
        with pytest.raises(UnknownTopic):
            producer.append("nothing", b"x")
        with pytest.raises(TooLarge):
            producer.append("t", b"x" * (2 << 20))
        cluster.faults.append(Refuse(errors_pb2.REASON_CORRUPT_BATCH))
        delivery = producer.send("t", b"x")
        for _ in range(2):
            with pytest.raises(CorruptBatch):
                delivery.result()


def test_what_is_closed_says_so(cluster: FakeCluster) -> None:
    producer = sync.Producer(cluster.servers)
    producer.append("t", b"x")
    producer.close()
    producer.close()
    with pytest.raises(Closed):
        producer.send("t", b"x")
    admin = sync.Admin(cluster.servers)
    admin.close()
    with pytest.raises(Closed):
        admin.list_topics()
