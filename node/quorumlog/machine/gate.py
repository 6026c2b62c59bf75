"""The leader's door for batches: which offset a batch gets, or where it already is. Not replicated.

Why there is a door at all. Offsets are dense and a data entry *is* its records: once a batch is in the Raft log
its records have offsets, and readers will see them. So, unlike a key-value store, which can apply a duplicate as a
no-op, a partition must find a duplicate *before* it proposes. But the machine's sessions only know what has been
applied, and a client that lost its connection retries while the first sending is still on its way to a majority.
If the leader looked at the sessions alone, it would find nothing, propose again, and both would commit: twice the
same records. (Kafka has the same question, and answers it because its leader appends first and updates its
producer state at append time, then rebuilds that state when it truncates.)

So the gate lays the proposed but not yet applied batches over the machine's sessions. The overlay is the leader's
knowledge of its own log beyond the applied index, which nobody else needs: a new leader begins with everything in
its log applied (its no-op of the term, §8 of the paper, has been) and an empty overlay. What it must never do is
begin with entries of earlier terms unapplied: a retry of one of those would look new.

A gate answers for one leadership. Call, in this order, without anything in between for the same partition:
``check``; if Fresh, propose the batch with that base offset, and ``proposed`` with the index it got. After each
round of applying: ``applied``. Losing leadership needs no call; gaining it needs ``reset``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.machine.errors import OutOfSequence, ProducerFenced, ensure

if TYPE_CHECKING:
    from quorumlog.machine.partition import PartitionMachine
    from quorumlog.wire.header import BatchHeader


@dataclass(frozen=True, slots=True)
class Fresh:
    """New: to be proposed, its first record at ``base_offset``."""

    base_offset: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Applied already: its first record is at ``base_offset``. Nothing to propose; acknowledge."""

    base_offset: int


@dataclass(frozen=True, slots=True)
class Pending:
    """In flight already as entry ``index``: acknowledge when that is applied, and share its fate if it is lost."""

    index: int
    base_offset: int


Verdict = Fresh | Duplicate | Pending


class _InFlight:
    """A proposed batch."""

    __slots__ = ("base_offset", "base_sequence", "count", "epoch", "index", "producer_id")

    def __init__(self, header: BatchHeader, base_offset: int, index: int) -> None:
        self.index = index
        self.base_offset = base_offset
        self.count = header.count
        self.producer_id = header.producer_id
        self.epoch = header.producer_epoch
        self.base_sequence = header.base_sequence


class _Overlay:
    """A producer with batches in flight: where its session will stand once they are applied.

    ``in_flight`` by base sequence, of ``epoch`` only: batches of an earlier epoch are fenced, nobody may attach to
    them.
    """

    __slots__ = ("epoch", "in_flight", "next_sequence")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.next_sequence = 0
        self.in_flight: dict[int, _InFlight] = {}


class AppendGate:
    """The door of one partition on the node that leads it."""

    __slots__ = ("_in_flight", "_machine", "_next_offset", "_overlays")

    def __init__(self, machine: PartitionMachine) -> None:
        self._machine = machine
        self._in_flight: deque[_InFlight] = deque()
        self._overlays: dict[int, _Overlay] = {}
        self._next_offset = machine.end_offset

    @property
    def next_offset(self) -> int:
        """The offset of the next fresh batch: the end of the log once everything proposed is applied."""
        return self._next_offset

    @property
    def in_flight(self) -> int:
        """Batches proposed and not yet applied."""
        return len(self._in_flight)

    def reset(self) -> None:
        """Begin a leadership. Only valid once everything in the log, the term's no-op included, has been
        applied."""
        self._in_flight.clear()
        self._overlays.clear()
        self._next_offset = self._machine.end_offset

    def check(self, header: BatchHeader) -> Verdict:
        """What to do with a batch. ``header.base_offset`` means nothing yet. Changes nothing.

        Raises OutOfSequence or ProducerFenced. A batch that repeats a sequence with another count is not a repeat.
        Being fenced by an epoch that is only in flight is final too: the newer instance was opened by the
        controller, and its batch will come again if this one is lost.
        """
        in_flight = self._in_flight
        head = in_flight[0].base_offset if in_flight else self._next_offset
        # Without this, a forgotten reset (or applied) would hand out offsets that are taken, and the entry that
        # carries one stops every replica.
        if head != self._machine.end_offset:
            ensure(False, f"the gate stands at offset {head}, the machine at {self._machine.end_offset}")
        producer_id = header.producer_id
        if not producer_id:
            return Fresh(self._next_offset)
        epoch = header.producer_epoch
        overlay = self._overlays.get(producer_id)
        session = self._machine.sessions.get(producer_id)
        current = overlay or session
        if current is None or epoch > current.epoch:
            if header.base_sequence:
                raise OutOfSequence(producer_id, epoch, 0, header.base_sequence)
            return Fresh(self._next_offset)
        if epoch < current.epoch:
            raise ProducerFenced(producer_id, epoch, current.epoch)
        if header.base_sequence == current.next_sequence:
            return Fresh(self._next_offset)
        if overlay is not None:
            pending = overlay.in_flight.get(header.base_sequence)
            if pending is not None and pending.count == header.count:
                return Pending(pending.index, pending.base_offset)
        if session is not None and session.epoch == epoch:
            remembered = session.find(header.base_sequence, header.count)
            if remembered is not None:
                return Duplicate(remembered.base_offset)
        raise OutOfSequence(producer_id, epoch, current.next_sequence, header.base_sequence)

    def proposed(self, header: BatchHeader, base_offset: int, index: int) -> None:
        """A batch that ``check`` called Fresh(base_offset) is now entry ``index`` of the log."""
        in_flight = self._in_flight
        if base_offset != self._next_offset or (in_flight and index <= in_flight[-1].index):
            ensure(False, f"entry {index} proposed at offset {base_offset}; next is {self._next_offset}")
        batch = _InFlight(header, base_offset, index)
        in_flight.append(batch)
        self._next_offset = base_offset + header.count
        producer_id = header.producer_id
        if not producer_id:
            return
        overlay = self._overlays.get(producer_id)
        if overlay is None or overlay.epoch != header.producer_epoch:
            overlay = self._overlays[producer_id] = _Overlay(header.producer_epoch)
        overlay.next_sequence = header.base_sequence + header.count
        overlay.in_flight[header.base_sequence] = batch

    def applied(self, index: int) -> None:
        """Everything up to ``index`` is applied: from here on the machine's sessions answer for it."""
        in_flight = self._in_flight
        while in_flight and in_flight[0].index <= index:
            batch = in_flight.popleft()
            overlay = self._overlays.get(batch.producer_id)
            # An older epoch's batch left no trace in the overlay of the newer one.
            if overlay is None or overlay.epoch != batch.epoch:
                continue
            del overlay.in_flight[batch.base_sequence]
            if not overlay.in_flight:
                del self._overlays[batch.producer_id]
