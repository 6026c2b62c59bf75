"""The record anomalies: each is first said in prose, then looked for in one pass.

All of them judge one partition by what clients were told; none knows how the system works inside. A finding carries
the operations that show it, as few as will do.

Prior art: Jepsen ``tests/kafka.clj`` (the names and most definitions), Bufstream and Redpanda reports; CHAOS.md §2
has the table. Two definitions are sharper than Jepsen's, because offsets here are dense and a fresh client reads
everything in the end: "nobody can read it" means that such a final read lacks it, so a record that *was* read and
then vanished is lost too; and an acknowledgement is a claim like a read, so that it can contradict one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.check.anomaly import Anomaly, AnomalyKind
from quorumlog.check.history import EventType, Operation, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quorumlog.check.evidence import Claim, Evidence, Read


def inconsistent_offset(evidence: Evidence) -> Iterator[Anomaly]:
    """One offset has two values: two claims name the same offset and different values."""
    first: dict[int, Claim] = {}
    for claim in evidence.claims():
        earlier = first.setdefault(claim.offset, claim)
        if earlier.value != claim.value:
            message = f"offset {claim.offset} holds {earlier.value!r} and {claim.value!r}"
            yield _anomaly(AnomalyKind.INCONSISTENT_OFFSET, evidence, message, earlier.operation, claim.operation)


def duplicate(evidence: Evidence) -> Iterator[Anomaly]:
    """One value stands at two offsets: a send had two effects.

    Expected only of producers without a session that send again after an unknown outcome; those must use a new
    value.
    """
    first: dict[Value, Claim] = {}
    for claim in evidence.claims():
        earlier = first.setdefault(claim.value, claim)
        if earlier.offset != claim.offset:
            message = f"{claim.value!r} stands at offsets {earlier.offset} and {claim.offset}"
            yield _anomaly(AnomalyKind.DUPLICATE, evidence, message, earlier.operation, claim.operation)


def aborted_read(evidence: Evidence) -> Iterator[Anomaly]:
    """A value is read whose send was answered with "definitely did not happen"."""
    failed = {
        value: send.operation
        for send in evidence.sends
        if send.operation.type is EventType.FAIL
        for value in send.values
    }
    for claim in _once_per_value(evidence.read_claims()):
        if claim.value in failed:
            message = f"{claim.value!r} failed, yet stands at offset {claim.offset}"
            yield _anomaly(AnomalyKind.ABORTED_READ, evidence, message, failed[claim.value], claim.operation)


def phantom(evidence: Evidence) -> Iterator[Anomaly]:
    """A value is read that nobody sent, or that nobody had sent yet when the read returned."""
    sent = {value: send for send in evidence.sends for value in send.values}
    for claim in _once_per_value(evidence.read_claims()):
        send = sent.get(claim.value)
        if send is None:
            message = f"{claim.value!r} at offset {claim.offset} was never sent"
            yield _anomaly(AnomalyKind.PHANTOM, evidence, message, claim.operation)
        elif claim.operation.returned < send.invoked:
            message = f"{claim.value!r} at offset {claim.offset} was read before it was sent"
            yield _anomaly(AnomalyKind.PHANTOM, evidence, message, send.operation, claim.operation)


def lost_write(evidence: Evidence) -> Iterator[Anomaly]:
    """A value that must have committed (it was acknowledged, or read), at or below the highest offset that anybody
    read, is missing from the complete final read of a fresh client, which began after that was known.

    The message says where the hole is, because that names the suspect: a *prefix* is lost by retention or a
    checkpoint, a *postfix* by truncation or a lost tail, the *middle* by neither; and which node read over it.
    Neighbours that are lost together are one finding.
    """
    highest = _highest_read(evidence)
    for view, missing in _missing_from_final_reads(evidence):
        offsets = [offset for read in view for offset, _ in read.records]
        low, high = (offsets[0], offsets[-1]) if offsets else (evidence.log_start, -1)
        lost = sorted((claim for claim in missing if claim.offset <= highest), key=lambda claim: claim.offset)
        for run in _neighbours(lost):
            first, last = run[0], run[-1]
            where = "postfix" if first.offset > high else "prefix" if last.offset < low else "middle"
            read = _read_over(view, first.offset)
            node = read.operation.completed.node if read.operation.completed else None
            what = f"{first.value!r} at offset {first.offset} is"
            if len(run) > 1:
                what = f"{len(run)} values at offsets {first.offset}..{last.offset} are"
            message = f"{what} lost ({where}); read from node {node}"
            witness = (first.operation, *([] if last.operation is first.operation else [last.operation]))
            yield _anomaly(AnomalyKind.LOST_WRITE, evidence, message, *witness, read.operation)


def unseen(evidence: Evidence) -> Iterator[Anomaly]:
    """A value was acknowledged above everything that anybody ever read, and the complete final read of a fresh
    client, which began after the acknowledgement, still lacks it."""
    highest = _highest_read(evidence)
    for view, missing in _missing_from_final_reads(evidence):
        for claim in missing:
            if claim.offset > highest:
                message = f"{claim.value!r}, acknowledged at offset {claim.offset}, is never seen"
                yield _anomaly(AnomalyKind.UNSEEN, evidence, message, claim.operation, view[-1].operation)


def skip(evidence: Evidence) -> Iterator[Anomaly]:
    """The same reader, not having been moved, jumps forward by more than one."""
    for last, offset, earlier, later in _steps(evidence):
        if offset > last + 1:
            message = f"reader {later.process} went from offset {last} to {offset}"
            yield _anomaly(AnomalyKind.SKIP, evidence, message, earlier.operation, later.operation)


def non_monotonic_read(evidence: Evidence) -> Iterator[Anomaly]:
    """The same reader, not having been moved, gets an offset that it has had already, or one before it."""
    for last, offset, earlier, later in _steps(evidence):
        if offset <= last:
            message = f"reader {later.process} went from offset {last} back to {offset}"
            yield _anomaly(AnomalyKind.NON_MONOTONIC_READ, evidence, message, earlier.operation, later.operation)


def non_monotonic_send(evidence: Evidence) -> Iterator[Anomaly]:
    """One process's successive sends got offsets that do not increase."""
    last: dict[int, tuple[int, Operation]] = {}
    for send in evidence.sends:
        if send.offset is None:
            continue
        before = last.get(send.process)
        if before is not None and send.offset <= before[0]:
            message = f"process {send.process} sent to offset {before[0]}, then to {send.offset}"
            yield _anomaly(AnomalyKind.NON_MONOTONIC_SEND, evidence, message, before[1], send.operation)
        last[send.process] = (send.offset + len(send.values) - 1, send.operation)


