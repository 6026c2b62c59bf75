"""The calls by which a consumer takes an offset over, gives it back, and asks about its commits."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.client.errors import UnknownReceipt
from quorumlog.client.offset_messages import fetched_of, resolution_of, start_message, stored_of
from quorumlog.client.offset_types import Fate, Labelled
from quorumlog.client.status import from_message
from quorumlog.v1 import offsets_pb2

if TYPE_CHECKING:
    from quorumlog.client.channel import NodeChannel
    from quorumlog.client.network import Network
    from quorumlog.client.offset_types import Resolution, StoredOffset
    from quorumlog.client.policy.commits import PartitionCommits
    from quorumlog.client.policy.committer import Attempt
    from quorumlog.client.start import Start

#: One question about a commit's fate, or one read-back, may take so long; then it is asked again.
_QUESTION_MS = 5_000.0


class Fallback(Labelled):
    """What to do when a stored offset cannot be resumed from."""

    FAIL = 1
    EARLIEST = 2
    LATEST = 3


class StartReason(Labelled):
    """Why a start was resolved as it was."""

    STORED = 1
    RULE = 2
    FORCED = 3
    OUT_OF_RANGE = 4
    TRUNCATED = 5


@dataclass(frozen=True, slots=True)
class StartPolicy:
    """Where a consumer begins, and whether others may take over (OFFSETS.md §3)."""

    start: Start
    force: bool = False
    on_out_of_range: Fallback = Fallback.FAIL
    on_truncated: Fallback = Fallback.FAIL
    exclusive: bool = False
    lease_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class Acquired:
    """Ownership, where to begin, and why there (see offsets.proto). ``stored``: what was stored before."""

    owner_epoch: int
    start_offset: int
    reason: StartReason
    explanation: str
    stored: StoredOffset | None
    log_start: int
    log_end: int
    previous_owner: str
    released: bool
    may_repeat: int


def owner_name() -> str:
    """Who consumes, for people: host and process."""
    return f"{socket.gethostname()}/{os.getpid()}"


def _fallback(policy: Fallback) -> offsets_pb2.Fallback.ValueType:
    return offsets_pb2.Fallback.Value(f"FALLBACK_{policy.name}")


async def acquire(
    network: Network,
    key: tuple[str, str, int],
    session: int,
    policy: StartPolicy,
    generation: int,
    timeout_ms: float,
) -> Acquired:
    group, topic, partition = key
    request = offsets_pb2.AcquireRequest(
        group=group,
        owner=owner_name(),
        session=session,
        generation=generation,
        partitions=[offsets_pb2.TopicPartition(topic=topic, partition=partition)],
        start=start_message(policy.start),
        force_start=policy.force,
        on_out_of_range=_fallback(policy.on_out_of_range),
        on_truncated=_fallback(policy.on_truncated),
        exclusive=policy.exclusive,
        lease_ms=policy.lease_ms if policy.exclusive else 0,
    )

    async def call(channel: NodeChannel, seconds: float) -> offsets_pb2.Acquired:
        response = await channel.offsets.Acquire(request, timeout=seconds)
        (result,) = response.results
        if not result.HasField("acquired"):
            raise from_message(result.error)
        return result.acquired

    told = await network.call_leader(topic, partition, call, timeout_ms=timeout_ms)
    return Acquired(
        told.owner_epoch,
        told.start_offset,
        StartReason(told.reason),
        told.explanation,
        stored_of(told.stored) if told.HasField("stored") else None,
        told.log_start,
        told.log_end,
        told.previous_owner,
        told.released,
        told.may_repeat,
    )


async def release(network: Network, commits: PartitionCommits, timeout_ms: float) -> None:
    """Give back what these commits were the owner's of."""
    group, topic, partition = commits.key
    request = offsets_pb2.ReleaseRequest(
        group=group,
        session=commits.session,
        partitions=[
            offsets_pb2.Release(
                partition=offsets_pb2.TopicPartition(topic=topic, partition=partition),
                owner_epoch=commits.owner_epoch,
            )
        ],
    )

    async def call(channel: NodeChannel, seconds: float) -> None:
        (result,) = (await channel.offsets.Release(request, timeout=seconds)).results
        if result.HasField("error"):
            raise from_message(result.error)

    await network.call_leader(topic, partition, call, timeout_ms=timeout_ms)


async def resolve(network: Network, attempt: Attempt) -> Resolution:
    """What became of an attempt, for good. Raises UnknownReceipt when that is not remembered."""
    request = offsets_pb2.ResolveRequest(
        attempt=offsets_pb2.Attempt(
            group=attempt.group,
            topic=attempt.topic,
            partition=attempt.partition,
            owner_epoch=attempt.owner_epoch,
            session=attempt.session,
            sequence=attempt.sequence,
        )
    )

    async def call(channel: NodeChannel, seconds: float) -> Resolution:
        return resolution_of(await channel.offsets.Resolve(request, timeout=seconds))

    found = await network.call_leader(attempt.topic, attempt.partition, call, timeout_ms=_QUESTION_MS)
    if found.receipt is None and found.fate is not Fate.NEVER_HAPPENED:
        raise UnknownReceipt(f"{found.fate}, and the node gives no receipt")
    return found


async def fetch(network: Network, key: tuple[str, str, int]) -> StoredOffset | None:
    """The stored offset through the leader, linearizably; None: nothing was ever stored."""
    group, topic, partition = key
    request = offsets_pb2.FetchRequest(
        group=group, partitions=[offsets_pb2.TopicPartition(topic=topic, partition=partition)]
    )

    async def call(channel: NodeChannel, seconds: float) -> StoredOffset | None:
        (result,) = (await channel.offsets.Fetch(request, timeout=seconds)).results
        if result.WhichOneof("result") == "error":
            raise from_message(result.error)
        return fetched_of(result).stored

    return await network.call_leader(topic, partition, call, timeout_ms=_QUESTION_MS)
