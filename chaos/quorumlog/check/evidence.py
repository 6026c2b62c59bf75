"""One partition's part of a history, arranged so that every record anomaly is a single pass over it.

Building it is linear in the history; the anomalies (``quorumlog.check.records``) then never search.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.check.history import EventType, Operation, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Send(NamedTuple):
    """One batch that a producer tried to append. ``offset`` is that of its first value, known only if
    acknowledged."""

    operation: Operation
    values: Sequence[Value]
    offset: int | None

    @property
    def invoked(self) -> int:
        return self.operation.invoked.index

    @property
    def returned(self) -> int:
        return self.operation.returned

    @property
    def process(self) -> int:
        return self.operation.invoked.process


class Read(NamedTuple):
    """One fetch that was answered: ``records`` are the (offset, value) pairs it brought, in their order.

    ``start`` and ``end`` are the log's first offset and committed end as the answer told them.
    """

    operation: Operation
    records: Sequence[tuple[int, Value]]
    start: int
    end: int

    @property
    def invoked(self) -> int:
        return self.operation.invoked.index

    @property
    def returned(self) -> int:
        return self.operation.returned

    @property
    def process(self) -> int:
        return self.operation.invoked.process


class Claim(NamedTuple):
    """Somebody was told that ``value`` stands at ``offset``: a producer by its acknowledgement or a reader by its
    read."""

    offset: int
    value: Value
    operation: Operation


class Position(NamedTuple):
    """A reader was moved to ``offset`` on purpose: what it reads next need not follow what it read before."""

    process: int
    invoked: int
    offset: int


@dataclass(slots=True)
class Evidence:
    """What is known about one partition.

    ``retention`` says that the partition may drop its oldest records; then what lies below the highest log start
    that anybody was told is excused from having to be readable. Elsewhere nothing is excused.
    """

    key: str
    retention: bool
    sends: list[Send] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    final_reads: list[Read] = field(default_factory=list)
    ends: list[Operation] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    _latest: dict[int, Claim] | None = None

    @property
    def all_reads(self) -> Iterator[Read]:
        yield from self.reads
        yield from self.final_reads

    def read_claims(self) -> Iterator[Claim]:
        for read in self.all_reads:
            for offset, value in read.records:
                yield Claim(offset, value, read.operation)

    def claims(self) -> Iterator[Claim]:
        """Every (offset, value) pair anybody was told, acknowledgements first."""
        for send in self.sends:
            if send.offset is not None:
                for position, value in enumerate(send.values):
                    yield Claim(send.offset + position, value, send.operation)
        yield from self.read_claims()

    def latest_claims(self) -> dict[int, Claim]:
        """offset -> the last that was said of what stands there; made once, for every register asks."""
        if self._latest is None:
            self._latest = {claim.offset: claim for claim in self.claims()}
        return self._latest

    @property
    def log_start(self) -> int:
        """The first offset that a fresh client must be able to read."""
        return max((read.start for read in self.all_reads), default=0) if self.retention else 0

    def finals_by_process(self) -> dict[int, list[Read]]:
        """The final reads of each fresh client: together they are its view of the whole partition."""
        views: dict[int, list[Read]] = {}
        for read in self.final_reads:
            views.setdefault(read.process, []).append(read)
        return views

    def complete_finals(self) -> list[list[Read]]:
        """The views that reached the end which their last answer named: only they can show that something is
        missing."""
        return [reads for reads in self.finals_by_process().values() if _reached_the_end(reads)]


def gather(history: Iterable[Operation], retention: frozenset[str] = frozenset()) -> dict[str, Evidence]:
    """Evidence per partition, in order of first appearance. ``retention`` names the partitions that may drop
    records."""
    partitions: dict[str, Evidence] = {}
    for operation in history:
        invoked = operation.invoked
        if invoked.operation not in _TAKERS:
            continue
        evidence = partitions.get(invoked.key)
        if evidence is None:
            evidence = partitions[invoked.key] = Evidence(invoked.key, invoked.key in retention)
        _TAKERS[invoked.operation](evidence, operation)
    return partitions


def _take_send(evidence: Evidence, operation: Operation) -> None:
    completed = operation.completed
    acknowledged = completed is not None and completed.type is EventType.OK
    offset = completed.value if completed is not None and acknowledged else None
    evidence.sends.append(Send(operation, operation.invoked.value, offset))


def _take_read(evidence: Evidence, operation: Operation) -> None:
    completed = operation.completed
    if completed is None or completed.type is not EventType.OK:
        return
    answer = completed.value
    records = [
        (base + position, value) for base, values in answer["batches"] for position, value in enumerate(values)
    ]
    read = Read(operation, records, answer["start"], answer["end"])
    (evidence.final_reads if operation.invoked.operation == "final_read" else evidence.reads).append(read)


def _take_end(evidence: Evidence, operation: Operation) -> None:
    if operation.type is EventType.OK:
        evidence.ends.append(operation)


def _take_position(evidence: Evidence, operation: Operation) -> None:
    invoked = operation.invoked
    evidence.positions.append(Position(invoked.process, invoked.index, invoked.value))


_TAKERS = {
    "send": _take_send,
    "read": _take_read,
    "final_read": _take_read,
    "end": _take_end,
    "assign": _take_position,
}


def _reached_the_end(reads: Sequence[Read]) -> bool:
    last = reads[-1]
    reached = max((read.records[-1][0] + 1 for read in reads if read.records), default=last.start)
    return reached >= last.end
