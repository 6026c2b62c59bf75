"""What a run must have shown for its verdict to mean anything: a run that tested nothing is green as well.

Etcd's robustness tests and Jepsen both learned this from green runs in which every operation had failed, or the
fault had hit nobody. So a run says beforehand what it expects of itself, in a form that is kept beside its history
(JSON): who judges it again years later asks the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from quorumlog.check.history import NEVER, EventType, Operation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from quorumlog.check.evidence import Evidence
    from quorumlog.check.groups import GroupEvidence


class MalformedExpectations(Exception):
    """What was read is no expectations; the message is one line."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """See the module; the default expects a complete final read and nothing else."""

    ok: dict[str, int] = field(default_factory=dict)
    """The least numbers of successful operations by name, over all keys."""
    amid: dict[str, int] = field(default_factory=dict)
    """The same of those alone that were invoked after the first fault began and had succeeded before everything was
    ``healed`` (or the last fault ended, if nothing says so); of reads, only those that brought a record."""
    effects: tuple[str, ...] = ()
    """Names of faults of which at least one must have had an observable effect."""
    failovers: int = 0
    """So many elections must have been seen while faults lasted."""
    final_reads: bool = True
    """Every partition has been read to its end by a fresh client."""
    retention: frozenset[str] = frozenset()
    """The partitions that may drop their oldest records."""
    orphan_ms: int = 0
    """No partition of a group may be without an owner for longer after the last ``healed`` of the history; 0: not
    asked."""
    search_steps: int = 0
    """Registers with at most so many operations are searched for a linearization as well."""

    def to_json(self) -> dict[str, Any]:
        """What ``from_json`` reads; only what is not as it is by default."""
        plain = asdict(self) | {"effects": list(self.effects), "retention": sorted(self.retention)}
        usual = asdict(Expectations()) | {"effects": [], "retention": []}
        return {name: value for name, value in plain.items() if value != usual[name]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Expectations:
        """Raises MalformedExpectations for a name or a value that ``to_json`` cannot have written: to expect less
        than was written would make a verdict of nothing."""
        known = {one.name for one in fields(cls)}
        if unknown := sorted(set(found) - known):
            raise MalformedExpectations(f"nobody knows how to expect {', '.join(unknown)}")
        for name, value in found.items():
            if not _fits(name, value):
                raise MalformedExpectations(f"{name} cannot be {value!r}")
        return cls(
            **{
                **found,
                "effects": tuple(found.get("effects", ())),
                "retention": frozenset(found.get("retention", ())),
            }
        )


def _fits(name: str, value: Any) -> bool:
    if name in ("ok", "amid"):
        return isinstance(value, dict) and all(
            isinstance(key, str) and type(least) is int for key, least in value.items()
        )
    if name in ("effects", "retention"):
        return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    if name == "final_reads":
        return isinstance(value, bool)
    return type(value) is int and value >= 0


def shortfalls(
    expectations: Expectations,
    history: Sequence[Operation],
    partitions: Mapping[str, Evidence],
    groups: Mapping[str, GroupEvidence],
) -> Iterator[str]:
    """Why the run may have proved nothing, a line each."""
    faults = [operation for operation in history if operation.invoked.operation == "fault"]
    yield from _too_few(expectations, history, faults)
    yield from _without_effect(expectations, faults)
    if expectations.final_reads:
        for key, evidence in partitions.items():
            if not evidence.complete_finals():
                yield f"{key} was not read to its end"
        if not partitions:
            yield "no partition was used"
    yield from _idle_groups(history, groups)


def _too_few(
    expectations: Expectations, history: Sequence[Operation], faults: Sequence[Operation]
) -> Iterator[str]:
    first = min((fault.invoked.index for fault in faults), default=NEVER)
    healed = [operation.invoked.index for operation in history if operation.invoked.operation == "healed"]
    last = max(healed or (fault.returned for fault in faults), default=-1)
    elections = 0
    succeeded: dict[str, int] = {}
    amid: dict[str, int] = {}
    for operation in history:
        completed = operation.completed
        if completed is None or completed.type is not EventType.OK:
            continue
        name = completed.operation
        succeeded[name] = succeeded.get(name, 0) + 1
        if name == "elections":
            elections += completed.value["count"]
        if operation.invoked.index > first and completed.index < last and _brought_something(operation):
            amid[name] = amid.get(name, 0) + 1
    for name, least in expectations.ok.items():
        if succeeded.get(name, 0) < least:
            yield f"{succeeded.get(name, 0)} {name} operations succeeded; {least} are needed"
    for name, least in expectations.amid.items():
        if amid.get(name, 0) < least:
            yield f"{amid.get(name, 0)} {name} operations succeeded while there were faults; {least} are needed"
    if elections < expectations.failovers:
        yield f"{elections} leaders were elected while there were faults; {expectations.failovers} are needed"


def _brought_something(operation: Operation) -> bool:
    completed = operation.completed
    return completed is None or completed.operation != "read" or bool(completed.value["batches"])


def _without_effect(expectations: Expectations, faults: Sequence[Operation]) -> Iterator[str]:
    effects: dict[str, int] = {}
    for fault in faults:
        effect = fault.completed.value["effect"] if fault.completed and fault.type is EventType.OK else 0
        effects[fault.invoked.key] = effects.get(fault.invoked.key, 0) + int(effect)
    for name in expectations.effects:
        if name not in effects:
            yield f"the fault {name!r} never struck"
        elif not effects[name]:
            yield f"the fault {name!r} had no observable effect"


def _idle_groups(history: Sequence[Operation], groups: Mapping[str, GroupEvidence]) -> Iterator[str]:
    """Groups whose members were given partitions and did nothing with any; and owners whose takeover the history
    lacks, so that nobody can say where they should have begun."""
    given: dict[str, bool] = {}
    for operation in history:
        if operation.invoked.operation == "assigned":
            group = operation.invoked.key
            given[group] = given.get(group, False) or bool(operation.invoked.value["partitions"])
    busy = {key.partition("@")[0] for key, evidence in groups.items() if evidence.processed}
    for group in (group for group, something in given.items() if something and group not in busy):
        yield f"the members of {group} were given partitions and processed nothing"
    for key, evidence in groups.items():
        taken = {acquired.epoch for acquired in evidence.offsets.acquisitions}
        if strange := sorted({one.epoch for one in evidence.begun} - taken):
            yield f"{key} was processed under epoch {strange[0]}, and nobody was seen to acquire it"
