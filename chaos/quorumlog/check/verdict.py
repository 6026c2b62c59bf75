"""The verdict on a whole history: true, false, or unknown; and whether the run proved anything at all.

A checker that lacks what it would need says *unknown*, never true: without a complete final read nobody can say
that nothing is missing, and one that ran out of its time has not seen the rest. And a run whose operations all
failed has no anomaly either; so a history must also show that enough worked (``quorumlog.check.expectations``).

Time comes from outside (``Spent``): a judge that looked at a clock by itself would not say the same twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from quorumlog.check.anomaly import Anomaly, AnomalyKind
from quorumlog.check.evidence import Evidence, gather
from quorumlog.check.expectations import Expectations, shortfalls
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
from quorumlog.check.history import Event, Operation, operations
from quorumlog.check.linearizable import BUDGET, is_searchable, linearizable, steps
from quorumlog.check.offset_evidence import OffsetEvidence, gather_offsets
from quorumlog.check.offsets import FOUND_BESIDE, OFFSET_FINDERS
from quorumlog.check.records import FINDERS, NEED_FINAL_READS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Whether the judge's time is over; asked now and then. Once true it must stay so.
Spent: TypeAlias = Callable[[], bool]

#: No more anomalies of one kind are listed of one key: a log that lost its tail has a million, and nobody reads
#: them.
MOST_OF_A_KIND = 1000


class Verdict(Enum):
    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked for, what was found, and why the run may have proved nothing."""

    verdicts: dict[AnomalyKind, Verdict]
    anomalies: tuple[Anomaly, ...]
    vacuous: tuple[str, ...]
    """What the run should have shown and did not, a line each."""
    doubts: tuple[str, ...] = ()
    """Why a kind is unknown, a line each."""
    examined: dict[str, int] = field(default_factory=dict)
    """How many records, reads, commits, fetches and so on were looked at."""

    @property
    def verdict(self) -> Verdict:
        """FALSE if anything was found; TRUE only if everything was looked for and the run meant something."""
        if self.anomalies:
            return Verdict.FALSE
        if self.vacuous or Verdict.UNKNOWN in self.verdicts.values():
            return Verdict.UNKNOWN
        return Verdict.TRUE


def judge(
    events: Sequence[Event],
    expectations: Expectations | None = None,
    spent: Spent = lambda: False,
    search_budget: int = BUDGET,
) -> Report:
    """Looks for every anomaly of records in every partition; and for those of offsets and groups, where the history
    has any. What is not done when the time is ``spent`` is unknown. Raises MalformedHistory."""
    expectations = expectations or Expectations()
    history = operations(events)
    partitions = gather(history, expectations.retention)
    registers = gather_offsets(history)
    groups = gather_groups(history, registers)
    inquiry = _Inquiry(spent)
    _ask_of_records(inquiry, partitions)
    if registers:
        _ask_of_offsets(inquiry, registers, partitions)
        _ask_for_linearizations(inquiry, registers, expectations.search_steps, search_budget)
    if groups:
        _ask_of_groups(inquiry, history, groups, expectations)
    return Report(
        inquiry.verdicts(),
        tuple(inquiry.anomalies),
        tuple(shortfalls(expectations, history, partitions, groups)),
        tuple(f"{kind.value}: {why}" for kind, doubts in inquiry.doubts.items() for why in doubts),
        _examined(partitions, registers, groups) | {"registers searched": inquiry.searched},
    )


class _Inquiry:
    """What has been asked so far, and what came of it."""

    def __init__(self, spent: Spent) -> None:
        self.anomalies: list[Anomaly] = []
        self.doubts: dict[AnomalyKind, list[str]] = {}
        self.searched = 0
        self.spent = spent
        self._asked: dict[AnomalyKind, None] = {}

    def ask(self, kind: AnomalyKind, found: Iterator[Anomaly], key: str) -> None:
        """Has a finder look; ``found`` must not have begun to."""
        self._asked[kind] = None
        if self.spent():
            self.doubt(kind, f"no time was left for {key}")
        else:
            self.anomalies += islice(found, MOST_OF_A_KIND)

    def doubt(self, kind: AnomalyKind, why: str) -> None:
        """Should nothing be found, it will not be known whether there is something."""
        self._asked[kind] = None
        self.doubts.setdefault(kind, []).append(why)

    def verdicts(self) -> dict[AnomalyKind, Verdict]:
        found = {anomaly.kind for anomaly in self.anomalies}
        return {
            kind: Verdict.FALSE if kind in found else Verdict.UNKNOWN if kind in self.doubts else Verdict.TRUE
            for kind in AnomalyKind
            if kind in self._asked or kind in found
        }


