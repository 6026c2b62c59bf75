"""A leader that hangs keeps its connections and answers nothing: the client must find the next one by itself."""

from __future__ import annotations

import asyncio

from client.fake_cluster import FakeCluster

from quorumlog.client import Producer


async def test_questions_that_a_hung_node_owes_do_not_keep_the_client_from_asking_the_others() -> None:
    """Found by the chaos suite (pause-leader): where every node led some partition none was preferred when leaders
    were asked for, four questions were soon stuck at the hung node, and for five seconds nobody else was asked."""
    async with FakeCluster() as cluster:
        cluster.make("t", partitions=3)
        for number in range(3):
            cluster.elect("t", number, number + 1)
        async with Producer(cluster.servers, delivery_timeout_ms=4_000.0) as producer:
            for number in range(3):
                await (await producer.send("t", b"before", partition=number))
            cluster.nodes[1].hung = True
            delivery = await producer.send("t", b"after", partition=0)
            # Asked all the while, and told that nobody else leads yet: as long as an election takes.
            asked = cluster.metadata_calls
            while cluster.metadata_calls < asked + 20 and not delivery.done:  # noqa: ASYNC110  # the calls run on this very loop
                await asyncio.sleep(0)
            cluster.elect("t", 0, 2)
            await delivery
        assert cluster.partition("t", 0).values() == [b"before", b"after"]
