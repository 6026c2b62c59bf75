"""How an operation on a node fails: a reason, and what the caller may conclude.

A failure is a value handed to the request's callback, not an exception that unwinds the node: one request of many
in a round may fail while the others go on. The numbers are those of ``quorumlog.v1`` (a test holds them equal), so
that the gRPC shell translates without a table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class Outcome(IntEnum):
    """Whether a failed operation may have taken effect."""

    NOT_DONE = 1
    UNKNOWN = 2


class Reason(IntEnum):
    """Why an operation failed (``quorumlog.v1.Reason``)."""

    NOT_LEADER = 1
    NO_QUORUM = 2
    UNKNOWN_TOPIC = 3
    UNKNOWN_PARTITION = 4
    TOPIC_EXISTS = 5
    INVALID_TOPIC = 6
    NOT_ENOUGH_NODES = 7
    TOO_LARGE = 8
    MALFORMED_BATCH = 9
    CORRUPT_BATCH = 10
    OUT_OF_SEQUENCE = 11
    PRODUCER_FENCED = 12
    OFFSET_OUT_OF_RANGE = 13
    OVERLOADED = 14
    DISK_FULL = 15
    REPLICA_DAMAGED = 16
    SHUTTING_DOWN = 17
    INVALID_REQUEST = 18
    DEADLINE = 19
    INTERNAL = 20
    FENCED = 21
    NOT_OWNER = 22
    OWNED = 23
    STALE_GENERATION = 24
    OFFSET_BEYOND_END = 25
    OFFSET_REGRESSED = 26
    FINGERPRINT_MISMATCH = 27
    COMMIT_SETTLED = 28
    VERSION_MISMATCH = 29
    GROUP_ACTIVE = 30
    UNKNOWN_GROUP = 31
    UNKNOWN_MEMBER = 32
    UNKNOWN_RECEIPT = 33
    INVALID_GROUP = 34
    METADATA_TOO_LARGE = 35
    OFFSETS_EXPIRED = 36
    GROUP_FULL = 37


@dataclass(frozen=True, slots=True)
class Failure:
    """What a request's callback gets instead of its result."""

    reason: Reason
    message: str
    outcome: Outcome = Outcome.NOT_DONE
    leader_node: int = 0
    """With NOT_LEADER: who leads, as far as this node knows; 0 if it does not."""
    retry_after_ms: int = 0
    fields: dict[str, str] = field(default_factory=dict)
