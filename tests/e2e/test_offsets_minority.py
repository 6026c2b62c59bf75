"""A leader that is cut off: nothing is committed or fetched there, the others go on, and afterwards every commit of
both sides has one fate."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

import grpc
import pytest

from quorumlog.client import Admin, Producer
from quorumlog.client.claim import Claim
from quorumlog.client.offset_admin import OffsetAdmin
from quorumlog.client.offset_types import Fate, TopicPartition
from quorumlog.cluster.links.control import LinkedCluster
from quorumlog.cluster.throwaway import planned_cluster
from quorumlog.v1 import errors_pb2, offsets_pb2, offsets_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from quorumlog.client.receipt import Receipt
    from quorumlog.cluster.launcher import LocalCluster

Answer = TypeVar("Answer", offsets_pb2.CommitResponse, offsets_pb2.FetchResponse)

TOPIC = "divided"
WHERE = TopicPartition(TOPIC, 0)
PLACE = offsets_pb2.TopicPartition(topic=TOPIC, partition=0)
SESSION = 77
#: "Within 2 s", and what a test may take beside that.
BOUND_S = 2.0
RECORDS = 100


@pytest.fixture
async def divisible(engine: str) -> AsyncIterator[tuple[LocalCluster, LinkedCluster]]:
    """Three nodes with a link between every two; a topic with records."""
    with planned_cluster(engine=engine) as cluster:
        links = LinkedCluster(cluster)
        try:
            await links.install()
            cluster.start()
            await asyncio.to_thread(cluster.wait_ready)
            async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
                await admin.create_topic(TOPIC)
                for number in range(RECORDS):
                    await producer.send(TOPIC, b"%d" % number)
                await producer.flush()
            yield cluster, links
        finally:
            cluster.stop()
            await links.close()


async def leader_of(admin: Admin) -> int:
    """Whichever node is asked may not have heard yet."""
    async with asyncio.timeout(20):
        while True:
            leader = (await admin.describe_topic(TOPIC)).partitions[0].leader
            if leader:
                return leader
            await asyncio.sleep(0.05)


def commit(offset: int, epoch: int, sequence: int) -> offsets_pb2.CommitRequest:
    item = offsets_pb2.Commit(
        group="cut", topic=TOPIC, offset=offset, owner_epoch=epoch, session=SESSION, sequence=sequence
    )
    return offsets_pb2.CommitRequest(commits=[item])


async def test_a_minority_fails_fast_and_afterwards_every_commit_has_one_fate(
    divisible: tuple[LocalCluster, LinkedCluster],
) -> None:
    cluster, links = divisible
    async with Admin(cluster.servers) as admin, OffsetAdmin(cluster.servers) as offsets:
        leader = await leader_of(admin)
        address = next(node.client_address for node in cluster.nodes if node.node_id == leader)
        async with grpc.aio.insecure_channel(address) as channel:
            stub = offsets_pb2_grpc.OffsetsStub(channel)
            acquire = offsets_pb2.AcquireRequest(
                group="cut",
                owner="test",
                session=SESSION,
                partitions=[PLACE],
                start=offsets_pb2.Start(earliest=True),
                on_out_of_range=offsets_pb2.FALLBACK_FAIL,
                on_truncated=offsets_pb2.FALLBACK_FAIL,
            )
            acquired = (await stub.Acquire(acquire)).results[0].acquired
            epoch = acquired.owner_epoch
            before = (await stub.Commit(commit(10, epoch, 1))).results[0].receipt
            async with await Claim.open(cluster.servers, "onward", TOPIC, 0) as claim:
                await claim.commit(1)
                await links.cut_off(leader)

                committed, fetched = await asyncio.gather(
                    timed(stub.Commit(commit(20, epoch, 2))),
                    timed(stub.Fetch(offsets_pb2.FetchRequest(group="cut", partitions=[PLACE]))),
                )
                for seconds, answer in (committed, fetched):
                    assert answer.results[0].error.reason == errors_pb2.REASON_NO_QUORUM
                    assert seconds < BOUND_S
                assert committed[1].results[0].error.outcome == errors_pb2.OUTCOME_UNKNOWN

                onward: list[Receipt] = [await claim.commit(offset) for offset in (2, 3, 4)]
                # The owner of the group that is cut off finds the majority too, and commits on.
                after = await at_the_majority(cluster, leader, commit(30, epoch, 3))

            await links.heal()
            lost = await offsets.resolve_attempt("cut", WHERE, epoch, SESSION, 2)
            assert lost.fate is Fate.NEVER_HAPPENED
            assert lost.stored is not None
            assert lost.stored.offset == 30
            old = f"cut/{TOPIC}/0@{before.version}:{before.term}:{before.offset}"
            new = f"cut/{TOPIC}/0@{after.version}:{after.term}:{after.offset}"
            assert (await offsets.resolve(old)).fate is Fate.SUPERSEDED
            assert (await offsets.resolve(new)).fate is Fate.PRESENT
            assert [(await offsets.resolve(receipt)).fate for receipt in onward] == [
                Fate.SUPERSEDED,
                Fate.SUPERSEDED,
                Fate.PRESENT,
            ]
            # The healed node tells the same: a receipt may be shown to any node.
            told = await resolved_by(stub, after)
            assert told.fate == offsets_pb2.FATE_PRESENT


async def timed(call: Awaitable[Answer]) -> tuple[float, Answer]:
    begin = time.perf_counter()
    answer = await call
    return time.perf_counter() - begin, answer


async def at_the_majority(
    cluster: LocalCluster, cut_off: int, request: offsets_pb2.CommitRequest
) -> offsets_pb2.Receipt:
    """The commit, at whichever of the others leads now."""
    others = [node.client_address for node in cluster.nodes if node.node_id != cut_off]
    async with asyncio.timeout(20):
        while True:
            for address in others:
                async with grpc.aio.insecure_channel(address) as channel:
                    stub = offsets_pb2_grpc.OffsetsStub(channel)
                    result = (await stub.Commit(request)).results[0]
                if result.HasField("receipt"):
                    return result.receipt
                assert result.error.reason in (errors_pb2.REASON_NOT_LEADER, errors_pb2.REASON_NO_QUORUM)
            await asyncio.sleep(0.05)


async def resolved_by(
    stub: offsets_pb2_grpc.OffsetsAsyncStub, receipt: offsets_pb2.Receipt
) -> offsets_pb2.ResolveResponse:
    """Once the node has caught up; until then it says that it cannot tell."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await stub.Resolve(offsets_pb2.ResolveRequest(receipt=receipt))
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
            await asyncio.sleep(0.05)
