"""Producer sessions: what a partition remembers of each producer, so that a retried append has one effect (G8).

Per producer: its epoch, the sequence its next batch must begin at, and where its last batches went. This is Kafka's
``ProducerStateManager`` (KIP-98), with eight remembered batches instead of five. It is also the paper's §8 client
session (dissertation §6.3), kept per partition because a sequence counts one partition's records.

The table is replicated state: it follows from the log alone, evictions included. It holds a bounded number of
sessions and drops the one whose last batch lies furthest back in the log, never by time (replicas have no common
clock).

What the bound costs, said plainly: a producer whose session was evicted is unknown. Its next batch is refused as
out of sequence, and it must open a new session. Only if it had sent just its *first* batch, lost the answer, and
retries after that many other producers have appended to this partition, the retry is taken for a new producer's
first batch. A zombie of an evicted session may likewise begin again at 0.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.machine.errors import MachineInvariantViolated, ensure

if TYPE_CHECKING:
    from collections.abc import Iterator

#: More than a client keeps in flight for one partition: any batch it may still retry is remembered.
REMEMBERED_BATCHES = 8

MAX_SESSIONS = 10_000

_SESSION = struct.Struct("<QIQB")
_BATCH = struct.Struct("<QIQ")


class RememberedBatch(NamedTuple):
    """Where a batch went: ``records`` of them from ``base_sequence`` on are at ``base_offset`` and following."""

    base_sequence: int
    records: int
    base_offset: int


class Session:
    """One producer in one partition. ``batches``: the newest last, consecutive in sequence, of ``epoch`` only."""

    __slots__ = ("batches", "epoch", "next_sequence")

    def __init__(self, epoch: int, next_sequence: int, batches: list[RememberedBatch]) -> None:
        self.epoch = epoch
        self.next_sequence = next_sequence
        self.batches = batches

    def find(self, base_sequence: int, count: int) -> RememberedBatch | None:
        """The remembered batch of exactly these records."""
        for batch in self.batches:
            if batch.base_sequence == base_sequence:
                return batch if batch.records == count else None
        return None


class ProducerSessions:
    """The bounded table. ``limit`` must be the same on all replicas: it decides what is forgotten."""

    __slots__ = ("_by_producer", "_limit")

    def __init__(self, limit: int) -> None:
        ensure(limit >= 1, f"a partition needs room for at least one session, not {limit}")
        self._limit = limit
        #: In the order of their last batch, oldest first.
        self._by_producer: OrderedDict[int, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_producer)

    def __iter__(self) -> Iterator[tuple[int, Session]]:
        """(producer id, session), the one to be forgotten next first."""
        return iter(self._by_producer.items())

    def get(self, producer_id: int) -> Session | None:
        """What is known of the producer. Looking does not count as use: reads are not in the log."""
        return self._by_producer.get(producer_id)

    def record(self, producer_id: int, epoch: int, base_sequence: int, count: int, base_offset: int) -> None:
        """Take note of an applied batch.

        Raises MachineInvariantViolated, with nothing changed, if the batch contradicts what is known of the
        producer: the leader's gate refuses every such batch, so one in the log is the gate's failure, and its
        records would be in the log twice or out of order. Of an unknown producer any batch is taken: it may have
        been evicted between the gate's check and now, and the records are in the log already.
        """
        by_producer = self._by_producer
        session = by_producer.get(producer_id)
        batch = RememberedBatch(base_sequence, count, base_offset)
        if session is None:
            by_producer[producer_id] = Session(epoch, base_sequence + count, [batch])
            if len(by_producer) > self._limit:
                by_producer.popitem(last=False)
            return
        if epoch == session.epoch:
            if base_sequence != session.next_sequence:
                raise _contradiction(producer_id, epoch, base_sequence, session)
            batches = session.batches
            batches.append(batch)
            if len(batches) > REMEMBERED_BATCHES:
                del batches[0]
        elif epoch > session.epoch and base_sequence == 0:
            session.epoch = epoch
            session.batches = [batch]
        else:
            raise _contradiction(producer_id, epoch, base_sequence, session)
        session.next_sequence = base_sequence + count
        by_producer.move_to_end(producer_id)

    def encode(self) -> bytes:
        """Every session in the order of its last use, oldest first.

        ``producer_id u64, epoch u32, next_sequence u64, batches u8``, then per batch
        ``base_sequence u64, count u32, base_offset u64``; little-endian, no padding.
        """
        parts = []
        for producer_id, session in self._by_producer.items():
            parts.append(_SESSION.pack(producer_id, session.epoch, session.next_sequence, len(session.batches)))
            parts.extend([_BATCH.pack(*batch) for batch in session.batches])
        return b"".join(parts)

    @classmethod
    def decode(cls, limit: int, data: bytes, position: int, sessions: int) -> tuple[ProducerSessions, int]:
        """The table that ``encode`` wrote at ``position``, and the position after it. Raises struct.error if
        cut."""
        table = cls(limit)
        for _ in range(sessions):
            producer_id, epoch, next_sequence, batch_count = _SESSION.unpack_from(data, position)
            position += _SESSION.size
            batches = []
            for _ in range(batch_count):
                batches.append(RememberedBatch._make(_BATCH.unpack_from(data, position)))
                position += _BATCH.size
            table._by_producer[producer_id] = Session(epoch, next_sequence, batches)
        return table, position


def _contradiction(producer_id: int, epoch: int, base_sequence: int, session: Session) -> MachineInvariantViolated:
    return MachineInvariantViolated(
        f"producer {producer_id}: a batch of epoch {epoch} at sequence {base_sequence} is in the log, but the"
        f" session stands at epoch {session.epoch}, sequence {session.next_sequence}"
    )
