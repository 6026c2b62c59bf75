"""What the admin client tells: plain values, so that nobody who uses it touches a protobuf message."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic's settings; 0 asks for the default where admin.proto says so."""

    partitions: int = 1
    replication_factor: int = 0
    retention_ms: int = 0
    retention_bytes: int = 0
    segment_bytes: int = 0
    max_batch_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition; ``leader`` is a node id, 0 if not known; the first replica is the preferred leader."""

    partition: int
    group_id: int
    replicas: tuple[int, ...]
    leader: int
    leader_term: int


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as a node knew it."""

    name: str
    topic_id: int
    config: TopicConfig
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One configured node; ``alive`` as the node that answered sees it."""

    node_id: int
    address: str
    alive: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """What one node (``answered_by``) knows of the cluster; ``controller`` is a node id, 0 if not known."""

    cluster_id: str
    answered_by: int
    controller: int
    nodes: tuple[Node, ...]
    topics: tuple[Topic, ...]


@dataclass(frozen=True, slots=True)
class Follower:
    """A follower as its leader sees it; ``state`` is probe, replicate or checkpoint."""

    node_id: int
    match_index: int
    state: str
    learner: bool


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica as its node sees it; see ReplicaInfo in admin.proto."""

    group_id: int
    topic: str
    partition: int
    role: str
    leader: int
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    start_offset: int
    end_offset: int
    size_bytes: int
    digest: bytes
    quiet: bool
    damage: str
    followers: tuple[Follower, ...]
    voters: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """A node's link to another; ``silent_ms`` since something was last heard."""

    node_id: int
    up: bool
    silent_ms: int


@dataclass(frozen=True, slots=True)
class NodeDescription:
    """One node from within."""

    node_id: int
    cluster_id: str
    version: str
    uptime_seconds: float
    engine: str
    replicas: tuple[Replica, ...]
    links: tuple[Link, ...]
    lacks: tuple[tuple[str, str], ...] = ()
    """(guarantee, what happens instead) of what its engine does not hold."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """A position looked up in a partition, and where the log began and ended (committed) at that moment."""

    offset: int
    start_offset: int
    end_offset: int
