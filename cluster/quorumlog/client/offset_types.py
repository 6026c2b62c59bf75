"""What is told about committed offsets and consumer groups: plain values, beside ``quorumlog.client.types``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from quorumlog.client.receipt import Receipt


class Labelled(IntEnum):
    """Numbered as on the wire, and written for people and programs in lower case with hyphens."""

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")


class Fingerprint(NamedTuple):
    """Which record stands directly before a committed offset: the term of its entry, the CRC32C of its batch."""

    term: int
    crc32c: int


@dataclass(frozen=True, slots=True)
class StoredOffset:
    """A committed offset: the next record to be processed.

    ``version`` and ``term`` are those of the Raft entry that set it; ``wall_ms`` is its leader's clock then.
    """

    offset: int
    version: int
    term: int
    wall_ms: int
    fingerprint: Fingerprint | None
    metadata: bytes


@dataclass(frozen=True, slots=True)
class FetchedOffset:
    """What is stored (None: nothing ever was), who owns it, and up to where the answering replica had applied."""

    stored: StoredOffset | None
    owner: str
    owner_epoch: int
    applied_index: int


@dataclass(frozen=True, slots=True)
class ResetOffset:
    """The offset as it is (or, for a dry run, would be) stored, what was before, and the log it was held
    against."""

    stored: StoredOffset
    before: StoredOffset | None
    log_start: int
    log_end: int


@dataclass(frozen=True, slots=True)
class ToVersion:
    """Where to reset to: the offset that was stored at this version."""

    version: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Where to reset to: the expired offset, while its tombstone lasts."""


class ChangeKind(Labelled):
    """What happened to (group, partition)."""

    COMMIT = 1
    ACQUIRE = 2
    RELEASE = 3
    RESET = 4
    EXPIRE = 5
    RESTORE = 6


@dataclass(frozen=True, slots=True)
class Change:
    """One line of history. ``offset``: stored afterwards, None for none; ``node_id``: the leader's."""

    kind: ChangeKind
    version: int
    term: int
    wall_ms: int
    offset: int | None
    owner: str
    owner_epoch: int
    session: int
    sequence: int
    node_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class History:
    """Oldest first; commits up to ``forgotten_version`` (0: none) are no longer remembered."""

    changes: tuple[Change, ...]
    forgotten_version: int


class Fate(Labelled):
    """What became of a commit: final, whichever it is."""

    PRESENT = 1
    SUPERSEDED = 2
    NEVER_HAPPENED = 3


@dataclass(frozen=True, slots=True)
class Resolution:
    """The fate; the commit's receipt if it was stored; what is stored now."""

    fate: Fate
    receipt: Receipt | None
    stored: StoredOffset | None


class Verdict(Labelled):
    """What a group's lag comes to over the last minutes."""

    OK = 1
    CATCHING_UP = 2
    FALLING_BEHIND = 3
    STALLED = 4
    STOPPED = 5
    UNKNOWN = 6


@dataclass(frozen=True, slots=True)
class GroupLag:
    """One group's lag in one partition.

    ``committed`` None: nothing stored, and the lag counts from the log's start. ``age_ms``: of the oldest
    unprocessed record. ``committed_wall_ms``: when the stored offset was set.
    """

    group: str
    topic: str
    partition: int
    committed: int | None
    log_start: int
    log_end: int
    records: int
    bytes: int
    age_ms: int
    verdict: Verdict
    owner: str
    committed_wall_ms: int


class Finding(Labelled):
    """What is wrong with a stored offset, if anything."""

    OK = 1
    AHEAD_OF_LOG = 2
    EVICTED = 3
    FINGERPRINT_MISMATCH = 4
    REPLICAS_DISAGREE = 5
    STUCK = 6
    EXPIRED = 7


@dataclass(frozen=True, slots=True)
class InspectedGroup:
    """One group, as one replica's offsets and log have it."""

    group: str
    stored: StoredOffset | None
    owner: str
    owner_epoch: int
    finding: Finding
    explanation: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one replica noted at the index of an audit."""

    node_id: int
    digest: bytes
    groups: tuple[InspectedGroup, ...]
    log_start: int
    log_end: int


class Strategy(Labelled):
    """How partitions are spread over a group's members."""

    STICKY = 1
    RANGE = 2
    ROUND_ROBIN = 3


class TopicPartition(NamedTuple):
    """A partition of a topic; written ``topic/3``."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A member: what it holds (``owned``) and what it is to hold (``target``)."""

    member: str
    instance: str
    client: str
    topics: tuple[str, ...]
    owned: tuple[TopicPartition, ...]
    target: tuple[TopicPartition, ...]
    session_timeout_ms: int
    silent_ms: int


@dataclass(frozen=True, slots=True)
class DescribedGroup:
    """A group as its coordinator has it; ``state`` is EMPTY, STABLE or REBALANCING."""

    group: str
    state: str
    generation: int
    strategy: Strategy
    members: tuple[GroupMember, ...]
    coordinator_node: int
    coordinator_partition: int


@dataclass(frozen=True, slots=True)
class ListedGroup:
    """A group in a list. ``state`` "": no coordinator knows it, it only has offsets (its consumers name their
    partitions themselves). ``topics``: those in which it has offsets."""

    group: str
    state: str
    members: int
    generation: int
    topics: tuple[str, ...]
