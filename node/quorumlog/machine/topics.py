"""Topics: their names, their settings, and what is wrong with either.

The rules are pure functions, so that a server can refuse a bad request before it costs a log entry; the controller
applies the same ones, because only what is checked when applied is checked for good.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

#: Group ids below this are the system's: 1 is the controller, the rest are the coordinators'. By them a node that
#: starts knows what a group is for before it knows any topic.
FIRST_TOPIC_GROUP_ID = 16
CONTROLLER_GROUP_ID = 1
FIRST_COORDINATOR_GROUP_ID = 2
MAX_COORDINATORS = FIRST_TOPIC_GROUP_ID - FIRST_COORDINATOR_GROUP_ID
#: The internal topic whose partitions' groups coordinate consumer groups.
COORDINATORS_TOPIC = "__groups"

DEFAULT_REPLICATION_FACTOR = 3
DEFAULT_SEGMENT_BYTES = 64 << 20
DEFAULT_MAX_BATCH_BYTES = 1 << 20
#: What coordinators (and the controller) write is little, and is compacted whenever a segment is sealed.
SYSTEM_SEGMENT_BYTES = 1 << 20

#: setting → (smallest, largest), both allowed, after defaults are filled in. No upper bound for replication: the
#: number of nodes is one. The largest retention leaves room for sums in 64 signed bits, whoever reads it.
BOUNDS: dict[str, tuple[int, int]] = {
    "partitions": (1, 10_000),
    "retention_ms": (0, 2**63 - 1),
    "retention_bytes": (0, 2**63 - 1),
    "segment_bytes": (64 << 10, 1 << 30),
    "max_batch_bytes": (1 << 10, 16 << 20),
}

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)


@dataclass(frozen=True, slots=True)
class InvalidTopic:
    """Refused: the name, or one of the settings, is not allowed."""

    field: str
    why: str


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic's settings. A 0 where 0 has no meaning of its own asks for the default, as in admin.proto."""

    partitions: int = 1
    replication_factor: int = 0
    """Replicas of each partition; 0: 3, or as many as there are nodes if fewer."""
    retention_ms: int = 0
    """Records older than this may be dropped, in whole segments; 0: never for age."""
    retention_bytes: int = 0
    """The log may be cut from its start when larger; 0: never for size."""
    segment_bytes: int = 0
    """A segment is sealed at this size; 0: 64 MiB."""
    max_batch_bytes: int = 0
    """A batch may not be larger; 0: 1 MiB."""

    def with_defaults(self, nodes: int) -> TopicConfig:
        """The settings with every default filled in, for a cluster of ``nodes``."""
        return replace(
            self,
            replication_factor=self.replication_factor or min(DEFAULT_REPLICATION_FACTOR, nodes),
            segment_bytes=self.segment_bytes or DEFAULT_SEGMENT_BYTES,
            max_batch_bytes=self.max_batch_bytes or DEFAULT_MAX_BATCH_BYTES,
        )


#: In the order of their declaration: the one order in which settings are compared, encoded and reported.
CONFIG_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(TopicConfig))


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition and the Raft group that is its log."""

    number: int
    group_id: int
    replicas: tuple[int, ...]
    """Node ids; the first is the preferred leader."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the controller knows it. ``config`` has its defaults filled in."""

    topic_id: int
    """Never reused: a topic deleted and made again is told apart."""
    name: str
    config: TopicConfig
    partitions: tuple[Partition, ...]
    """By number, from 0."""


def name_fault(name: str) -> InvalidTopic | None:
    """What is wrong with a topic's name, if anything (admin.proto, CreateTopicRequest).

    ``.`` and ``..`` would be directories; names that begin with ``__`` are the system's.
    """
    if not name:
        return InvalidTopic("name", "a topic's name must not be empty")
    if len(name) > 249:
        return InvalidTopic("name", f"a topic's name has at most 249 characters, not {len(name)}")
    if not _NAME.fullmatch(name):
        return InvalidTopic("name", "a topic's name consists of a-z A-Z 0-9 . _ - only")
    if name in (".", ".."):
        return InvalidTopic("name", f"a topic cannot be called {name!r}")
    return internal_fault(name)


def internal_fault(name: str) -> InvalidTopic | None:
    """Internal topics cannot be made, altered, deleted, written or read by users."""
    if name.startswith("__"):
        return InvalidTopic("name", "names that begin with __ are kept for internal topics")
    return None


def config_fault(config: TopicConfig) -> InvalidTopic | None:
    """What is wrong with a topic's settings, if anything; defaults count as already filled in.

    Whether there are nodes enough is another question (``NotEnoughNodes``).
    """
    filled = config.with_defaults(DEFAULT_REPLICATION_FACTOR)
    for field, (low, high) in BOUNDS.items():
        value = getattr(filled, field)
        if not low <= value <= high:
            return InvalidTopic(field, f"{field} must lie between {low} and {high}, not {value}")
    if filled.replication_factor < 1:
        return InvalidTopic("replication_factor", "replication_factor must not be negative")
    if filled.max_batch_bytes > filled.segment_bytes:
        return InvalidTopic(
            "max_batch_bytes",
            f"max_batch_bytes ({filled.max_batch_bytes}) must not exceed segment_bytes ({filled.segment_bytes})",
        )
    return None
