"""The reader over real gRPC: every record once and in order through all trouble, and no silent gap."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from client.fake_cluster import FakeCluster

from quorumlog.client import InvalidStart, Producer, Reader, Record, RetentionGap
from quorumlog.client.errors import (
    Closed,
    DamagedOnTheWay,
    HoleInLog,
    NoQuorum,
    NotDone,
    OffsetOutOfRange,
    UnknownPartition,
    UnknownTopic,
)
from quorumlog.wire.batch import encode_batch
from quorumlog.wire.header import parse_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster() as cluster:
        cluster.make("t", partitions=3)
        yield cluster


def fill(cluster: FakeCluster, count: int, *, partition: int = 0, per_batch: int = 10, digits: int = 1) -> None:
    """Append ``count`` records, their values and timestamps the numbers from the log's end on."""
    log = cluster.partition("t", partition)
    begin, end = log.end, log.end + count
    for first in range(begin, end, per_batch):
        numbers = range(first, min(first + per_batch, end))
        values = [b"%0*d" % (digits, number) for number in numbers]
        batch = encode_batch(values, timestamps_ms=[1000 + number for number in numbers])
        log.append(batch, parse_header(batch))


async def take(reader: Reader, count: int, into: list[Record] | None = None) -> list[Record]:
    records = [] if into is None else into
    async for record in reader:
        records.append(record)
        if len(records) == count:
            break
    return records


class TestReading:
    async def test_everything_to_the_end_once_and_in_order(self, cluster: FakeCluster) -> None:
        for number, count in enumerate((95, 40, 0)):
            fill(cluster, count, partition=number)
        async with Reader(cluster.servers, "t", stop_at_end=True) as reader:
            records = [record async for record in reader]
        for number, count in enumerate((95, 40, 0)):
            mine = [record for record in records if record.partition == number]
            assert [record.offset for record in mine] == list(range(count))
            assert [record.value for record in mine] == [b"%d" % n for n in range(count)]
        assert reader.positions() == {0: 95, 1: 40, 2: 0}

    async def test_the_end_is_the_end_when_reading_began(self, cluster: FakeCluster) -> None:
        fill(cluster, 5)
        async with Reader(cluster.servers, "t", partitions=[0], stop_at_end=True) as reader:
            fill(cluster, 20)
            assert len([record async for record in reader]) == 5

    async def test_new_records_come_as_they_are_committed(self, cluster: FakeCluster) -> None:
        async with Reader(cluster.servers, "t", start="latest") as reader:
            taking = asyncio.create_task(take(reader, 12))
            await asyncio.sleep(0.05)
            fill(cluster, 12, partition=1)
            assert [record.offset for record in await taking] == list(range(12))

    async def test_leaving_a_loop_and_coming_back_loses_nothing(self, cluster: FakeCluster) -> None:
        fill(cluster, 60)
        async with Reader(cluster.servers, "t", partitions=[0], stop_at_end=True) as reader:
            first = await take(reader, 7)
            assert reader.positions() == {0: 7}
            second = await take(reader, 30)
            assert reader.positions() == {0: 37}
            rest = [record async for batch in reader.batches() for record in batch]
        assert [record.offset for record in first + second + rest] == list(range(60))

    async def test_partitions_take_turns(self, cluster: FakeCluster) -> None:
        for number in range(3):
            fill(cluster, 60_000, partition=number, per_batch=1000)
        async with Reader(cluster.servers, "t", stop_at_end=True, prefetch_bytes=90_000) as reader:
            seen = [0, 0, 0]
            widest = 0
            async for batch in reader.batches():
                seen[batch[0].partition] += len(batch)
                if max(seen) < 60_000:
                    widest = max(widest, max(seen) - min(seen))
        assert seen == [60_000] * 3
        assert widest < 30_000

    async def test_what_is_read_ahead_is_bounded(self, cluster: FakeCluster) -> None:
        fill(cluster, 200_000, per_batch=1000)
        async with Reader(cluster.servers, "t", partitions=[0], prefetch_bytes=100_000) as reader:
            await take(reader, 1)
            await asyncio.sleep(0.2)
            (subscription,) = reader._subscriptions.values()
            # One message may carry it over the bound.
            assert subscription._bytes < 2 * 100_000

    @pytest.mark.parametrize(
        ("start", "first"),
        [
            ("earliest", 20),
            ("offset:25", 25),
            ("begin+3", 23),
            ("begin+500", 100),
            ("end-7", 93),
            ("end-500", 20),
            ("time:1050", 50),
            ("age:1s", 100),
        ],
    )
    async def test_reading_begins_where_it_is_told_to(self, cluster: FakeCluster, start: str, first: int) -> None:
        fill(cluster, 100)
        cluster.partition("t", 0).trim(20)
        async with Reader(cluster.servers, "t", partitions=[0], start=start, stop_at_end=True) as reader:
            assert [record.offset async for record in reader] == list(range(first, 100))