def _ask_of_records(inquiry: _Inquiry, partitions: dict[str, Evidence]) -> None:
    for evidence in partitions.values():
        complete = bool(evidence.complete_finals())
        for kind, find in FINDERS.items():
            inquiry.ask(kind, find(evidence), evidence.key)
            if kind in NEED_FINAL_READS and not complete:
                inquiry.doubt(kind, f"{evidence.key} was not read to its end")


def _ask_of_offsets(
    inquiry: _Inquiry, registers: dict[str, OffsetEvidence], partitions: dict[str, Evidence]
) -> None:
    for evidence in registers.values():
        records = partitions.get(evidence.partition)
        for kind, find in OFFSET_FINDERS.items():
            inquiry.ask(kind, find(evidence, records), evidence.key)
        inquiry.ask(AnomalyKind.BAD_RESUME, bad_start(evidence), evidence.key)
        inquiry.ask(AnomalyKind.SUCCESSOR_MISMATCH, successor_mismatch(evidence), evidence.key)
        for kind in FOUND_BESIDE:
            inquiry.ask(kind, iter(()), evidence.key)
        if not evidence.finals:
            inquiry.doubt(AnomalyKind.LOST_COMMIT, f"no fresh client fetched {evidence.key} in the end")


def _ask_for_linearizations(
    inquiry: _Inquiry, registers: dict[str, OffsetEvidence], search_steps: int, budget: int
) -> None:
    """The second opinion, on the registers that are small enough for it."""
    kind = AnomalyKind.NOT_LINEARIZABLE
    for evidence in registers.values() if search_steps else ():
        found = steps(evidence) if is_searchable(evidence) else []
        if not 0 < len(found) <= search_steps:
            continue
        answer = linearizable(found, budget, inquiry.spent)
        if answer is None:
            inquiry.doubt(kind, f"the search of {evidence.key} ({len(found)} operations) was given up")
            continue
        inquiry.searched += 1
        message = f"no order of its {len(found)} operations explains their answers"
        anomalies = [] if answer else [Anomaly.of(kind, evidence.key, message)]
        inquiry.ask(kind, iter(anomalies), evidence.key)


def _ask_of_groups(
    inquiry: _Inquiry, history: Sequence[Operation], groups: dict[str, GroupEvidence], expectations: Expectations
) -> None:
    for group, told in told_by_group(history).items():
        inquiry.ask(AnomalyKind.DOUBLE_OWNERSHIP, double_assignment(group, told), group)
    for evidence in groups.values():
        for kind, find in GROUP_FINDERS.items():
            inquiry.ask(kind, find(evidence), evidence.key)
    if not expectations.orphan_ms:
        return
    healed = [operation.invoked.time_ns for operation in history if operation.invoked.operation == "healed"]
    ended = [operation.invoked.time_ns for operation in history if operation.invoked.operation == "members_stop"]
    for evidence in groups.values():
        if healed and ended:
            patience_ns = expectations.orphan_ms * 1_000_000
            inquiry.ask(AnomalyKind.ORPHAN, orphan(evidence, healed[-1], ended[-1], patience_ns), evidence.key)
        else:
            inquiry.doubt(AnomalyKind.ORPHAN, "the history does not say when faults or members ended")


def _examined(
    partitions: dict[str, Evidence], registers: dict[str, OffsetEvidence], groups: dict[str, GroupEvidence]
) -> dict[str, int]:
    return {
        "partitions": len(partitions),
        "records sent": sum(len(send.values) for one in partitions.values() for send in one.sends),
        "records read": sum(len(read.records) for one in partitions.values() for read in one.all_reads),
        "registers": len(registers),
        "commits": sum(len(one.commits) for one in registers.values()),
        "fetches": sum(len(one.sights) for one in registers.values()),
        "groups in partitions": len(groups),
        "tenures": sum(len(one.tenures) for one in groups.values()),
        "records processed": sum(
            one.last + 1 - one.first for evidence in groups.values() for one in evidence.processed
        ),
    }
