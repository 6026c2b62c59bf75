"""What a consumer tells beside its records: every change of what it owns, and every promise it could not keep.

Plain values, given to ``on_event`` when they happen and kept (the last of them) in ``Consumer.events``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorumlog.client.errors import QuorumlogError
    from quorumlog.client.offset_calls import Acquired
    from quorumlog.client.offset_types import TopicPartition
    from quorumlog.client.policy.commits import Unconfirmed


@dataclass(frozen=True, slots=True)
class PartitionAcquired:
    """The partition is consumed from here on; ``acquired`` says from where and why, and how much may repeat."""

    partition: TopicPartition
    acquired: Acquired


@dataclass(frozen=True, slots=True)
class AcquireWaiting:
    """The partition cannot be taken over yet, so nothing is read of it: without its stored offset nobody knows
    where to begin. It is tried again."""

    partition: TopicPartition
    error: QuorumlogError


@dataclass(frozen=True, slots=True)
class PartitionRevoked:
    """The partition was given back. ``committed``: everything processed was durable then; otherwise ``exposed``
    records will be processed again by the next owner."""

    partition: TopicPartition
    committed: bool
    exposed: int


@dataclass(frozen=True, slots=True)
class PartitionLost:
    """Somebody else has the partition, without its having been given back; what was processed and not durable
    (``exposed`` records) is processed again there."""

    partition: TopicPartition
    error: QuorumlogError
    exposed: int


@dataclass(frozen=True, slots=True)
class BoundBroken:
    """Records have been processed for longer than the commit interval and are not durable.

    ``waits_for``: the offset of an unfinished record below all of them, if that is why; else ``error`` is the last
    trouble with committing, if there was any.
    """

    partition: TopicPartition
    records: int
    age_ms: float
    waits_for: int | None
    error: QuorumlogError | None


@dataclass(frozen=True, slots=True)
class CommitUnconfirmed:
    """With double confirmation: a commit was acknowledged, and the read-back did not show it."""

    partition: TopicPartition
    unconfirmed: Unconfirmed


@dataclass(frozen=True, slots=True)
class CommitResolved:
    """A commit's answer was lost; its fate has been asked for and is known."""

    partition: TopicPartition


@dataclass(frozen=True, slots=True)
class MembershipLost:
    """The group has given this member up; it joins again as a new one."""

    group: str
    error: QuorumlogError


@dataclass(frozen=True, slots=True)
class MembershipSilent:
    """No answer from the group's coordinator for the session's length: nothing is handed out until there is one."""

    group: str


Event = (
    PartitionAcquired
    | AcquireWaiting
    | PartitionRevoked
    | PartitionLost
    | BoundBroken
    | CommitUnconfirmed
    | CommitResolved
    | MembershipLost
    | MembershipSilent
)