class TestTrouble:
    async def test_reading_goes_on_at_the_next_offset_after_the_leader_is_killed(
        self, cluster: FakeCluster
    ) -> None:
        fill(cluster, 3000)
        async with Reader(cluster.servers, "t", partitions=[0], prefetch_bytes=2000) as reader:
            before = await take(reader, 1234)
            await cluster.nodes[1].stop()
            cluster.elect("t", 0, 2)
            after = await take(reader, 3000 - 1234)
        assert [record.offset for record in before + after] == list(range(3000))

    async def test_reading_goes_on_after_the_leader_moved(self, cluster: FakeCluster) -> None:
        async with Reader(cluster.servers, "t", partitions=[0]) as reader:
            fill(cluster, 10)
            before = await take(reader, 10)
            cluster.elect("t", 0, 3)
            fill(cluster, 10)
            after = await take(reader, 10)
        assert [record.offset for record in before + after] == list(range(20))

    async def test_a_silent_leader_is_left(self, cluster: FakeCluster) -> None:
        fill(cluster, 10)
        async with Reader(cluster.servers, "t", partitions=[0]) as reader:
            await take(reader, 10)
            cluster.nodes[1].hung = True
            cluster.elect("t", 0, 2)
            fill(cluster, 5)
            assert [record.offset for record in await take(reader, 5)] == list(range(10, 15))

    async def test_no_leader_ends_in_no_quorum_and_reading_may_be_tried_again(self, cluster: FakeCluster) -> None:
        fill(cluster, 10)
        async with Reader(cluster.servers, "t", partitions=[0], timeout_ms=300) as reader:
            await take(reader, 10)
            cluster.elect("t", 0, 0)
            with pytest.raises(NoQuorum) as caught:
                await take(reader, 1)
            assert isinstance(caught.value, NotDone)
            cluster.elect("t", 0, 2)
            fill(cluster, 1)
            assert [record.offset for record in await take(reader, 1)] == [10]


class TestGaps:
    async def test_records_removed_before_they_were_read_are_told_as_a_gap(self, cluster: FakeCluster) -> None:
        fill(cluster, 10_000, per_batch=100, digits=1000)
        records: list[Record] = []
        async with Reader(cluster.servers, "t", partitions=[0], stop_at_end=True, prefetch_bytes=200_000) as reader:
            records += await take(reader, 30)
            cluster.partition("t", 0).trim(9000)
            with pytest.raises(RetentionGap) as caught:
                await take(reader, 10_000, into=records)
            gap = caught.value
            assert [record.offset for record in records] == list(range(gap.from_offset))
            assert (gap.topic, gap.partition, gap.to_offset) == ("t", 0, 9000)
            assert reader.positions() == {0: 9000}
            assert [record.offset async for record in reader] == list(range(9000, 10_000))

    async def test_a_hole_is_never_passed_over(self, cluster: FakeCluster) -> None:
        fill(cluster, 30)
        del cluster.partition("t", 0).batches[1]
        async with Reader(cluster.servers, "t", partitions=[0], stop_at_end=True) as reader:
            assert [record.offset for record in await take(reader, 10)] == list(range(10))
            with pytest.raises(HoleInLog) as caught:
                await take(reader, 1)
        assert caught.value.fields == {"expected": "10", "received": "20"}

    async def test_a_damaged_batch_is_never_handed_out(self, cluster: FakeCluster) -> None:
        fill(cluster, 30)
        log = cluster.partition("t", 0)
        good = log.batches[1]
        log.batches[1] = good[:-1] + b"?"
        async with Reader(cluster.servers, "t", partitions=[0], stop_at_end=True) as reader:
            assert [record.offset for record in await take(reader, 10)] == list(range(10))
            with pytest.raises(DamagedOnTheWay):
                await take(reader, 1)
            log.batches[1] = good
            assert [record.offset async for record in reader] == list(range(10, 30))


class TestErrors:
    async def test_an_offset_the_log_does_not_hold_is_told_at_the_start(self, cluster: FakeCluster) -> None:
        fill(cluster, 10)
        with pytest.raises(OffsetOutOfRange) as caught:
            await Reader(cluster.servers, "t", partitions=[0], start="offset:11").open()
        assert caught.value.fields == {"offset": "11", "start_offset": "0", "end_offset": "10"}

    async def test_unknown_topics_and_partitions_are_told(self, cluster: FakeCluster) -> None:
        with pytest.raises(UnknownTopic):
            await Reader(cluster.servers, "nothing").open()
        with pytest.raises(UnknownPartition):
            await Reader(cluster.servers, "t", partitions=[3]).open()

    def test_a_wrong_start_is_refused_before_anything_is_asked(self) -> None:
        with pytest.raises(InvalidStart):
            Reader("a:1", "t", start="somewhere")

    async def test_closing_ends_a_wait(self, cluster: FakeCluster) -> None:
        reader = Reader(cluster.servers, "t")
        taking = asyncio.create_task(take(reader, 1))
        await asyncio.sleep(0.05)
        await reader.close()
        with pytest.raises(Closed):
            await taking


async def test_what_a_producer_sends_a_reader_reads(cluster: FakeCluster) -> None:
    async with (
        Producer(cluster.servers, compression="zstd") as producer,
        Reader(cluster.servers, "t") as reader,
    ):
        for number in range(500):
            await producer.send("t", b"%d" % number, key=b"%d" % (number % 7), headers=[("n", b"%d" % number)])
        await producer.flush()
        records = await take(reader, 500)
    assert sorted(int(record.value or b"") for record in records) == list(range(500))
    assert all(record.headers == (("n", record.value),) for record in records)
