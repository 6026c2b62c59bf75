"""What a node tells those who watch it: logs, metrics, the simulator. Values only; nothing depends on them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaderElected:
    """This node leads the group now, and may serve it."""

    group_id: int
    term: int


@dataclass(frozen=True, slots=True)
class LeadershipLost:
    """This node led the group and does not any more."""

    group_id: int
    term: int


@dataclass(frozen=True, slots=True)
class ReplicaDamaged:
    """The replica's data or disk cannot be trusted; it serves nothing from here on."""

    group_id: int
    why: str


@dataclass(frozen=True, slots=True)
class ReplicaReplaced:
    """A fresh incarnation has taken the damaged replica's place among the voters."""

    group_id: int
    replica: int


@dataclass(frozen=True, slots=True)
class LogRepaired:
    """Recovery cut a torn end off the log, or did without a damaged checkpoint; nothing that was vouched for is
    missing."""

    group_id: int
    what: str


@dataclass(frozen=True, slots=True)
class ReplicaOpened:
    """A replica was made or reopened and takes part."""

    group_id: int
    last_index: int


@dataclass(frozen=True, slots=True)
class DiskFull:
    """Writes wait for space; reading goes on."""

    group_id: int


@dataclass(frozen=True, slots=True)
class DiskFreed:
    """Space came back and the waiting writes are durable."""

    group_id: int


@dataclass(frozen=True, slots=True)
class DiskStalled:
    """A write of a group that this node leads has not come to its end for ``ms``: it hands the group over."""

    group_id: int
    ms: int


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """The state at a segment's end is durable."""

    group_id: int
    index: int


@dataclass(frozen=True, slots=True)
class CheckpointInstalled:
    """The replica was too far behind and began anew from a leader's checkpoint."""

    group_id: int
    index: int


@dataclass(frozen=True, slots=True)
class PeerSilent:
    """Nothing was heard from the node for an election timeout, or its connections were refused."""

    node_id: int


@dataclass(frozen=True, slots=True)
class PeerHeard:
    """The node is heard again."""

    node_id: int


@dataclass(frozen=True, slots=True)
class GroupExpiring:
    """A consumer group's offset has not been used for long and will expire in ``left_ms``. Told once, by the
    partition's leader."""

    group_id: int
    partition: str
    group: str
    offset: int
    left_ms: int


@dataclass(frozen=True, slots=True)
class GroupExpired:
    """It has expired; a tombstone keeps it for a while."""

    group_id: int
    partition: str
    group: str
    offset: int


Event = (
    LeaderElected
    | LeadershipLost
    | ReplicaDamaged
    | ReplicaReplaced
    | LogRepaired
    | ReplicaOpened
    | DiskFull
    | DiskFreed
    | DiskStalled
    | CheckpointSaved
    | CheckpointInstalled
    | PeerSilent
    | PeerHeard
    | GroupExpiring
    | GroupExpired
)
