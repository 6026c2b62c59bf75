"""A producer's batches on their way: the batch that is being filled or sent, and the line of them for one
partition.

Only data and the questions one can ask of it; what happens to it is decided in ``accumulator``.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.wire.batch import encode_batch, restamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.client.errors import QuorumlogError
    from quorumlog.wire.header import Codec

#: What a batch's head takes, and what the columns of lengths and timestamps may take for each record: so that
#: the sum of a batch's record sizes never falls short of its encoded size.
BATCH_OVERHEAD_BYTES = 64
RECORD_OVERHEAD_BYTES = 16


class Session(NamedTuple):
    """A producer session, as OpenProducer gave it."""

    producer_id: int
    epoch: int


class State(Enum):
    """Where a batch is on its way."""

    QUEUED = "queued"
    """Being filled, or full: no node has seen it under the session it will be sent with."""
    IN_FLIGHT = "in flight"
    """Sent, not answered."""
    WAITING = "waiting"
    """Sent at least once and to be sent again, with the same bytes."""
    DONE = "done"
    """Appended, or given up."""


class PendingBatch:
    """Records that share a fate. ``base_offset`` and ``error`` tell it once ``state`` is DONE."""

    __slots__ = (
        "address",
        "base_offset",
        "base_sequence",
        "blobs",
        "correlation",
        "count",
        "data",
        "deadline_ms",
        "due_ms",
        "error",
        "keys",
        "may_have_happened",
        "on_done",
        "queue",
        "sent_ms",
        "session",
        "size",
        "state",
        "timestamps_ms",
        "values",
    )

    def __init__(self, queue: PartitionQueue) -> None:
        self.queue = queue
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] = []
        self.timestamps_ms: list[int] = []
        #: Header blobs; None until a record has headers, because hardly any has.
        self.blobs: list[bytes] | None = None
        self.size = BATCH_OVERHEAD_BYTES
        self.state = State.QUEUED
        #: Set by the first poll after the first record came: the way of a record needs no clock.
        self.deadline_ms = 0.0
        self.due_ms = 0.0
        #: Encoded at its first sending; the columns are let go then.
        self.data: bytes | None = None
        self.count = 0
        self.session: Session | None = None
        self.base_sequence = 0
        self.correlation = 0
        self.address = ""
        self.sent_ms = 0.0
        #: Some attempt ended without our learning what became of it, and none has told us since. Never cleared
        #: by a refusal of a later attempt: that says nothing of the earlier one.
        self.may_have_happened = False
        self.base_offset = -1
        self.error: QuorumlogError | None = None
        #: Called once each when the batch is done.
        self.on_done: list[Callable[[], None]] = []

    def prepare(self, codec: Codec) -> bytes:
        """The bytes to send under ``session`` and ``base_sequence``: encoded once, then the same for every
        attempt."""
        session = self.session or Session(0, 0)
        if self.data is None:
            self.count = len(self.values)
            self.data = encode_batch(
                self.values,
                timestamps_ms=self.timestamps_ms,
                keys=self.keys,
                header_blobs=self.blobs,
                codec=codec,
                producer_id=session.producer_id,
                producer_epoch=session.epoch,
                base_sequence=self.base_sequence,
            )
            self.values, self.keys, self.timestamps_ms, self.blobs = [], [], [], None
        else:
            self.data = restamp(self.data, session.producer_id, session.epoch, self.base_sequence)
        return self.data


class PartitionQueue:
    """The line of one partition: ``window`` (sent, in order of their sequences), then ``full``, then
    ``filling``."""

    __slots__ = (
        "batch_bytes",
        "failed_since_sending",
        "failures",
        "filling",
        "full",
        "last_error",
        "max_batch_bytes",
        "next_sequence",
        "partition",
        "retry_at_ms",
        "session",
        "session_over",
        "topic",
        "window",
    )

    def __init__(self, topic: str, partition: int, batch_bytes: int, max_batch_bytes: int) -> None:
        self.topic = topic
        self.partition = partition
        #: When a batch is full, and how large one record alone may make it.
        self.batch_bytes = batch_bytes
        self.max_batch_bytes = max_batch_bytes
        self.window: deque[PendingBatch] = deque()
        self.full: deque[PendingBatch] = deque()
        self.filling: PendingBatch | None = None
        self.session: Session | None = None
        self.next_sequence = 0
        #: The session cannot go on (its sequence has a gap for ever): nothing new is sent until the window is
        #: empty, and then under another session.
        self.session_over = False
        self.retry_at_ms = 0.0
        self.failures = 0
        self.failed_since_sending = False
        self.last_error: QuorumlogError | None = None

    def __bool__(self) -> bool:
        """Something is on its way."""
        return bool(self.window or self.full or self.filling is not None)

    def unsettled(self) -> list[PendingBatch]:
        """Every batch on its way, in order."""
        batches = [*self.window, *self.full]
        if self.filling is not None:
            batches.append(self.filling)
        return batches
