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

from quorumlog.check.evidence import Evidence, gather
from quorumlog.check.history import Event, EventType, Operation, operations
from quorumlog.check.records import FINDERS, NEED_FINAL_READS, Anomaly, AnomalyKind

if TYPE_CHECKING:
    from collections.abc import Sequence


class Verdict(Enum):
    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Expectations:
    """What a run must have shown for its verdict to mean anything.

    ``ok`` are the least numbers of successful operations by name, over all partitions. ``effects`` are names of
    faults of which at least one must have had an observable effect. ``retention`` names the partitions that may
    drop their oldest records.
    """

    ok: dict[str, int] = field(default_factory=dict)
    effects: tuple[str, ...] = ()
    final_reads: bool = True
    retention: frozenset[str] = frozenset()


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
    """Looks for every record anomaly in every partition. Raises MalformedHistory."""
    expectations = expectations or Expectations()
    history = operations(events)
    partitions = gather(history, expectations.retention)
    anomalies: list[Anomaly] = []
    verdicts: dict[AnomalyKind, Verdict] = {}
    for kind, find in FINDERS.items():
        found = [anomaly for evidence in partitions.values() for anomaly in find(evidence)]
        anomalies += found
        answerable = kind not in NEED_FINAL_READS or all(map(_completely_read, partitions.values()))
        verdicts[kind] = Verdict.FALSE if found else Verdict.TRUE if answerable else Verdict.UNKNOWN
    return Report(verdicts, tuple(anomalies), tuple(_shortfalls(history, partitions, expectations)))


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
