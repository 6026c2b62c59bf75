"""The anomalies of consumer groups: who owned what, where owners began, and whether anything was left out.

A *tenure* is one member's time with one partition, from the moment it was granted to the moment at which it stopped
processing. What a member does of its own accord (stop, process) is in the history as well as what it was told, so
that "no member processed it" is a fact and not a guess.

Prior art: CHAOS.md §2 has the table; Jepsen's Redpanda and Kafka reports for lost and repeated records across
rebalances; KIP-848 for what a reconciled assignment promises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.check.anomaly import Anomaly, AnomalyKind
from quorumlog.check.history import EventType, Operation
from quorumlog.check.offset_evidence import NO_TOKEN, OffsetEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


#: Reasons of a start that is not where the group had been, because it could not be: the answer says so.
POLICIES = ("OUT_OF_RANGE", "TRUNCATED")


class Tenure(NamedTuple):
    """``member`` had the partition. ``gave_back``: it stopped, gave back in order, and its coordinator, which still
    knew it, took it; so until it stopped nobody else may have had the partition."""

    operation: Operation
    member: str
    generation: int
    gave_back: bool

    @property
    def ended(self) -> int:
        """The index at which it had certainly stopped; NEVER if it never said so."""
        return self.operation.returned


class Processed(NamedTuple):
    """The records from ``first`` to ``last`` in the hands of the owner of ``epoch``."""

    operation: Operation
    epoch: int
    first: int
    last: int


@dataclass(slots=True)
class GroupEvidence:
    """What is known about one group in one partition."""

    key: str
    offsets: OffsetEvidence
    tenures: list[Tenure] = field(default_factory=list)
    begun: list[Processed] = field(default_factory=list)
    """What owners began to process, in order; ``processed`` are those of them that they finished."""
    processed: list[Processed] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """(from, to) of records that were gone, as owners were told by typed events."""
    newest_told: dict[str, int] = field(default_factory=dict)
    """member -> the highest generation in which its coordinator still knew it, as it was told."""


class Told(NamedTuple):
    """A coordinator told ``member`` that it owns ``partitions`` in ``generation``."""

    operation: Operation
    member: str
    generation: int
    partitions: tuple[str, ...]


def gather_groups(history: Iterable[Operation], offsets: dict[str, OffsetEvidence]) -> dict[str, GroupEvidence]:
    """Evidence per group and partition in which anybody processed or owned something."""
    found: dict[str, GroupEvidence] = {}
    newest_told: dict[str, int] = {}
    for operation in history:
        invoked = operation.invoked
        name = invoked.operation
        if name == "assigned":
            member, generation = invoked.value["member"], invoked.value["generation"]
            newest_told[member] = max(generation, newest_told.get(member, 0))
        if name not in ("own", "give_back", "process", "gap"):
            continue
        evidence = found.get(invoked.key)
        if evidence is None:
            known = offsets.get(invoked.key) or OffsetEvidence(invoked.key, invoked.key.partition("@")[2])
            evidence = found[invoked.key] = GroupEvidence(invoked.key, known)
        _take(evidence, operation)
    for evidence in found.values():
        evidence.newest_told = newest_told
    return found


def _take(evidence: GroupEvidence, operation: Operation) -> None:
    value, name = operation.invoked.value, operation.invoked.operation
    if name == "own":
        evidence.tenures.append(Tenure(operation, value["member"], value["generation"], gave_back=False))
    elif name == "give_back":
        if operation.type is EventType.OK:
            tenures = evidence.tenures
            mine = (place for place, tenure in enumerate(tenures) if tenure.member == value["member"])
            last = max(mine, default=None)
            if last is not None:
                tenures[last] = tenures[last]._replace(gave_back=True)
    elif name == "gap":
        evidence.gaps.append((value["from"], value["to"]))
    else:
        processed = Processed(operation, value["epoch"], value["first"], value["last"])
        evidence.begun.append(processed)
        if operation.type is EventType.OK:
            evidence.processed.append(processed)


def told_by_group(history: Iterable[Operation]) -> dict[str, list[Told]]:
    """What the members of each group were told, in order."""
    found: dict[str, list[Told]] = {}
    for operation in history:
        if operation.invoked.operation == "assigned":
            value = operation.invoked.value
            told = Told(operation, value["member"], value["generation"], tuple(value["partitions"]))
            found.setdefault(operation.invoked.key, []).append(told)
    return found


# --- ownership ----------------------------------------------------------------------------------------------------


def double_assignment(group: str, told: list[Told]) -> Iterator[Anomaly]:
    """*Double ownership*: in one generation two members are told that they own one partition."""
    owners: dict[tuple[int, str], Told] = {}
    for one in told:
        for partition in one.partitions:
            earlier = owners.setdefault((one.generation, partition), one)
            if earlier.member != one.member:
                message = f"{partition} is {earlier.member}'s and {one.member}'s in generation {one.generation}"
                yield Anomaly.of(AnomalyKind.DOUBLE_OWNERSHIP, group, message, earlier.operation, one.operation)


def double_tenure(evidence: GroupEvidence) -> Iterator[Anomaly]:
    """*Double ownership*: a member is granted a partition while another has it that is alive: for it gives the
    partition back in order afterwards, or is still a member in that generation. (One that was given up by its
    coordinator is unknown from then on, and can do neither.)"""
    earlier: list[Tenure] = []
    for tenure in evidence.tenures:
        began = tenure.operation.invoked.index
        earlier = [one for one in earlier if one.ended > began]
        for one in earlier:
            alive = one.gave_back or evidence.newest_told.get(one.member, 0) >= tenure.generation
            if alive and one.member != tenure.member:
                message = f"{tenure.member} is granted what {one.member} has not given back yet"
                yield Anomaly.of(
                    AnomalyKind.DOUBLE_OWNERSHIP, evidence.key, message, one.operation, tenure.operation
                )
        earlier.append(tenure)


def orphan(evidence: GroupEvidence, healed_ns: int, until_ns: int, patience_ns: int) -> Iterator[Anomaly]:
    """Nobody owns the partition for longer than ``patience_ns``, between the moment at which everything was healed
    and ``until_ns``."""
    spans: list[tuple[int, int]] = []
    for tenure in evidence.tenures:
        completed = tenure.operation.completed
        spans.append((tenure.operation.invoked.time_ns, until_ns if completed is None else completed.time_ns))
    covered = healed_ns
    for began, ended in [*sorted(spans), (until_ns, until_ns)]:
        if min(began, until_ns) - covered > patience_ns:
            message = f"nobody owns it for {(min(began, until_ns) - covered) // 1_000_000} ms"
            witness = [tenure.operation for tenure in evidence.tenures[-1:]]
            yield Anomaly.of(AnomalyKind.ORPHAN, evidence.key, message, *witness)
        covered = max(covered, ended)


# --- where owners begin -------------------------------------------------------------------------------------------


def bad_resume(evidence: GroupEvidence) -> Iterator[Anomaly]:
    """The first record that an owner processes is not the one it was to begin with; or it jumps over a record later
    on, or goes back, without having been told of a gap."""
    starts = {acquired.epoch: acquired for acquired in evidence.offsets.acquisitions}
    gaps: dict[int, list[int]] = {}
    for low, high in sorted(evidence.gaps):
        gaps.setdefault(low, []).append(high)
    positions: dict[int, tuple[int, Operation]] = {
        epoch: (acquired.offset, acquired.operation) for epoch, acquired in sorted(starts.items())
    }
    for processed in evidence.begun:
        position = positions.get(processed.epoch)
        if position is None:
            continue
        expected = position[0]
        # Owners that were told later were told of more.
        while told := [end for end in gaps.get(expected, ()) if expected < end <= processed.first]:
            expected = told[-1]
        if processed.first != expected:
            message = f"epoch {processed.epoch} goes on at {processed.first} and not at {expected}"
            yield Anomaly.of(AnomalyKind.BAD_RESUME, evidence.key, message, position[1], processed.operation)
        positions[processed.epoch] = (processed.last + 1, processed.operation)


def bad_start(evidence: OffsetEvidence) -> Iterator[Anomaly]:
    """*Bad resume*: the start that an Acquire resolved is neither what is stored nor where the start rule says; it
    does not follow from the numbers that the answer names."""
    for acquired in evidence.acquisitions:
        stored = acquired.stored
        offset, low, high = acquired.offset, acquired.log_start, acquired.log_end
        if acquired.reason == "STORED":
            right = stored is not None and offset == stored.offset and low <= offset <= high
        elif acquired.reason in ("RULE", "FORCED"):
            right = (stored is None or acquired.reason == "FORCED") and offset == _start(acquired.rule, low, high)
        else:
            right = stored is not None and offset in (low, high)
        if not right:
            told = "nothing" if stored is None else f"offset {stored.offset}"
            message = (
                f"begins at {offset} ({acquired.reason}) with {told} stored, rule {acquired.rule},"
                f" log {low}..{high}"
            )
            yield Anomaly.of(AnomalyKind.BAD_RESUME, evidence.key, message, acquired.operation)


def _start(rule: tuple[str, int], low: int, high: int) -> int:
    name, value = rule
    if name == "EARLIEST":
        return low
    if name == "LATEST":
        return high
    if name == "FROM_BEGIN":
        return min(low + value, high)
    if name == "FROM_END":
        return max(high - value, low)
    return value


def successor_mismatch(evidence: OffsetEvidence) -> Iterator[Anomaly]:
    """A new owner does not begin after its predecessors' last commit: one of theirs has a version above the one it
    was shown when it took over."""
    effective = evidence.effective()
    acquisitions = sorted(evidence.acquisitions, key=lambda acquired: acquired.epoch)
    last: dict[int, tuple[int, Operation]] = {}
    for version, commit in effective:
        last[commit.epoch] = (version, commit.operation)
    predecessors = sorted(last.items())
    highest: tuple[int, Operation] | None = None
    position = 0
    for acquired in acquisitions:
        while position < len(predecessors) and predecessors[position][0] < acquired.epoch:
            if highest is None or predecessors[position][1][0] > highest[0]:
                highest = predecessors[position][1]
            position += 1
        if highest is not None and highest[0] > acquired.stored_version:
            message = (
                f"epoch {acquired.epoch} began from version {acquired.stored_version}, and an earlier owner's"
                f" commit has version {highest[0]}"
            )
            yield Anomaly.of(AnomalyKind.SUCCESSOR_MISMATCH, evidence.key, message, acquired.operation, highest[1])


# --- what was processed -------------------------------------------------------------------------------------------


def gap_under_commit(evidence: GroupEvidence) -> Iterator[Anomaly]:
    """A record below the last known commit, and not below where the group began, was processed by no member, nor
    was anybody told that it is gone (by a gap, or by a start that says so), nor did a reset jump over it."""
    offsets = evidence.offsets
    effective = offsets.effective()
    if not effective or not offsets.acquisitions:
        return
    version, commit = effective[-1]
    spans = [(one.first, one.last + 1) for one in evidence.processed]
    spans += evidence.gaps
    spans += [
        (acquired.stored.offset, acquired.offset)
        for acquired in offsets.acquisitions
        if acquired.stored is not None and acquired.reason in POLICIES
    ]
    if offsets.resets:
        timeline = sorted({witness.version: witness for witness in offsets.witnesses()}.items())
        spans += [
            (before.offset, after.offset)
            for (_, before), (_, after) in pairwise(timeline)
            if after.token == NO_TOKEN and before.offset < after.offset
        ]
    reached = min(acquired.offset for acquired in offsets.acquisitions)
    for began, ended in [*sorted(spans), (commit.offset, commit.offset)]:
        if min(began, commit.offset) > reached:
            message = (
                f"records {reached}..{min(began, commit.offset) - 1} were processed by nobody, and"
                f" {commit.offset} is committed (version {version})"
            )
            yield Anomaly.of(AnomalyKind.GAP_UNDER_COMMIT, evidence.key, message, commit.operation)
        reached = max(reached, ended)


def repeat_after_release(evidence: GroupEvidence) -> Iterator[Anomaly]:
    """An owner was told that its predecessor gave back, so that nothing of it repeats; and it begins at or below a
    record that this predecessor had finished."""
    finished: dict[int, tuple[int, Operation]] = {}
    for one in evidence.processed:
        if one.epoch not in finished or one.last > finished[one.epoch][0]:
            finished[one.epoch] = (one.last, one.operation)
    resets = [reset.operation.invoked.index for reset in evidence.offsets.resets]
    for acquired in evidence.offsets.acquisitions:
        before = finished.get(acquired.epoch - 1)
        if before is None or not acquired.released or acquired.offset > before[0]:
            continue
        # A reset sends a group back over what it has done: then it repeats on purpose.
        if any(index < acquired.operation.returned for index in resets):
            continue
        message = (
            f"epoch {acquired.epoch} begins at {acquired.offset} after a release; {before[0]} had been processed"
        )
        yield Anomaly.of(AnomalyKind.REPEAT_AFTER_RELEASE, evidence.key, message, before[1], acquired.operation)


#: Every anomaly that is judged by what one group did in one partition.
GROUP_FINDERS: dict[AnomalyKind, Callable[[GroupEvidence], Iterator[Anomaly]]] = {
    AnomalyKind.DOUBLE_OWNERSHIP: double_tenure,
    AnomalyKind.BAD_RESUME: bad_resume,
    AnomalyKind.GAP_UNDER_COMMIT: gap_under_commit,
    AnomalyKind.REPEAT_AFTER_RELEASE: repeat_after_release,
}
