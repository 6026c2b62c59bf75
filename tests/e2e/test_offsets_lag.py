"""The lag of consumers that have stopped, to the record, against counting the records one by one."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from quorumlog.client import Admin, Producer, Reader
from quorumlog.client.claim import Claim
from quorumlog.client.offset_admin import OffsetAdmin
from quorumlog.client.offset_types import TopicPartition, Verdict
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quorumlog.client import Record
    from quorumlog.cluster.launcher import LocalCluster

TOPIC = "behind"
PARTITIONS = 3
RECORDS = 3_000
GROUPS = 5
HOUR_MS = 3_600_000
#: The records' times lie this far apart, so that an age names one record.
STEP_MS = 1_000


@pytest.fixture(scope="module")
def cluster(engine: str) -> Iterator[LocalCluster]:
    with running_cluster(engine=engine) as cluster:
        yield cluster


async def test_the_lag_of_stopped_consumers_is_right_to_the_record(cluster: LocalCluster) -> None:
    random = Random(1)
    first_ms = time.time_ns() // 1_000_000 - HOUR_MS
    async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
        await admin.create_topic(TOPIC, PARTITIONS)
        for number in range(RECORDS):
            timestamp_ms = first_ms + number * STEP_MS
            partition = random.randrange(PARTITIONS)
            await producer.send(TOPIC, bytes(random.randrange(200)), None, timestamp_ms, (), partition)
        await producer.flush()
    ends = [len(records) for records in (await read_all(cluster.servers)).values()]
    stopped_at: dict[tuple[str, int], int] = {}
    for number in range(GROUPS):
        for partition in range(PARTITIONS):
            group = f"stopped-{number}"
            async with await Claim.open(cluster.servers, group, TOPIC, partition) as claim:
                offset = (0, ends[partition], random.randrange(ends[partition]))[min(number, 2)]
                await claim.commit(offset)
                stopped_at[group, partition] = offset

    async with OffsetAdmin(cluster.servers) as offsets:
        before_ms = time.time_ns() // 1_000_000
        told = await offsets.lag()
        after_ms = time.time_ns() // 1_000_000
    records = await read_all(cluster.servers)
    seen = 0
    for partition in range(PARTITIONS):
        lags = told[TopicPartition(TOPIC, partition)]
        assert isinstance(lags, list)
        for lag in lags:
            behind = [each for each in records[partition] if each.offset >= stopped_at[lag.group, partition]]
            assert lag.committed == stopped_at[lag.group, partition]
            assert lag.records == len(behind)
            assert lag.owner == ""
            if behind:
                assert lag.verdict is Verdict.STOPPED
                oldest_ms = behind[0].timestamp_ms
                assert before_ms - oldest_ms <= lag.age_ms <= after_ms - oldest_ms
                assert lag.bytes > 0
            else:
                assert (lag.verdict, lag.age_ms, lag.bytes) == (Verdict.OK, 0, 0)
            seen += 1
    assert seen == GROUPS * PARTITIONS


async def read_all(servers: list[str]) -> dict[int, list[Record]]:
    records: dict[int, list[Record]] = {partition: [] for partition in range(PARTITIONS)}
    async with Reader(servers, TOPIC, stop_at_end=True) as reader:
        async for record in reader:
            records[record.partition].append(record)
    return records