def real_time_inversion(evidence: Evidence) -> Iterator[Anomaly]:
    """Append A returned before B was invoked, and B's offset is not above A's."""
    moments = [send.invoked for send in evidence.sends]
    for send, before in zip(evidence.sends, _highest_acknowledged(evidence, moments), strict=True):
        if before is not None and send.offset is not None and send.offset <= before[0]:
            message = f"offset {before[0]} was acknowledged before the send that got offset {send.offset}"
            yield _anomaly(AnomalyKind.REAL_TIME_INVERSION, evidence, message, before[1], send.operation)


def stale_tail(evidence: Evidence) -> Iterator[Anomaly]:
    """A linearizable end, asked for after an append at o was acknowledged, is not above o."""
    moments = [end.invoked.index for end in evidence.ends]
    for end, before in zip(evidence.ends, _highest_acknowledged(evidence, moments), strict=True):
        told = None if end.completed is None else end.completed.value
        if before is not None and told is not None and told <= before[0]:
            message = f"end {told} after offset {before[0]} was acknowledged"
            yield _anomaly(AnomalyKind.STALE_TAIL, evidence, message, before[1], end)


#: Every anomaly with its finder: the one list of what is looked for.
FINDERS: dict[AnomalyKind, Callable[[Evidence], Iterator[Anomaly]]] = {
    AnomalyKind.INCONSISTENT_OFFSET: inconsistent_offset,
    AnomalyKind.DUPLICATE: duplicate,
    AnomalyKind.ABORTED_READ: aborted_read,
    AnomalyKind.PHANTOM: phantom,
    AnomalyKind.LOST_WRITE: lost_write,
    AnomalyKind.UNSEEN: unseen,
    AnomalyKind.SKIP: skip,
    AnomalyKind.NON_MONOTONIC_READ: non_monotonic_read,
    AnomalyKind.NON_MONOTONIC_SEND: non_monotonic_send,
    AnomalyKind.REAL_TIME_INVERSION: real_time_inversion,
    AnomalyKind.STALE_TAIL: stale_tail,
}

