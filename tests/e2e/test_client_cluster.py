"""The client against three real nodes: what is acknowledged through the death of every leader is there once, in
order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from quorumlog.client import Admin, Producer, Reader
from quorumlog.client.errors import TooLarge, UnknownTopic
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quorumlog.cluster.launcher import LocalCluster


@pytest.fixture(scope="module")
def cluster(engine: str) -> Iterator[LocalCluster]:
    with running_cluster(engine=engine) as cluster:
        yield cluster


async def test_records_survive_the_death_of_one_leader_after_another(cluster: LocalCluster) -> None:
    async with Admin(cluster.servers) as admin:
        await admin.create_topic("killed", 2)
        acknowledged: dict[tuple[int, int], bytes] = {}

        async def send(producer: Producer, key: bytes, count: int) -> None:
            for number in range(count):
                value = b"%s %d" % (key, number)
                position = await producer.append("killed", value, key=key)
                acknowledged[position.partition, position.offset] = value
                await asyncio.sleep(0)

        async with Producer(cluster.servers) as producer:
            for round_number in range(3):
                sending = [
                    asyncio.create_task(send(producer, b"%d-%d" % (round_number, each), 50)) for each in range(8)
                ]
                leader = 0
                while not leader:
                    leader = (await admin.describe_topic("killed")).partitions[0].leader
                cluster.kill(leader)
                await asyncio.gather(*sending)
                cluster.start_node(leader)
                await asyncio.to_thread(cluster.wait_ready)
        async with Reader(cluster.servers, "killed", stop_at_end=True) as reader:
            read = {(record.partition, record.offset): record.value async for record in reader}
    assert len(acknowledged) == 3 * 8 * 50
    assert read == acknowledged
    for partition in range(2):
        last: dict[bytes, int] = {}
        for _, value in sorted(item for item in read.items() if item[0][0] == partition):
            key, number = (value or b"").split()
            assert int(number) == last.get(key, -1) + 1
            last[key] = int(number)


async def test_refusals_of_real_nodes_are_typed(cluster: LocalCluster) -> None:
    async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
        with pytest.raises(UnknownTopic):
            await producer.append("nowhere", b"x")
        await admin.create_topic("small", max_batch_bytes=2048)
        with pytest.raises(TooLarge):
            await producer.append("small", b"x" * 4096)
        assert (await producer.append("small", b"x")).offset == 0
