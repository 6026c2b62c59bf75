"""What one node sends another: frames that carry the messages of many groups (RAFT.md §4).

A frame costs a fixed amount of work in every process it touches, a message within it very little; so whatever one
node has for another when it looks leaves as one frame per lane. The shell turns frames into
``quorumlog.peer.v1.Frame`` and back; the simulator hands them over as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorumlog.engines import EngineMessage
    from quorumlog.raft.types import Message, ReplicaId


class Lane(IntEnum):
    """Streams between a pair of nodes, so that a megabyte of records never stands before a vote."""

    URGENT = 0
    """Votes, heartbeats, acknowledgements, signs of life."""
    BULK = 1
    """Appends."""
    CHECKPOINT = 2
    """Chunks of checkpoints."""


@dataclass(frozen=True, slots=True)
class CheckpointChunk:
    """A piece of a checkpoint's state on its way to a follower, keyed by (sender's term, index, position)."""

    group_id: int
    sender: ReplicaId
    to: ReplicaId
    term: int
    index: int
    index_term: int
    position: int
    total_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True)
class CheckpointResult:
    """The receiver of a checkpoint says how far it is: one answer to each chunk."""

    group_id: int
    sender: ReplicaId
    to: ReplicaId
    term: int
    index: int
    installed: bool
    """It has arrived whole and is verified."""
    position: int
    """The position wanted next; 0 when it must begin again."""


@dataclass(frozen=True, slots=True)
class ReplaceReplica:
    """A replica lost its data: its node asks the leader to put a fresh incarnation in its place."""

    group_id: int
    old_replica: ReplicaId
    new_replica: ReplicaId


@dataclass(frozen=True, slots=True)
class StateDigest:
    """A replica's state machine digest at an applied index (G13)."""

    group_id: int
    sender: ReplicaId
    index: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything one node had for another on one lane when it last looked.

    ``sequence`` counts from 1 within a ``session``; a session is one life of one stream, its number growing with
    each new one. A receiver that misses a frame asks for a ``resync``: what relied on "all I sent was seen" must be
    said again.
    """

    sender: int
    to: int
    lane: Lane
    session: int
    sequence: int
    messages: tuple[tuple[int, Message | EngineMessage], ...] = ()
    """(group id, message), in the order they were sent."""
    chunks: tuple[CheckpointChunk, ...] = ()
    checkpoint_results: tuple[CheckpointResult, ...] = ()
    replacements: tuple[ReplaceReplica, ...] = ()
    digests: tuple[StateDigest, ...] = ()
    alive: bool = False
    resync: bool = False
