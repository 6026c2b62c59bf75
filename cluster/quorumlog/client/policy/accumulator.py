"""Records into batches: which partition, which batch, and is there room.

The way of a record is short, because Python pays for each: one lookup, one partition, four appends, no clock. A
batch is closed when it is full (bytes, records) or when a timestamp lies too far from its first; when it
*leaves* is the sender's to decide (``sender``).

Prior art: Kafka's RecordAccumulator, and KIP-794 for records without a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.client.errors import (
    BufferFull,
    InvalidRequest,
    QuorumlogError,
    TooLarge,
    TopicNotReady,
    UnknownPartition,
)
from quorumlog.client.policy.partitioner import partition_of_key
from quorumlog.client.policy.pending import (
    BATCH_OVERHEAD_BYTES,
    RECORD_OVERHEAD_BYTES,
    PartitionQueue,
    PendingBatch,
    State,
)
from quorumlog.wire.header import Codec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from quorumlog.client.policy.partitioner import Partitioner

#: A batch's timestamps must lie within 2**32 ms of one another; half on either side of its first record's.
_TIMESTAMP_REACH_MS = 1 << 31


@dataclass(frozen=True, slots=True)
class ProducerSettings:
    """How a producer batches and for how long it tries; sizes in bytes before compression."""

    idempotent: bool = True
    codec: Codec = Codec.NONE
    batch_bytes: int = 256 << 10
    batch_records: int = 16_384
    linger_ms: float = 0.0
    max_buffer_bytes: int = 32 << 20
    delivery_timeout_ms: float = 30_000.0
    attempt_timeout_ms: float = 2_000.0

    def __post_init__(self) -> None:
        for name in (
            "batch_bytes",
            "batch_records",
            "max_buffer_bytes",
            "delivery_timeout_ms",
            "attempt_timeout_ms",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.linger_ms < 0:
            raise ValueError(f"linger_ms must not be below 0, is {self.linger_ms}")


class _Topic:
    __slots__ = ("queues", "sticky", "sticky_left")

    def __init__(self, queues: list[PartitionQueue], sticky: int, sticky_left: int) -> None:
        self.queues = queues
        self.sticky = queues[sticky]
        self.sticky_left = sticky_left


class Accumulator:
    """All records of one producer that are not settled yet. Not thread-safe."""

    __slots__ = (
        "_batch_bytes",
        "_batch_records",
        "_max_buffer_bytes",
        "_partitioner",
        "_random",
        "_topics",
        "active",
        "batches_filled",
        "buffered_bytes",
        "ended_by",
    )

    def __init__(
        self, settings: ProducerSettings, random: Random, partitioner: Partitioner = partition_of_key
    ) -> None:
        self._batch_bytes = settings.batch_bytes
        self._batch_records = settings.batch_records
        self._max_buffer_bytes = settings.max_buffer_bytes
        self._random = random
        self._partitioner = partitioner
        self._topics: dict[str, _Topic] = {}
        #: Partitions with anything on its way, in the order in which they began to.
        self.active: dict[PartitionQueue, None] = {}
        #: Bytes of all records accepted and not yet settled.
        self.buffered_bytes = 0
        #: Batches filled to their brim so far: by its change a caller sees that it should let others run.
        self.batches_filled = 0
        #: Why nothing more is accepted; None while it is.
        self.ended_by: QuorumlogError | None = None

    def add_topic(self, topic: str, partitions: int, max_batch_bytes: int) -> None:
        """Make ``append`` possible for a topic; again with other settings: they hold from the next batch on."""
        batch_bytes = min(self._batch_bytes, max_batch_bytes)
        known = self._topics.get(topic)
        queues = known.queues if known is not None else []
        for queue in queues:
            queue.max_batch_bytes = max_batch_bytes
            queue.batch_bytes = batch_bytes
        queues += [
            PartitionQueue(topic, number, batch_bytes, max_batch_bytes) for number in range(len(queues), partitions)
        ]
        if known is None:
            # A random first partition, so that many short-lived producers do not all write to partition 0.
            first = self._random.randrange(partitions)
            self._topics[topic] = _Topic(queues, first, batch_bytes - BATCH_OVERHEAD_BYTES)

    def knows(self, topic: str) -> bool:
        """``append`` is possible for the topic."""
        return topic in self._topics

    def append(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        timestamp_ms: int,
        blob: bytes,
        partition: int | None,
    ) -> PendingBatch:
        """Take a record in; it is the last of the batch returned.

        Raises BufferFull, TooLarge, TopicNotReady, UnknownPartition, or what has ended this producer.
        """
        known = self._topics.get(topic)
        if known is None or self.ended_by is not None:
            raise self.ended_by or TopicNotReady(f"topic {topic!r} has not been looked up: call prepare() first")
        size = RECORD_OVERHEAD_BYTES + len(blob)
        if value is not None:
            size += len(value)
        if key is not None:
            size += len(key)
        if self.buffered_bytes + size > self._max_buffer_bytes:
            self._refuse_size(size)
        if partition is not None:
            queue = self._queue(known, topic, partition)
        elif key is not None:
            queue = known.queues[self._partitioner(key, len(known.queues))]
        else:
            known.sticky_left -= size
            if known.sticky_left < 0:
                known.sticky = known.queues[(known.sticky.partition + 1) % len(known.queues)]
                # As much as one batch holds, or a rest of it would leave as a batch of its own.
                known.sticky_left = known.sticky.batch_bytes - BATCH_OVERHEAD_BYTES - size
            queue = known.sticky
        batch = queue.filling
        if (
            batch is None
            or batch.size + size > queue.batch_bytes
            or len(batch.values) >= self._batch_records
            or not -_TIMESTAMP_REACH_MS < timestamp_ms - batch.timestamps_ms[0] < _TIMESTAMP_REACH_MS
        ):
            batch = self._next_batch(queue, size)
        batch.values.append(value)
        batch.keys.append(key)
        batch.timestamps_ms.append(timestamp_ms)
        if blob or batch.blobs is not None:
            self._add_blob(batch, blob)
        batch.size += size
        self.buffered_bytes += size
        return batch

    def _queue(self, known: _Topic, topic: str, partition: int) -> PartitionQueue:
        if not 0 <= partition < len(known.queues):
            raise UnknownPartition(f"{topic} has {len(known.queues)} partitions; {partition} is none of them")
        return known.queues[partition]

    def _refuse_size(self, size: int) -> None:
        limit = self._max_buffer_bytes
        if size > limit:
            raise TooLarge(f"record of {size} bytes; the producer's buffer holds {limit}")
        raise BufferFull(f"{self.buffered_bytes} of {limit} bytes are waiting to be delivered")

    def _next_batch(self, queue: PartitionQueue, size: int) -> PendingBatch:
        if size + BATCH_OVERHEAD_BYTES > queue.max_batch_bytes:
            raise TooLarge(
                f"record of {size} bytes with its overhead; a batch of {queue.topic} holds {queue.max_batch_bytes}",
                fields={"size": str(size), "max_batch_bytes": str(queue.max_batch_bytes)},
            )
        if queue.filling is not None:
            queue.full.append(queue.filling)
            self.batches_filled += 1
        queue.filling = batch = PendingBatch(queue)
        self.active[queue] = None
        return batch

    @staticmethod
    def _add_blob(batch: PendingBatch, blob: bytes) -> None:
        if batch.blobs is None:
            batch.blobs = [b""] * (len(batch.values) - 1)
        batch.blobs.append(blob)

    def settle(self, batch: PendingBatch, error: QuorumlogError | None) -> None:
        """The batch's fate is known: its room is free, and whoever waits for it is told."""
        batch.state = State.DONE
        batch.error = error
        batch.data = None
        self.buffered_bytes -= batch.size - BATCH_OVERHEAD_BYTES
        waiting, batch.on_done = batch.on_done, []
        for call in waiting:
            call()

    def unsettled(self) -> Iterator[PendingBatch]:
        """Every batch on its way."""
        for queue in self.active:
            yield from queue.unsettled()


def checked_bytes(value: object, what: str) -> bytes:
    """``value`` as bytes. Raises InvalidRequest for anything that is not bytes-like (a str has no one encoding)."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise InvalidRequest(f"{what} must be bytes, not {type(value).__name__}")
