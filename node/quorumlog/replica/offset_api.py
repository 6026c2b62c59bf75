"""What a node is asked about offsets and groups, and what it answers (beside ``quorumlog.replica.api``)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from quorumlog.machine.coordinator_commands import GroupPartition, MemberView, Strategy
    from quorumlog.machine.offset_results import Change, Stored

# --- where to begin -------------------------------------------------------------------------------------------


class StartRule(IntEnum):
    """The rules of OFFSETS.md §3; ``StartAt.value`` is theirs to read."""

    EARLIEST = 1
    LATEST = 2
    OFFSET = 3
    FROM_BEGIN = 4
    FROM_END = 5
    TIMESTAMP_MS = 6
    AGE_MS = 7


class StartAt(NamedTuple):
    """Where to begin when nothing is stored."""

    rule: StartRule
    value: int = 0


class Fallback(IntEnum):
    """When a stored offset cannot be resumed from; numbered as in offsets.proto."""

    FAIL = 1
    EARLIEST = 2
    LATEST = 3


class StartReason(IntEnum):
    """Why a start was resolved as it was; numbered as in offsets.proto."""

    STORED = 1
    RULE = 2
    FORCED = 3
    OUT_OF_RANGE = 4
    TRUNCATED = 5


@dataclass(frozen=True, slots=True)
class AcquireRequest:
    """See offsets.proto."""

    group: str
    owner: str
    session: int
    start: StartAt
    generation: int = 0
    force_start: bool = False
    on_out_of_range: Fallback = Fallback.FAIL
    on_truncated: Fallback = Fallback.FAIL
    exclusive: bool = False
    lease_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class AcquiredOffset:
    """Ownership, and where to begin. ``stored``: what was stored before."""

    owner_epoch: int
    start_offset: int
    reason: StartReason
    explanation: str
    stored: Stored | None
    log_start: int
    log_end: int
    previous_owner: str
    released: bool
    may_repeat: int


# --- offsets --------------------------------------------------------------------------------------------------


class CommittedOffset(NamedTuple):
    """A commit is durable on a majority and applied here."""

    offset: int
    version: int
    term: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class ReleasedOffset:
    """Given back."""


@dataclass(frozen=True, slots=True)
class FetchedOffset:
    """What is stored (None: nothing ever was), who owns it, and up to where the replica had applied its log."""

    stored: Stored | None
    owner: str
    owner_epoch: int
    applied_index: int


@dataclass(frozen=True, slots=True)
class ResetTo:
    """One of: a position (``start``), the offset of an earlier ``version``, the tombstone's (``restore``)."""

    start: StartAt | None = None
    version: int = 0
    restore: bool = False


@dataclass(frozen=True, slots=True)
class ResetRequest:
    """See offsets.proto. ``expected_version`` 0: whatever it is."""

    group: str
    to: ResetTo
    reason: str
    expected_version: int = 0
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ResetOffset:
    """The offset as it is (or, for a dry run, would be) stored, and what was before."""

    stored: Stored
    before: Stored | None
    log_start: int
    log_end: int


@dataclass(frozen=True, slots=True)
class OffsetHistory:
    """Oldest first; the newest commit that is no longer remembered has ``forgotten_version`` (0: none)."""

    changes: tuple[Change, ...]
    forgotten_version: int


@dataclass(frozen=True, slots=True)
class ReceiptAt:
    """A receipt to be resolved."""

    group: str
    offset: int
    version: int
    term: int


@dataclass(frozen=True, slots=True)
class AttemptAt:
    """A commit whose answer was lost, as it was sent."""

    group: str
    owner_epoch: int
    session: int
    sequence: int


@dataclass(frozen=True, slots=True)
class AuditBegun:
    """Every replica has noted, or will note, its offsets at ``index``."""

    index: int
    voters: tuple[int, ...]


class Finding(IntEnum):
    """What is wrong with a stored offset; numbered as in offsets.proto."""

    OK = 1
    AHEAD_OF_LOG = 2
    EVICTED = 3
    FINGERPRINT_MISMATCH = 4
    REPLICAS_DISAGREE = 5
    STUCK = 6
    EXPIRED = 7


@dataclass(frozen=True, slots=True)
class InspectedGroup:
    """One group, as this replica's offsets and log have it."""

    group: str
    stored: Stored | None
    owner: str
    owner_epoch: int
    finding: Finding
    explanation: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What this replica noted at the index of an audit."""

    digest: bytes
    groups: tuple[InspectedGroup, ...]
    log_start: int
    log_end: int


class LagVerdict(IntEnum):
    """What a group's lag comes to over the last minutes; numbered as in offsets.proto."""

    OK = 1
    CATCHING_UP = 2
    FALLING_BEHIND = 3
    STALLED = 4
    STOPPED = 5
    UNKNOWN = 6


@dataclass(frozen=True, slots=True)
class GroupLag:
    """One group's lag in one partition. ``committed`` None: nothing stored, and the lag counts from the log's
    start. ``age_ms``: of the oldest unprocessed record."""

    group: str
    topic: str
    partition: int
    committed: int | None
    log_start: int
    log_end: int
    records: int
    bytes: int
    age_ms: int
    verdict: LagVerdict
    owner: str
    committed_wall_ms: int


@dataclass(frozen=True, slots=True)
class GroupMarked:
    """The group is treated so."""


@dataclass(frozen=True, slots=True)
class GroupForgotten:
    """Nothing of the group is left in the partition."""


# --- groups ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """See groups.proto."""

    group: str
    member: str
    instance: str
    client: str
    topics: tuple[str, ...]
    strategy: Strategy
    session_timeout_ms: int


@dataclass(frozen=True, slots=True)
class MemberAssignment:
    """What a member should own, and how often it should give a sign."""

    generation: int
    assigned: tuple[GroupPartition, ...]
    pending: tuple[GroupPartition, ...]
    heartbeat_interval_ms: int


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """The membership is over."""


@dataclass(frozen=True, slots=True)
class DescribedMember:
    """A member, and how long ago it gave a sign."""

    view: MemberView
    silent_ms: int


@dataclass(frozen=True, slots=True)
class DescribedGroup:
    """A group as its coordinator has it."""

    group: str
    state: str
    generation: int
    strategy: Strategy
    members: tuple[DescribedMember, ...]
    coordinator_node: int
    coordinator_partition: int


@dataclass(frozen=True, slots=True)
class ListedGroup:
    """A group in a list."""

    group: str
    state: str
    members: int
    generation: int


@dataclass(frozen=True, slots=True)
class GroupDropped:
    """The group is forgotten."""
