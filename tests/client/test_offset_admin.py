"""The admin clients for offsets and groups against three real nodes: each partition answers for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quorumlog.client import Admin, Claim, GroupAdmin, OffsetAdmin, Producer
from quorumlog.client.errors import (
    GroupActive,
    InvalidGroup,
    InvalidRequest,
    OffsetOutOfRange,
    QuorumlogError,
    UnknownGroup,
    UnknownPartition,
    UnknownReceipt,
    UnknownTopic,
    VersionMismatch,
)
from quorumlog.client.offset_types import (
    ChangeKind,
    Fate,
    FetchedOffset,
    Finding,
    ResetOffset,
    TopicPartition,
    ToVersion,
)
from quorumlog.client.receipt import InvalidReceipt
from quorumlog.client.sync import GroupAdmin as SyncGroupAdmin
from quorumlog.client.sync import OffsetAdmin as SyncOffsetAdmin
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from quorumlog.cluster.launcher import LocalCluster

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)
RECORDS = 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
async def offsets(cluster: LocalCluster) -> AsyncIterator[OffsetAdmin]:
    """With a topic of two partitions, 20 records each."""
    async with Admin(cluster.servers) as admin, OffsetAdmin(cluster.servers, timeout_ms=5_000) as offsets:
        _, new = await admin.create_topic("t", partitions=2)
        if new:
            async with Producer(cluster.servers) as producer:
                for number in range(2 * RECORDS):
                    await producer.append("t", b"record", partition=number % 2)
        yield offsets


async def commit(cluster: LocalCluster, group: str, *numbers: int) -> list[int]:
    """Commits these in partition 0; their versions."""
    async with await Claim.open(cluster.servers, group, "t", 0) as claim:
        return [(await claim.commit(number)).version for number in numbers]


async def test_internal_topics_are_not_among_the_partitions(offsets: OffsetAdmin) -> None:
    assert await offsets.partitions() == [FIRST, SECOND]
    assert await offsets.partitions(["t"]) == [FIRST, SECOND]
    with pytest.raises(UnknownTopic):
        await offsets.partitions(["nowhere"])


async def test_one_s_own_commit_is_read_from_any_node_by_its_version(
    cluster: LocalCluster, offsets: OffsetAdmin
) -> None:
    (version,) = await commit(cluster, "anywhere", 7)
    for node_id in cluster.node_ids:
        found = await offsets.fetch_at(node_id, "anywhere", FIRST, version)
        assert found.stored is not None
        assert (found.stored.offset, found.stored.version) == (7, version)


async def test_a_fetch_as_of_a_version_names_a_node_there_is_and_a_version(offsets: OffsetAdmin) -> None:
    with pytest.raises(InvalidRequest, match="no node 9"):
        await offsets.fetch_at(9, "anywhere", FIRST, 1)
    with pytest.raises(InvalidRequest, match="min_version"):
        await offsets.fetch_at(1, "anywhere", FIRST, 0)


async def test_nothing_stored_is_not_a_number(cluster: LocalCluster, offsets: OffsetAdmin) -> None:
    (version,) = await commit(cluster, "zero", 0)
    fetched = await offsets.fetch("zero", [FIRST, SECOND])
    first, second = fetched[FIRST], fetched[SECOND]
    assert isinstance(first, FetchedOffset)
    assert isinstance(second, FetchedOffset)
    assert first.stored is not None
    assert (first.stored.offset, first.stored.version, first.applied_index >= version) == (0, version, True)
    assert second.stored is None


async def test_each_partition_answers_for_itself(offsets: OffsetAdmin) -> None:
    nowhere = TopicPartition("t", 7)
    fetched = await offsets.fetch("any", [FIRST, nowhere])
    assert isinstance(fetched[FIRST], FetchedOffset)
    assert isinstance(fetched[nowhere], UnknownPartition)


async def test_refusals_have_their_kinds(cluster: LocalCluster, offsets: OffsetAdmin) -> None:
    await commit(cluster, "known", 3)
    kinds: list[tuple[QuorumlogError | object, type[QuorumlogError]]] = [
        ((await offsets.fetch("no/group", [FIRST]))[FIRST], InvalidGroup),
        ((await offsets.reset("known", [FIRST], "earliest", reason=""))[FIRST], InvalidRequest),
        ((await offsets.reset("known", [FIRST], "offset:21", reason="why"))[FIRST], OffsetOutOfRange),
        ((await offsets.reset("known", [FIRST], ToVersion(1), reason="why"))[FIRST], UnknownReceipt),
    ]
    for answer, kind in kinds:
        assert isinstance(answer, kind)
    with pytest.raises(UnknownGroup):
        await offsets.history("nobody", FIRST)
    with pytest.raises(InvalidReceipt):
        await offsets.resolve("nonsense")
    with pytest.raises(InvalidRequest):
        await offsets.mark("known", [FIRST], critical=True, hold_bytes=-1)


async def test_a_reset_is_bound_to_the_version_that_was_seen(cluster: LocalCluster, offsets: OffsetAdmin) -> None:
    early, late = await commit(cluster, "bound", 5, 6)
    refused = await offsets.reset("bound", [FIRST], "earliest", reason="stale", expected_versions={FIRST: early})
    assert isinstance(refused[FIRST], VersionMismatch)
    done = await offsets.reset("bound", [FIRST], "end-3", reason="fresh", expected_versions={FIRST: late})
    told = done[FIRST]
    assert isinstance(told, ResetOffset)
    assert told.before is not None
    assert (told.before.offset, told.stored.offset, told.log_end) == (6, RECORDS - 3, RECORDS)
    back = (await offsets.reset("bound", [FIRST], ToVersion(early), reason="undo"))[FIRST]
    assert isinstance(back, ResetOffset)
    assert back.stored.offset == 5
    kinds = [(each.kind, each.offset, each.reason) for each in (await offsets.history("bound", FIRST)).changes[-2:]]
    assert kinds == [(ChangeKind.RESET, RECORDS - 3, "fresh"), (ChangeKind.RESET, 5, "undo")]


async def test_a_dry_run_makes_the_checks_and_changes_nothing(cluster: LocalCluster, offsets: OffsetAdmin) -> None:
    async with await Claim.open(cluster.servers, "dry", "t", 0) as claim:
        await claim.commit(4)
        refused = await offsets.reset("dry", [FIRST], "latest", reason="try", dry_run=True)
        assert isinstance(refused[FIRST], GroupActive)
        would = await offsets.reset("dry", [FIRST], "latest", reason="try", dry_run=True, force=True)
        assert isinstance(would[FIRST], ResetOffset)
        await claim.commit(5)


async def test_a_deleted_group_is_gone_from_everywhere(cluster: LocalCluster, offsets: OffsetAdmin) -> None:
    await commit(cluster, "gone", 5)
    async with GroupAdmin(cluster.servers) as groups:
        assert "gone" in [each.group for each in await groups.list()]
        assert await groups.delete("gone") == 1
        assert "gone" not in [each.group for each in await groups.list()]
        with pytest.raises(UnknownGroup):
            await groups.delete("gone")
        with pytest.raises(UnknownGroup):
            await groups.describe("gone")


async def test_verify_names_the_replica_that_does_not_answer(cluster: LocalCluster, offsets: OffsetAdmin) -> None:
    await commit(cluster, "seen", 5)
    assert all(each.complete and not each.wrong for each in await offsets.verify())
    cluster.kill(3)
    try:
        for found in await offsets.verify():
            assert (sorted(found.missing), found.compared, found.wrong) == ([3], (1, 2), False)
            assert all(each.finding is Finding.OK for each in found.groups)
    finally:
        cluster.start_node(3)


def test_the_same_without_asyncio(cluster: LocalCluster) -> None:
    with SyncOffsetAdmin(cluster.servers) as offsets, SyncGroupAdmin(cluster.servers) as groups:
        done = offsets.reset("plain", [FIRST], "offset:9", reason="made by an operator")[FIRST]
        assert isinstance(done, ResetOffset)
        stored = done.stored
        lags = offsets.lag(["plain"], [FIRST])[FIRST]
        assert isinstance(lags, list)
        assert [(each.committed, each.records) for each in lags] == [(9, RECORDS - 9)]
        assert offsets.history("plain", FIRST).changes[-1].reason == "made by an operator"
        receipt = f"plain/t/0@{stored.version}:{stored.term}:{stored.offset}"
        assert offsets.resolve(receipt).fate is Fate.PRESENT
        assert offsets.mark("plain", [FIRST], critical=True) == {FIRST: None}
        fetched = offsets.fetch("plain", offsets.partitions(["t"]))[FIRST]
        assert isinstance(fetched, FetchedOffset)
        assert "plain" in [each.group for each in groups.list()]
        assert groups.delete("plain") == 1
