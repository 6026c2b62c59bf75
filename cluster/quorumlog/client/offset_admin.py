"""Committed offsets as an operator sees and moves them: nothing here owns a partition or commits.

    async with OffsetAdmin("127.0.0.1:7401") as offsets:
        for partition, lag in (await offsets.lag("readers")).items():
            ...

Every question goes to the partition's leader and is linearizable. A call over several partitions answers for each
by itself: a value, or the error that this partition ended with, because one partition without a quorum must not
hide the others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, TypeVar

from quorumlog.client.errors import InvalidRequest, QuorumlogError, Reason
from quorumlog.client.network import Network
from quorumlog.client.offset_messages import (
    change_of,
    fetched_of,
    inspection_of,
    lag_of,
    partition_message,
    receipt_message,
    resolution_of,
    start_message,
    stored_of,
)
from quorumlog.client.offset_types import (
    FetchedOffset,
    GroupLag,
    History,
    Inspection,
    ResetOffset,
    Resolution,
    Restore,
    TopicPartition,
    ToVersion,
)
from quorumlog.client.receipt import Receipt, parse_receipt
from quorumlog.client.start import parse_start
from quorumlog.client.status import from_message
from quorumlog.client.verification import PartitionFindings, compare, damage
from quorumlog.v1 import offsets_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

    from quorumlog.client.channel import NodeChannel
    from quorumlog.client.start import Start

Answer = TypeVar("Answer")

#: Partitions asked about at a time.
_AT_ONCE = 32
#: Topics whose names begin so are the system's.
INTERNAL = "__"
#: A replica gets so long to tell what it noted: one that is further behind is named as missing.
_INSPECT_MS = 5000.0


class OffsetAdmin:
    """Fetch, reset, history, resolve, lag, mark, forget, verify; an asynchronous context manager.

    Every call ends after ``timeout_ms`` at the latest, for each partition. Calls with ``partitions`` return a
    mapping from each of them to its answer or its error.
    """

    def __init__(self, servers: str | Sequence[str], *, timeout_ms: float = 10_000.0) -> None:
        self.network = Network(servers)
        self._timeout_ms = timeout_ms
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections."""
        await self.network.close()

    async def partitions(self, topics: Sequence[str] = ()) -> list[TopicPartition]:
        """All partitions of these topics (none: of all the users' topics), in order. Raises UnknownTopic."""
        if topics:
            views = await asyncio.gather(
                *(self.network.topic(topic, timeout_ms=self._timeout_ms) for topic in topics)
            )
            counts = {name: len(view.partitions) for name, view in zip(topics, views, strict=True)}
        else:
            answer = await self.network.metadata(timeout_ms=self._timeout_ms)
            counts = {
                topic.name: len(topic.partitions) for topic in answer.topics if not topic.name.startswith(INTERNAL)
            }
        return [TopicPartition(name, number) for name in sorted(counts) for number in range(counts[name])]

    # ---- looking

    async def fetch(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, FetchedOffset | QuorumlogError]:
        """What is stored for the group."""

        async def ask(channel: NodeChannel, seconds: float, partition: TopicPartition) -> FetchedOffset:
            request = offsets_pb2.FetchRequest(group=group, partitions=[partition_message(partition)])
            (result,) = (await channel.offsets.Fetch(request, timeout=seconds)).results
            if result.WhichOneof("result") == "error":
                raise from_message(result.error)
            return fetched_of(result)

        return await self._each(partitions, ask)

    async def fetch_at(
        self, node_id: int, group: str, partition: TopicPartition, min_version: int
    ) -> FetchedOffset:
        """What one node's replica has stored for the group, once it has applied ``min_version`` (a receipt's, say):
        so one reads one's own commit without the leader.

        Raises InvalidRequest (no such node), Unreachable, and DEADLINE where the replica does not come so far."""
        if min_version < 1:
            raise InvalidRequest(f"min_version is {min_version}", fields={"min_version": str(min_version)})
        request = offsets_pb2.FetchRequest(
            group=group, partitions=[partition_message(partition)], min_versions=[min_version]
        )

        async def ask(channel: NodeChannel, seconds: float) -> FetchedOffset:
            (result,) = (await channel.offsets.Fetch(request, timeout=seconds)).results
            if result.WhichOneof("result") == "error":
                raise from_message(result.error)
            return fetched_of(result)

        if self.network.router.address(node_id) is None:
            await self.network.metadata(timeout_ms=self._timeout_ms)
        address = self.network.router.address(node_id)
        if address is None:
            raise InvalidRequest(f"no node {node_id}", fields={"node_id": str(node_id)})
        return await self.network.call_node(address, ask, timeout_ms=self._timeout_ms)

    async def history(self, group: str, partition: TopicPartition) -> History:
        """What happened to the group's offset in a partition. Raises UnknownGroup."""
        request = offsets_pb2.HistoryRequest(group=group, partition=partition_message(partition))

        async def ask(channel: NodeChannel, seconds: float) -> History:
            answer = await channel.offsets.History(request, timeout=seconds)
            return History(tuple(map(change_of, answer.entries)), answer.forgotten_version)

        return await self._leader(partition, ask)

    async def resolve(self, receipt: Receipt | str) -> Resolution:
        """What became of a commit. Raises InvalidReceipt (of a text), UnknownGroup, UnknownReceipt (forgotten)."""
        known = parse_receipt(receipt) if isinstance(receipt, str) else receipt
        request = offsets_pb2.ResolveRequest(receipt=receipt_message(known))

        async def ask(channel: NodeChannel, seconds: float) -> Resolution:
            return resolution_of(await channel.offsets.Resolve(request, timeout=seconds))

        return await self._leader(TopicPartition(known.topic, known.partition), ask)

    async def resolve_attempt(
        self, group: str, partition: TopicPartition, owner_epoch: int, session: int, sequence: int
    ) -> Resolution:
        """What became of a commit whose answer was lost, named as it was sent; makes "it did not happen" final.

        Raises UnknownReceipt (forgotten), and InvalidRequest for an owner epoch that nobody was given.
        """
        attempt = offsets_pb2.Attempt(
            group=group, owner_epoch=owner_epoch, session=session, sequence=sequence, **partition._asdict()
        )
        request = offsets_pb2.ResolveRequest(attempt=attempt)

        async def ask(channel: NodeChannel, seconds: float) -> Resolution:
            return resolution_of(await channel.offsets.Resolve(request, timeout=seconds))

        return await self._leader(partition, ask)

    async def lag(
        self, groups: Sequence[str] = (), partitions: Sequence[TopicPartition] | None = None
    ) -> dict[TopicPartition, list[GroupLag] | QuorumlogError]:
        """How far groups (none: all) are behind, by partition (None: all); a group that has nothing in a partition
        is not in its list."""

        async def ask(channel: NodeChannel, seconds: float, partition: TopicPartition) -> list[GroupLag]:
            request = offsets_pb2.LagRequest(groups=groups, partitions=[partition_message(partition)])
            answer = await channel.offsets.Lag(request, timeout=seconds)
            for failed in answer.errors:
                raise from_message(failed.error)
            return [lag_of(each) for each in answer.lags]

        return await self._each(await self.partitions() if partitions is None else partitions, ask)

    # ---- changing

    async def reset(
        self,
        group: str,
        partitions: Sequence[TopicPartition],
        to: str | Start | ToVersion | Restore,
        *,
        reason: str,
        expected_versions: Mapping[TopicPartition, int] | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> dict[TopicPartition, ResetOffset | QuorumlogError]:
        """Move the group's stored offsets, lower or higher.

        ``to``: a position (see ``parse_start``), an earlier version, or a tombstone's. ``expected_versions``: reset
        a partition only if its offset still is of this version. ``force``: also where the group has an owner, which
        is fenced. ``reason`` stands in the history. A reset of whatever version is not tried again once it may have
        been done: done twice it would undo what was committed in between. Errors: GroupActive, VersionMismatch,
        OffsetOutOfRange, UnknownGroup.
        """
        expected = expected_versions or {}

        async def ask(channel: NodeChannel, seconds: float, partition: TopicPartition) -> ResetOffset:
            item = offsets_pb2.ResetItem(
                partition=partition_message(partition), expected_version=expected.get(partition, 0)
            )
            match to:
                case ToVersion(version):
                    item.version = version
                case Restore():
                    item.restore = True
                case _:
                    item.position.CopyFrom(start_message(parse_start(to)))
            request = offsets_pb2.ResetRequest(
                group=group, items=[item], reason=reason, force=force, dry_run=dry_run
            )
            (result,) = (await channel.offsets.Reset(request, timeout=seconds)).results
            if result.WhichOneof("result") == "error":
                raise from_message(result.error)
            before = stored_of(result.before) if result.HasField("before") else None
            return ResetOffset(stored_of(result.stored), before, result.log_start, result.log_end)

        return await self._each(partitions, ask, repeatable=lambda partition: bool(expected.get(partition)))

    async def mark(
        self, group: str, partitions: Sequence[TopicPartition], *, critical: bool, hold_bytes: int = 0
    ) -> dict[TopicPartition, QuorumlogError | None]:
        """Treat the group so from now on: a critical one never expires, and retention keeps up to ``hold_bytes`` of
        what it has not processed."""
        if not 0 <= hold_bytes < 1 << 64:
            raise InvalidRequest(f"hold_bytes is {hold_bytes}", fields={"hold_bytes": str(hold_bytes)})

        async def ask(channel: NodeChannel, seconds: float, partition: TopicPartition) -> None:
            request = offsets_pb2.MarkRequest(
                group=group, partitions=[partition_message(partition)], critical=critical, hold_bytes=hold_bytes
            )
            _raise_first(await channel.offsets.Mark(request, timeout=seconds))

        return await self._each(partitions, ask)

    async def forget(
        self, group: str, partitions: Sequence[TopicPartition], *, force: bool = False
    ) -> dict[TopicPartition, QuorumlogError | None]:
        """Remove the group's offset, fences and history for good. ``force``: also where it has an owner."""

        async def ask(channel: NodeChannel, seconds: float, partition: TopicPartition) -> None:
            request = offsets_pb2.ForgetRequest(group=group, partitions=[partition_message(partition)], force=force)
            _raise_first(await channel.offsets.Forget(request, timeout=seconds))

        # Done twice it could remove what the group has begun anew.
        return await self._each(partitions, ask, repeatable=lambda _: False)

    # ---- verifying

    async def verify(self, partitions: Sequence[TopicPartition] | None = None) -> list[PartitionFindings]:
        """Have every replica of these partitions (None: all) note its offsets at one index, and compare the notes.

        Nothing is raised for a partition or a replica that does not answer: it is named in the findings.
        """
        wanted = await self.partitions() if partitions is None else partitions
        return list(await asyncio.gather(*map(self._verify, wanted)))

    async def _verify(self, partition: TopicPartition) -> PartitionFindings:
        request = offsets_pb2.AuditRequest(partition=partition_message(partition))

        async def ask(channel: NodeChannel, seconds: float) -> offsets_pb2.AuditResponse:
            return await channel.offsets.Audit(request, timeout=seconds)

        async with self._gate:
            try:
                audit = await self._leader(partition, ask)
            except QuorumlogError as error:
                return PartitionFindings(*partition, 0, (), (), {0: error.message})
            return await self._compare(partition, audit.index, sorted(audit.voters))

    async def _compare(self, partition: TopicPartition, index: int, voters: Sequence[int]) -> PartitionFindings:
        notes = await asyncio.gather(*(self._inspect(node_id, partition, index) for node_id in voters))
        there = [note for note in notes if isinstance(note, Inspection)]
        missing = {
            node_id: note.message
            for node_id, note in zip(voters, notes, strict=True)
            if isinstance(note, QuorumlogError)
        }
        damaged = [
            (node_id, note.message)
            for node_id, note in zip(voters, notes, strict=True)
            if isinstance(note, QuorumlogError) and note.reason is Reason.REPLICA_DAMAGED
        ]
        compared = tuple(note.node_id for note in there)
        return PartitionFindings(*partition, index, (*damage(damaged), *compare(there)), compared, missing)

    async def _inspect(self, node_id: int, partition: TopicPartition, index: int) -> Inspection | QuorumlogError:
        timeout_ms = min(self._timeout_ms, _INSPECT_MS)
        request = offsets_pb2.InspectRequest(
            partition=partition_message(partition), index=index, timeout_ms=round(timeout_ms)
        )

        async def ask(channel: NodeChannel, seconds: float) -> Inspection:
            return inspection_of(await channel.offsets.Inspect(request, timeout=seconds))

        address = self.network.router.address(node_id)
        if address is None:
            return InvalidRequest(f"no node {node_id} is known", fields={"node_id": str(node_id)})
        try:
            return await self.network.call_node(address, ask, timeout_ms=timeout_ms)
        except QuorumlogError as error:
            return error

    # ---- within

    async def _leader(
        self,
        partition: TopicPartition,
        ask: Callable[[NodeChannel, float], Awaitable[Answer]],
        *,
        repeatable: bool = True,
    ) -> Answer:
        return await self.network.call_leader(
            partition.topic, partition.partition, ask, timeout_ms=self._timeout_ms, repeatable=repeatable
        )

    async def _each(
        self,
        partitions: Sequence[TopicPartition],
        ask: Callable[[NodeChannel, float, TopicPartition], Awaitable[Answer]],
        repeatable: Callable[[TopicPartition], bool] = lambda _: True,
    ) -> dict[TopicPartition, Answer | QuorumlogError]:
        """One call for each partition, each finding its own leader: what an item is refused with is raised inside,
        so that a leader that moved is followed for this partition alone."""

        async def one(partition: TopicPartition) -> Answer | QuorumlogError:
            async with self._gate:
                try:
                    return await self._leader(
                        partition,
                        lambda channel, seconds: ask(channel, seconds, partition),
                        repeatable=repeatable(partition),
                    )
                except QuorumlogError as error:
                    return error

        return dict(zip(partitions, await asyncio.gather(*map(one, partitions)), strict=True))


def _raise_first(answer: offsets_pb2.MarkResponse | offsets_pb2.ForgetResponse) -> None:
    for result in answer.results:
        if result.HasField("error"):
            raise from_message(result.error)