#: Only a complete final read can show that something is missing: without one these are unknown, never true.
NEED_FINAL_READS = frozenset({AnomalyKind.LOST_WRITE, AnomalyKind.UNSEEN})


def _anomaly(kind: AnomalyKind, evidence: Evidence, message: str, *witness: Operation) -> Anomaly:
    return Anomaly.of(kind, evidence.key, message, *witness)


def _highest_read(evidence: Evidence) -> int:
    return max((read.records[-1][0] for read in evidence.all_reads if read.records), default=-1)


def _missing_from_final_reads(evidence: Evidence) -> Iterator[tuple[list[Read], list[Claim]]]:
    """Each complete final read, with the claims made before it began whose value it lacks; those below the log's
    start are excused where the partition has retention."""
    first: dict[Value, Claim] = {}
    for claim in evidence.claims():
        earlier = first.get(claim.value)
        if earlier is None or claim.operation.returned < earlier.operation.returned:
            first[claim.value] = claim
    log_start = evidence.log_start
    for view in evidence.complete_finals():
        seen = {value for read in view for _, value in read.records}
        began = view[0].invoked
        yield (
            view,
            [
                claim
                for claim in first.values()
                if claim.offset >= log_start and claim.operation.returned < began and claim.value not in seen
            ],
        )


def _neighbours(claims: list[Claim]) -> Iterator[list[Claim]]:
    """Runs of claims, in order of offsets, without a hole between them."""
    run: list[Claim] = []
    for claim in claims:
        if run and claim.offset > run[-1].offset + 1:
            yield run
            run = []
        run.append(claim)
    if run:
        yield run


def _read_over(view: list[Read], offset: int) -> Read:
    """The read of the view that went past ``offset``; its last if none did."""
    return next((read for read in view if read.records and read.records[-1][0] > offset), view[-1])


def _once_per_value(claims: Iterator[Claim]) -> Iterator[Claim]:
    seen: set[Value] = set()
    for claim in claims:
        if claim.value not in seen:
            seen.add(claim.value)
            yield claim


def _steps(evidence: Evidence) -> Iterator[tuple[int, int, Read, Read]]:
    """(last offset, next offset, read of the last, read of the next) for each record that a reader got, except the
    first after it was moved. A reader that is moved to o counts as having had o - 1."""
    positions = iter(evidence.positions)
    moved = next(positions, None)
    last: dict[int, tuple[int, Read] | int] = {}
    for read in evidence.reads:
        while moved is not None and moved.invoked < read.invoked:
            last[moved.process] = moved.offset - 1
            moved = next(positions, None)
        for offset, _ in read.records:
            before = last.get(read.process)
            if isinstance(before, tuple):
                yield before[0], offset, before[1], read
            elif before is not None:
                yield before, offset, read, read
            last[read.process] = (offset, read)


def _highest_acknowledged(evidence: Evidence, moments: list[int]) -> list[tuple[int, Operation] | None]:
    """For each moment (an index of the history, ascending): the highest offset acknowledged before it, and by
    whom."""
    acknowledged = sorted(
        (send for send in evidence.sends if send.offset is not None), key=lambda send: send.returned
    )
    answers: list[tuple[int, Operation] | None] = []
    highest: tuple[int, Operation] | None = None
    position = 0
    for moment in moments:
        while position < len(acknowledged) and acknowledged[position].returned < moment:
            send = acknowledged[position]
            last = (send.offset or 0) + len(send.values) - 1
            if highest is None or last > highest[0]:
                highest = (last, send.operation)
            position += 1
        answers.append(highest)
    return answers
