"""The verdict on a whole history: true, false, or unknown; and whether the run proved anything at all.

A checker that lacks what it would need says *unknown*, never true: without a complete final read nobody can say
that nothing is missing. And a run whose operations all failed has no anomaly either; so a history must also show
that enough worked, that each fault had an effect, and that a failover took place where one was meant
(``Expectations``). Etcd's robustness tests and Jepsen both learned this from green runs that had tested nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from quorumlog.check.anomaly import Anomaly, AnomalyKind
from quorumlog.check.evidence import Evidence, gather
from quorumlog.check.groups import (
    GROUP_FINDERS,
    GroupEvidence,
    bad_start,
    double_assignment,
    gather_groups,
    orphan,
    successor_mismatch,
    told_by_group,
)
from quorumlog.check.history import Event, EventType, Operation, operations
from quorumlog.check.linearizable import is_searchable, linearizable, steps
from quorumlog.check.offset_evidence import OffsetEvidence, gather_offsets
from quorumlog.check.offsets import OFFSET_FINDERS
from quorumlog.check.records import FINDERS, NEED_FINAL_READS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Verdict(Enum):
    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Expectations:
    """What a run must have shown for its verdict to mean anything.

    ``ok`` are the least numbers of successful operations by name, over all partitions. ``effects`` are names of
    faults of which at least one must have had an observable effect. ``retention`` names the partitions that may
    drop their oldest records. With ``orphan_ms``, no partition of a group may be without an owner for longer after
    the last ``healed`` of the history. Registers with at most ``search_steps`` operations are searched for a
    linearization as well.
    """

    ok: dict[str, int] = field(default_factory=dict)
    effects: tuple[str, ...] = ()
    final_reads: bool = True
    retention: frozenset[str] = frozenset()
    orphan_ms: int = 0
    search_steps: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked for, what was found, and why the run may have proved nothing."""

    verdicts: dict[AnomalyKind, Verdict]
    anomalies: tuple[Anomaly, ...]
    vacuous: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """FALSE if anything was found; TRUE only if everything was looked for and the run meant something."""
        if self.anomalies:
            return Verdict.FALSE
        if self.vacuous or Verdict.UNKNOWN in self.verdicts.values():
            return Verdict.UNKNOWN
        return Verdict.TRUE


def judge(events: Sequence[Event], expectations: Expectations | None = None) -> Report:
    """Looks for every anomaly of records in every partition; and for those of offsets and groups, where the history
    has any. Raises MalformedHistory."""
    expectations = expectations or Expectations()
    history = operations(events)
    partitions = gather(history, expectations.retention)
    registers = gather_offsets(history)
    groups = gather_groups(history, registers)
    anomalies: list[Anomaly] = []
    verdicts: dict[AnomalyKind, Verdict] = {}
    for kind, find in FINDERS.items():
        found = [anomaly for evidence in partitions.values() for anomaly in find(evidence)]
        anomalies += found
        answerable = kind not in NEED_FINAL_READS or all(map(_completely_read, partitions.values()))
        verdicts[kind] = Verdict.FALSE if found else Verdict.TRUE if answerable else Verdict.UNKNOWN
    if registers:
        anomalies += _of_offsets(registers, partitions)
        anomalies += _not_linearizable(registers, expectations.search_steps)
        complete = all(evidence.finals for evidence in registers.values())
        verdicts |= dict.fromkeys(OFFSET_FINDERS, Verdict.TRUE)
        verdicts[AnomalyKind.LOST_COMMIT] = Verdict.TRUE if complete else Verdict.UNKNOWN
    if groups:
        anomalies += _of_groups(history, groups, expectations)
        verdicts |= dict.fromkeys(GROUP_FINDERS, Verdict.TRUE)
    verdicts |= {anomaly.kind: Verdict.FALSE for anomaly in anomalies}
    return Report(verdicts, tuple(anomalies), tuple(_shortfalls(history, partitions, expectations)))


def _of_offsets(registers: dict[str, OffsetEvidence], partitions: dict[str, Evidence]) -> Iterator[Anomaly]:
    for evidence in registers.values():
        records = partitions.get(evidence.partition)
        for find in OFFSET_FINDERS.values():
            yield from find(evidence, records)
        yield from bad_start(evidence)
        yield from successor_mismatch(evidence)


def _not_linearizable(registers: dict[str, OffsetEvidence], search_steps: int) -> Iterator[Anomaly]:
    """The second opinion; where it does not know, nothing is added to what the finders say."""
    for evidence in registers.values():
        if not search_steps or not is_searchable(evidence):
            continue
        found = steps(evidence)
        if len(found) <= search_steps and linearizable(found) is False:
            message = f"no order of its {len(found)} operations explains their answers"
            yield Anomaly.of(AnomalyKind.NOT_LINEARIZABLE, evidence.key, message)


def _of_groups(
    history: Sequence[Operation], groups: dict[str, GroupEvidence], expectations: Expectations
) -> Iterator[Anomaly]:
    for group, told in told_by_group(history).items():
        yield from double_assignment(group, told)
    healed = [operation.invoked.time_ns for operation in history if operation.invoked.operation == "healed"]
    ended = [operation.invoked.time_ns for operation in history if operation.invoked.operation == "members_stop"]
    for evidence in groups.values():
        for find in GROUP_FINDERS.values():
            yield from find(evidence)
        if expectations.orphan_ms and healed and ended:
            yield from orphan(evidence, healed[-1], ended[-1], expectations.orphan_ms * 1_000_000)


def _completely_read(evidence: Evidence) -> bool:
    return bool(evidence.complete_finals())


def _shortfalls(
    history: Sequence[Operation], partitions: dict[str, Evidence], expectations: Expectations
) -> list[str]:
    shortfalls = []
    succeeded: dict[str, int] = {}
    effects: dict[str, int] = {}
    for operation in history:
        completed = operation.completed
        if completed is not None and completed.type is EventType.OK:
            name = completed.operation
            succeeded[name] = succeeded.get(name, 0) + 1
            if name == "fault":
                effects[completed.key] = effects.get(completed.key, 0) + int(completed.value["effect"])
    for name, least in expectations.ok.items():
        if succeeded.get(name, 0) < least:
            shortfalls.append(f"{succeeded.get(name, 0)} {name} operations succeeded; {least} are needed")
    for fault in expectations.effects:
        if not effects.get(fault):
            shortfalls.append(f"the fault {fault!r} had no observable effect")
    if expectations.final_reads:
        shortfalls += [
            f"{key} was not read to its end" for key, one in partitions.items() if not _completely_read(one)
        ]
        if not partitions:
            shortfalls.append("no partition was used")
    return shortfalls
