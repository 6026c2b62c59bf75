"""The coordinator's commands: membership of consumer groups.

Heartbeats are not among them: who lives is the leader's to know, and only what follows from it (a member joined,
gave partitions back, left, was given up) is replicated. So a change of the coordinator's leader moves nothing.

Values only; ``quorumlog.machine.coordinator_codec`` lays them out as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

#: (topic, partition).
GroupPartition = tuple[str, int]

#: Members of a group.
MAX_MEMBERS = 1_000
#: Topics that a member may want.
MAX_TOPICS = 100
#: Groups of a coordinator. Beyond that, the one that has been empty longest is forgotten: its offsets are not here.
MAX_GROUPS = 10_000
MIN_SESSION_TIMEOUT_MS = 1_000
MAX_SESSION_TIMEOUT_MS = 600_000
DEFAULT_SESSION_TIMEOUT_MS = 10_000


class Strategy(IntEnum):
    """How partitions are spread; numbered as in groups.proto."""

    STICKY = 1
    RANGE = 2
    ROUND_ROBIN = 3


@dataclass(frozen=True, slots=True)
class JoinGroup:
    """A member comes, or wants something else than before. ``partitions``: how many each topic of ``topics`` has,
    as the leader knew when it proposed."""

    group: str
    member: str
    instance: str
    client: str
    topics: tuple[str, ...]
    partitions: tuple[int, ...]
    strategy: Strategy
    session_timeout_ms: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """The member has stopped reading these and has made its last commit.

    ``generation`` is the one it knew. What was granted to it in a later one stays: the member means an earlier
    grant, and the command was under way for long.
    """

    group: str
    member: str
    generation: int
    partitions: tuple[GroupPartition, ...]


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """The member left, or was silent for longer than its session lasts (``expired``). A static member that leaves
    without ``for_good`` keeps what it holds until it expires or comes back."""

    group: str
    member: str
    expired: bool
    for_good: bool = False


@dataclass(frozen=True, slots=True)
class TopicsChanged:
    """Topics that groups consume were deleted (0) or made, or have other numbers of partitions."""

    partitions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class DropGroup:
    """Forget a group that has no members."""

    group: str


CoordinatorCommand = JoinGroup | GiveBack | RemoveMember | TopicsChanged | DropGroup


# --- results --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a member owns (``assigned``), and what it will once others have given it back (``pending``); sorted."""

    generation: int
    assigned: tuple[GroupPartition, ...]
    pending: tuple[GroupPartition, ...]


@dataclass(frozen=True, slots=True)
class UnknownMember:
    """The group has no such member (any more): it expired, left, or is a static one that was started anew."""

    group: str
    member: str


@dataclass(frozen=True, slots=True)
class UnknownConsumerGroup:
    """No such group."""

    group: str


@dataclass(frozen=True, slots=True)
class OtherStrategy:
    """The group's members use another strategy."""

    asked: Strategy
    strategy: Strategy


@dataclass(frozen=True, slots=True)
class GroupFull:
    """No more members, or no more groups that have members."""

    limit: int


@dataclass(frozen=True, slots=True)
class Removed:
    """The member is gone, now or long since."""


@dataclass(frozen=True, slots=True)
class GroupHasMembers:
    """It cannot be forgotten."""

    members: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """The group is forgotten."""


@dataclass(frozen=True, slots=True)
class TopicsTaken:
    """The groups concerned have been assigned anew."""


@dataclass(frozen=True, slots=True)
class MemberView:
    """One member, for people."""

    member: str
    instance: str
    client: str
    topics: tuple[str, ...]
    owned: tuple[GroupPartition, ...]
    target: tuple[GroupPartition, ...]
    session_timeout_ms: int


@dataclass(frozen=True, slots=True)
class GroupView:
    """One group, for people. ``state``: EMPTY, STABLE or REBALANCING."""

    group: str
    state: str
    generation: int
    strategy: Strategy
    members: tuple[MemberView, ...]


CoordinatorResult = (
    Assignment
    | UnknownMember
    | UnknownConsumerGroup
    | OtherStrategy
    | GroupFull
    | Removed
    | GroupHasMembers
    | Dropped
    | TopicsTaken
)
