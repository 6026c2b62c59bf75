"""How a call of this client fails: every error says whether the operation definitely did not happen.

An application that gets an error has one question first: may I simply do it again? So every error raised here is
one of exactly two: ``NotDone`` (it did not happen and never will) or ``OutcomeUnknown`` (it may have happened,
or may still). Under that, an error's *kind* says why. Kinds that a node refuses before it does anything are
always ``NotDone``; kinds like ``NoQuorum`` may be either, so ``except NoQuorum`` catches both and ``except
NotDone`` only the harmless one.

Prior art: FoundationDB's ``commit_unknown_result``, and Jepsen's ok / fail / info. Kafka's clients leave the
question to the reader of each error's documentation.

This module is pure; ``quorumlog.client.status`` makes these errors from what comes over gRPC.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


class Reason(IntEnum):
    """Why, as quorumlog.v1.Reason numbers it; the client's own reasons begin at 1000."""

    UNSPECIFIED = 0
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
    UNREACHABLE = 1000
    BUFFER_FULL = 1001
    CLOSED = 1002
    TOPIC_NOT_READY = 1003
    RETENTION_GAP = 1004
    HOLE_IN_LOG = 1005
    DAMAGED_ON_THE_WAY = 1006
    POSITION_MOVED = 1007


class QuorumlogError(Exception):
    """Any failure of the cluster or of the way to it.

    ``fields`` carries further facts by name (the numbers compared, the offending setting); ``leader`` is the
    address a node gave with NOT_LEADER, or ""; ``retry_after_ms`` is the wait it asked for, or 0.
    """

    reason: ClassVar[Reason] = Reason.UNSPECIFIED

    def __init__(
        self,
        message: str,
        *,
        fields: Mapping[str, str] | None = None,
        leader: str = "",
        leader_node_id: int = 0,
        retry_after_ms: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fields = dict(fields or {})
        self.leader = leader
        self.leader_node_id = leader_node_id
        self.retry_after_ms = retry_after_ms


class NotDone(QuorumlogError):
    """The operation definitely did not happen and never will: it may be done again as new."""


class OutcomeUnknown(QuorumlogError):
    """The operation may have happened, or may still: done again, it may happen twice."""


class UnknownTopic(NotDone):
    """No topic of that name."""

    reason = Reason.UNKNOWN_TOPIC


class UnknownPartition(NotDone):
    """The topic has no such partition."""

    reason = Reason.UNKNOWN_PARTITION


class TopicExists(NotDone):
    """The topic exists with other settings."""

    reason = Reason.TOPIC_EXISTS


class InvalidTopic(NotDone):
    """A topic's name or one of its settings is not allowed; ``fields`` says which."""

    reason = Reason.INVALID_TOPIC


class NotEnoughNodes(NotDone):
    """More replicas asked for than there are nodes."""

    reason = Reason.NOT_ENOUGH_NODES


class TooLarge(NotDone):
    """The record, or the batch, is larger than the topic or this client allows."""

    reason = Reason.TOO_LARGE


class MalformedBatch(NotDone):
    """A node found a batch not to be what its head says."""

    reason = Reason.MALFORMED_BATCH


class CorruptBatch(NotDone):
    """A batch's checksum did not match when a node received it."""

    reason = Reason.CORRUPT_BATCH


class OutOfSequence(NotDone):
    """The sequence leaves a gap after the producer's last one, or lies before what is remembered."""

    reason = Reason.OUT_OF_SEQUENCE


class ProducerFenced(NotDone):
    """A newer producer of the same name has taken over; this one is finished."""

    reason = Reason.PRODUCER_FENCED


class OffsetOutOfRange(NotDone):
    """The offset is below the log's start or beyond its end; ``fields`` carries both."""

    reason = Reason.OFFSET_OUT_OF_RANGE


class Overloaded(NotDone):
    """Too much is in flight at the node."""

    reason = Reason.OVERLOADED


class DiskFull(NotDone):
    """The node's disk is full; reading goes on."""

    reason = Reason.DISK_FULL


class InvalidRequest(NotDone):
    """The request itself is wrong; ``fields`` says what."""

    reason = Reason.INVALID_REQUEST


class BufferFull(NotDone):
    """The producer's buffer has no room for the record now."""

    reason = Reason.BUFFER_FULL


class Closed(NotDone):
    """The producer, reader or admin client has been closed."""

    reason = Reason.CLOSED


class TopicNotReady(NotDone):
    """``send_nowait`` was called for a topic this producer has not looked up: call ``prepare(topic)`` first."""

    reason = Reason.TOPIC_NOT_READY


class RetentionGap(NotDone):
    """Records that the reader had not seen yet are gone from the log's start; reading on continues after them."""

    reason = Reason.RETENTION_GAP

    def __init__(self, topic: str, partition: int, from_offset: int, to_offset: int) -> None:
        super().__init__(
            f"records {from_offset} to {to_offset - 1} of {topic}/{partition} were removed before they were read"
        )
        self.topic = topic
        self.partition = partition
        self.from_offset = from_offset
        self.to_offset = to_offset


class HoleInLog(NotDone):
    """A node sent records that do not follow the ones before: a defect (offsets are dense), never passed over."""

    reason = Reason.HOLE_IN_LOG


class DamagedOnTheWay(NotDone):
    """A batch read from a node is not valid: nothing of it has been handed out."""

    reason = Reason.DAMAGED_ON_THE_WAY


class PositionMoved(NotDone):
    """Somebody reset the group's offset while it was being consumed: reading on continues at ``to_offset``."""

    reason = Reason.POSITION_MOVED

    def __init__(self, topic: str, partition: int, from_offset: int, to_offset: int, explanation: str) -> None:
        super().__init__(
            f"{topic}/{partition} was read up to {from_offset} and goes on at {to_offset}: {explanation}"
        )
        self.topic = topic
        self.partition = partition
        self.from_offset = from_offset
        self.to_offset = to_offset


class Owned(NotDone):
    """An exclusive owner holds (group, partition), and its lease has not run out; ``fields`` says who."""

    reason = Reason.OWNED


class StaleGeneration(NotDone):
    """The group has moved on to a later generation than the one in which the partition was given."""

    reason = Reason.STALE_GENERATION


class OffsetBeyondEnd(NotDone):
    """The offset to commit lies beyond the committed end of the log."""

    reason = Reason.OFFSET_BEYOND_END


class FingerprintMismatch(NotDone):
    """The record that was processed is not the one that is in the log."""

    reason = Reason.FINGERPRINT_MISMATCH


class GroupActive(NotDone):
    """The group is in use: it has an owner or members, and the call was not forced."""

    reason = Reason.GROUP_ACTIVE


class UnknownGroup(NotDone):
    """No such group, or it has nothing in this partition."""

    reason = Reason.UNKNOWN_GROUP


class UnknownMember(NotDone):
    """The group has no such member (any more)."""

    reason = Reason.UNKNOWN_MEMBER


class UnknownReceipt(NotDone):
    """What became of the commit is not known any more: it lies before what is remembered."""

    reason = Reason.UNKNOWN_RECEIPT


class InvalidGroup(NotDone):
    """A group id, a member id or a strategy is not allowed; ``fields`` says which."""

    reason = Reason.INVALID_GROUP


class MetadataTooLarge(NotDone):
    """A commit's metadata is larger than 4 KiB."""

    reason = Reason.METADATA_TOO_LARGE


class OffsetsExpired(NotDone):
    """The group's offset expired; its tombstone still has it, and a reset can restore it."""

    reason = Reason.OFFSETS_EXPIRED


class GroupFull(NotDone):
    """The group has as many members as it may have, or the partition as many groups."""

    reason = Reason.GROUP_FULL


# What a node refuses when it applies the operation: of an operation that was sent twice, the second sending may be
# refused because of the first. So these may go with either outcome.


class Fenced(QuorumlogError):
    """Somebody else has acquired (group, partition) since."""

    reason = Reason.FENCED


class NotOwner(QuorumlogError):
    """Nobody, or not this caller, owns (group, partition): a commit needs an Acquire before it."""

    reason = Reason.NOT_OWNER


class OffsetRegressed(QuorumlogError):
    """The offset to commit lies below the stored one; going back is a reset."""

    reason = Reason.OFFSET_REGRESSED


class CommitSettled(QuorumlogError):
    """The commit's fate was asked for before it arrived, and settled as "never happened"."""

    reason = Reason.COMMIT_SETTLED


class VersionMismatch(QuorumlogError):
    """The stored offset's version is not the one expected; ``fields`` carries both."""

    reason = Reason.VERSION_MISMATCH


class NotLeader(QuorumlogError):
    """The node asked does not lead the partition (any more)."""

    reason = Reason.NOT_LEADER


class NoQuorum(QuorumlogError):
    """No majority of the partition's voters answered in time, or none has a leader."""

    reason = Reason.NO_QUORUM


class ReplicaDamaged(QuorumlogError):
    """The replica's data is damaged; it serves nothing until it has been repaired."""

    reason = Reason.REPLICA_DAMAGED


class ShuttingDown(QuorumlogError):
    """The node is shutting down."""

    reason = Reason.SHUTTING_DOWN


class DeadlineExceeded(QuorumlogError):
    """The time allowed ran out."""

    reason = Reason.DEADLINE


class InternalError(QuorumlogError):
    """A defect of the node."""

    reason = Reason.INTERNAL


class Unreachable(QuorumlogError):
    """No connection to the node, or it broke before the answer came."""

    reason = Reason.UNREACHABLE


_DEFINITE: tuple[type[NotDone], ...] = (
    UnknownTopic,
    UnknownPartition,
    TopicExists,
    InvalidTopic,
    NotEnoughNodes,
    TooLarge,
    MalformedBatch,
    CorruptBatch,
    OutOfSequence,
    ProducerFenced,
    OffsetOutOfRange,
    Overloaded,
    DiskFull,
    InvalidRequest,
    Owned,
    StaleGeneration,
    OffsetBeyondEnd,
    FingerprintMismatch,
    GroupActive,
    UnknownGroup,
    UnknownMember,
    UnknownReceipt,
    InvalidGroup,
    MetadataTooLarge,
    OffsetsExpired,
    GroupFull,
)
_EITHER: tuple[type[QuorumlogError], ...] = (
    NotLeader,
    NoQuorum,
    ReplicaDamaged,
    ShuttingDown,
    DeadlineExceeded,
    InternalError,
    Unreachable,
    Fenced,
    NotOwner,
    OffsetRegressed,
    CommitSettled,
    VersionMismatch,
)


def _both(kind: type[QuorumlogError], branch: type[QuorumlogError]) -> type[QuorumlogError]:
    return type(kind.__name__, (kind, branch), {"__doc__": kind.__doc__, "__module__": kind.__module__})


#: A kind that may go with either outcome is never raised itself, but as the class that is both the kind and the
#: branch.
_NOT_DONE: dict[int, type[QuorumlogError]] = {kind.reason: kind for kind in _DEFINITE} | {
    kind.reason: _both(kind, NotDone) for kind in _EITHER
}
_UNKNOWN: dict[int, type[QuorumlogError]] = {
    kind.reason: _both(kind, OutcomeUnknown) for kind in (*_DEFINITE, *_EITHER) if not issubclass(kind, NotDone)
}


def make_error(
    reason: int,
    message: str,
    *,
    not_done: bool,
    fields: Mapping[str, str] | None = None,
    leader: str = "",
    leader_node_id: int = 0,
    retry_after_ms: int = 0,
) -> QuorumlogError:
    """The error for a reason and an outcome: of the reason's kind and of exactly one of the two branches.

    A reason that this version does not know, or that should have been definite and is not, becomes the bare branch:
    the outcome is what must not be lost.
    """
    kind = _NOT_DONE.get(reason, NotDone) if not_done else _UNKNOWN.get(reason, OutcomeUnknown)
    return kind(message, fields=fields, leader=leader, leader_node_id=leader_node_id, retry_after_ms=retry_after_ms)


def as_outcome(error: QuorumlogError, message: str, *, not_done: bool) -> QuorumlogError:
    """``error`` told again about a whole operation: its kind and facts, another message, the operation's
    outcome."""
    told = make_error(
        error.reason,
        message,
        not_done=not_done,
        fields=error.fields,
        leader=error.leader,
        leader_node_id=error.leader_node_id,
        retry_after_ms=error.retry_after_ms,
    )
    told.__cause__ = error
    return told
