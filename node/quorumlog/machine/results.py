"""What applying a command comes to: values, refusals included, the same on every replica.

A refusal is a result and not an exception because it is part of the replicated history: an exception stops a
replica, and a client's bad wish must not. Hosts match on the type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from quorumlog.machine.offset_results import OffsetResult
from quorumlog.machine.topics import InvalidTopic, Topic

# --- a partition ----------------------------------------------------------------------------------------------


class Appended(NamedTuple):
    """A batch is in the log: its records have the offsets ``base_offset`` to ``end_offset - 1``.

    A NamedTuple because one is made per data entry on every replica, at half the cost of a frozen dataclass.
    """

    base_offset: int
    end_offset: int
    start_offset: int
    """The log's first offset as of this append."""


@dataclass(frozen=True, slots=True)
class Retained:
    """The log's first offset is ``start_offset``: at least the one asked for, and more if it was there already."""

    start_offset: int


@dataclass(frozen=True, slots=True)
class RetainBeyondEnd:
    """Refused: the start may not pass the end, or offsets would have a hole."""

    asked_start_offset: int
    end_offset: int


PartitionResult = Appended | Retained | RetainBeyondEnd | OffsetResult
"""Of offset commands: ``quorumlog.machine.offset_results``."""


# --- the controller -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Created:
    """The topic is there. ``existed``: it was already, with the same settings."""

    topic: Topic
    existed: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting in which an existing topic is not what was asked for."""

    field: str
    existing: int
    asked: int


@dataclass(frozen=True, slots=True)
class TopicExists:
    """Refused: the topic exists with other settings."""

    name: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class NotEnoughNodes:
    """Refused: more replicas asked for than there are nodes to hold them."""

    replication_factor: int
    nodes: int


@dataclass(frozen=True, slots=True)
class UnknownTopic:
    """No topic of that name."""

    name: str


@dataclass(frozen=True, slots=True)
class UnknownPartition:
    """The topic has no partition of that number; it has 0 to ``partitions - 1``."""

    name: str
    number: int
    partitions: int


@dataclass(frozen=True, slots=True)
class Altered:
    """The topic as it now is, changed or not."""

    topic: Topic


@dataclass(frozen=True, slots=True)
class Deleted:
    """The topic as it was; its groups are to be removed wherever they run."""

    topic: Topic


@dataclass(frozen=True, slots=True)
class ProducerOpened:
    """A producer session: both numbers go into every batch."""

    producer_id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class InvalidProducerName:
    """Refused: the name is too long."""

    why: str


ControllerResult = (
    Created
    | TopicExists
    | NotEnoughNodes
    | InvalidTopic
    | UnknownTopic
    | Altered
    | Deleted
    | ProducerOpened
    | InvalidProducerName
)
