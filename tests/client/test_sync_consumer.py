"""The consumer without asyncio: the same promises, and a handler may block."""

from __future__ import annotations

import threading
import time
from itertools import count
from typing import TYPE_CHECKING

import pytest

from quorumlog.client.errors import Fenced, UnknownTopic
from quorumlog.client.sync import Admin, Consumer, Producer
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quorumlog.cluster.launcher import LocalCluster

_names = count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def topic(cluster: LocalCluster) -> str:
    """A topic of one partition with ten records."""
    name = f"sync-{next(_names)}"
    with Admin(cluster.servers) as admin:
        admin.create_topic(name)
    with Producer(cluster.servers) as producer:
        for number in range(10):
            producer.send(name, b"%d" % number)
    return name


def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        threading.Event().wait(0.01)


def committed(cluster: LocalCluster, topic: str) -> int | None:
    with Consumer(cluster.servers, topic, group="g", partitions=[0], commit="manual") as consumer:
        return consumer.position(0)


def test_close_commits_what_is_processed_and_nothing_else(cluster: LocalCluster, topic: str) -> None:
    with Consumer(cluster.servers, topic, group="g", partitions=[0], commit_interval_ms=60_000) as consumer:
        for record in consumer:
            if record.offset == 6:
                break
        assert consumer.committed(0) == 0
    assert committed(cluster, topic) == 6


def test_commits_leave_while_a_handler_blocks(cluster: LocalCluster, topic: str) -> None:
    with Consumer(cluster.servers, topic, group="g", partitions=[0], commit_interval_ms=200) as consumer:
        for record in consumer:
            if record.offset == 4:
                until(lambda: consumer.committed(0) == 4)
                assert consumer.exposure.records == 0
                break
    assert committed(cluster, topic) == 4


def test_what_was_in_hand_when_the_loop_was_left_comes_again(cluster: LocalCluster, topic: str) -> None:
    with Consumer(cluster.servers, topic, group="g", partitions=[0]) as consumer:
        for record in consumer:
            if record.offset == 2:
                break
        assert next(iter(consumer)).offset == 2
        record = next(iter(consumer))
        assert consumer.done(record)
        assert next(iter(consumer)).offset == 3


def test_to_the_end_one_by_one_and_in_batches(cluster: LocalCluster, topic: str) -> None:
    with Consumer(cluster.servers, topic, group="one", partitions=[0], stop_at_end=True) as consumer:
        assert [record.offset for record in consumer] == list(range(10))
        assert consumer.stats().partitions[consumer.assignment()[0]].processed == 10
    with Consumer(cluster.servers, topic, group="many", partitions=[0], stop_at_end=True) as consumer:
        assert [record.offset for batch in consumer.batches() for record in batch] == list(range(10))
        (receipt,) = consumer.commit()
        assert receipt.offset == 10


def test_by_hand_and_each(cluster: LocalCluster, topic: str) -> None:
    with Consumer(cluster.servers, topic, group="g", partitions=[0], commit="manual") as consumer:
        for record in consumer:
            if record.offset == 3:
                (receipt,) = consumer.commit(metadata=b"x")
                assert receipt.offset == 4
                break
    with Consumer(cluster.servers, topic, group="g", partitions=[0], commit="each") as consumer:
        for record in consumer:
            assert consumer.committed(0) == record.offset
            if record.offset == 7:
                break
    assert committed(cluster, topic) == 7


def test_stop_ends_the_loop_after_the_record_in_hand(cluster: LocalCluster, topic: str) -> None:
    seen = []
    with Consumer(cluster.servers, topic, group="g", partitions=[0], commit_interval_ms=60_000) as consumer:
        for record in consumer:
            seen.append(record.offset)
            if record.offset == 5:
                consumer.stop()
                until(lambda: consumer._consumer._turns.stopping)
    assert seen == list(range(6))
    assert committed(cluster, topic) == 6


def test_stop_ends_a_loop_that_waits(cluster: LocalCluster, topic: str) -> None:
    with Consumer(cluster.servers, topic, group="g", partitions=[0]) as consumer:
        threading.Timer(0.2, consumer.stop).start()
        assert len(list(consumer)) == 10
    assert committed(cluster, topic) == 10


def test_pause_resume_and_seek(cluster: LocalCluster, topic: str) -> None:
    with Consumer(cluster.servers, topic, group="g", partitions=[0]) as consumer:
        records = iter(consumer)
        assert next(records).offset == 0
        consumer.seek(0, 7)
        assert next(iter(consumer)).offset == 7
        consumer.pause()
        threading.Timer(0.2, consumer.resume).start()
        assert next(iter(consumer)).offset == 7
        # Seeking forward makes what lies between count as processed.
        until(lambda: (consumer.end(0), consumer.lag(0)) == (10, 3))


def test_a_group_of_two_and_a_taken_partition(cluster: LocalCluster, topic: str) -> None:
    with (
        Consumer(cluster.servers, topic, group="g", partitions=[0]) as first,
        Consumer(cluster.servers, topic, group="g", partitions=[0]) as second,
    ):
        assert next(iter(second)).offset == 0
        with pytest.raises(Fenced):
            list(first)
    with Consumer(cluster.servers, topic, group="managed", stop_at_end=True) as consumer:
        assert len(list(consumer)) == 10
        assert consumer.stats().generation > 0


def test_what_cannot_be_opened_leaves_no_thread_behind(cluster: LocalCluster) -> None:
    before = threading.active_count()
    with pytest.raises(UnknownTopic), Consumer(cluster.servers, "nowhere", group="g"):
        pass
    assert threading.active_count() <= before
