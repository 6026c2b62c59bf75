"""What a history says about one (group, partition), arranged so that every offset anomaly is one pass over it.

Each such pair is one register (CHAOS.md §2). A commit carries a token that no other has, and every answer carries
the version that it saw, which grows with every change; so nothing has to be searched: whoever saw version 7 saw
what version 7 is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from quorumlog.check.history import EventType, Operation, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Set by a reset, or by the first Acquire of a group, which pins its start: no commit made it.
NO_TOKEN = ""


class Stored(NamedTuple):
    """What was said to be stored."""

    offset: int
    version: int
    token: str


class Commit(NamedTuple):
    """One commit. ``version`` only if it was acknowledged. ``below`` is the value of the record before ``offset``,
    None if the committer did not say."""

    operation: Operation
    offset: int
    epoch: int
    token: str
    below: Value | None
    version: int | None


class Sight(NamedTuple):
    """Somebody was told what is stored (None: nothing). ``floor``: an answer as of this version was enough; None
    for the linearizable one. ``epoch``: the owner epoch told, 0 if nobody ever owned it or it was not said."""

    operation: Operation
    stored: Stored | None
    epoch: int
    floor: int | None
    final: bool

    @property
    def version(self) -> int:
        return 0 if self.stored is None else self.stored.version


class Acquisition(NamedTuple):
    """An Acquire that was granted; ``offset`` is where the owner is to begin, for ``reason``."""

    operation: Operation
    epoch: int
    offset: int
    reason: str
    rule: tuple[str, int]
    stored: Stored | None
    log_start: int
    log_end: int
    released: bool

    @property
    def stored_version(self) -> int:
        return 0 if self.stored is None else self.stored.version


class Reset(NamedTuple):
    """A reset to ``offset``; ``version`` only if it was told. An Acquire is one too when it begins below what was
    stored, by force or by a policy; one of unknown outcome that was forced may have gone back anywhere (``offset``
    0)."""

    operation: Operation
    offset: int
    version: int | None


class Fate(NamedTuple):
    """Somebody was told what became of the commit with ``token``; ``version`` is its own, 0 if it never
    happened."""

    operation: Operation
    token: str
    fate: str
    version: int


class Witness(NamedTuple):
    """``operation`` shows that ``version`` exists and holds ``offset``, set by the commit with ``token``."""

    version: int
    offset: int
    token: str
    operation: Operation


@dataclass(slots=True)
class OffsetEvidence:
    """What is known about one (group, partition). ``partition`` is the key of the partition's records."""

    key: str
    partition: str
    commits: list[Commit] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    acquisitions: list[Acquisition] = field(default_factory=list)
    attempts: list[Operation] = field(default_factory=list)
    """Every Acquire, whatever became of it."""
    resets: list[Reset] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)

    @property
    def finals(self) -> list[Sight]:
        """What fresh clients were told after everything."""
        return [sight for sight in self.sights if sight.final]

    def witnesses(self) -> Iterator[Witness]:
        """Every (version, offset, token) that anybody was told: acknowledgements, then what was seen."""
        for commit in self.commits:
            if commit.version is not None:
                yield Witness(commit.version, commit.offset, commit.token, commit.operation)
        for reset in self.resets:
            if reset.version is not None:
                yield Witness(reset.version, reset.offset, NO_TOKEN, reset.operation)
        for sight in self.sights:
            if sight.stored is not None:
                yield Witness(sight.stored.version, sight.stored.offset, sight.stored.token, sight.operation)

    def effective(self) -> list[tuple[int, Commit]]:
        """(version, commit) of every commit that certainly took effect, because it was acknowledged or seen; in
        order of version."""
        seen = {
            sight.stored.token: sight.stored.version
            for sight in self.sights
            if sight.stored is not None and sight.stored.token != NO_TOKEN
        }
        seen |= {fate.token: fate.version for fate in self.fates if fate.version}
        versions = ((commit.version or seen.get(commit.token), commit) for commit in self.commits)
        return sorted(((version, commit) for version, commit in versions if version), key=lambda found: found[0])


def register_key(group: str, partition: str) -> str:
    """How the history names the register of a group in a partition, whose own name is ``partition``."""
    return f"{group}@{partition}"


def partition_of(key: str) -> str:
    """The partition of a register."""
    return key.partition("@")[2]


def gather_offsets(history: Iterable[Operation]) -> dict[str, OffsetEvidence]:
    """Evidence per (group, partition), in order of first appearance."""
    registers: dict[str, OffsetEvidence] = {}
    for operation in history:
        invoked = operation.invoked
        take = _TAKERS.get(invoked.operation)
        if take is None:
            continue
        evidence = registers.get(invoked.key)
        if evidence is None:
            evidence = registers[invoked.key] = OffsetEvidence(invoked.key, partition_of(invoked.key))
        take(evidence, operation)
    return registers


def _answer(operation: Operation) -> Any:
    """What the operation was answered; None unless it was ok."""
    completed = operation.completed
    return completed.value if completed is not None and completed.type is EventType.OK else None


def _stored(told: list[Any] | None) -> Stored | None:
    return None if told is None else Stored(*told)


def _take_commit(evidence: OffsetEvidence, operation: Operation) -> None:
    asked, answer = operation.invoked.value, _answer(operation)
    evidence.commits.append(
        Commit(
            operation,
            asked["offset"],
            asked["epoch"],
            asked["token"],
            asked.get("below"),
            None if answer is None else answer["version"],
        )
    )


def _take_fetch(evidence: OffsetEvidence, operation: Operation) -> None:
    answer = _answer(operation)
    if answer is not None:
        invoked = operation.invoked
        final = invoked.operation == "final_fetch"
        evidence.sights.append(
            Sight(operation, _stored(answer["stored"]), answer.get("epoch", 0), invoked.value, final)
        )


def _take_acquire(evidence: OffsetEvidence, operation: Operation) -> None:
    evidence.attempts.append(operation)
    answer = _answer(operation)
    if answer is None:
        if operation.invoked.value.get("force"):
            evidence.resets.append(Reset(operation, 0, None))
        return
    stored = _stored(answer["stored"])
    # One that was forced may have gone back in a sending whose answer was lost: then it finds its own reset stored.
    forced = bool(operation.invoked.value.get("force"))
    if stored is not None and (answer["offset"] < stored.offset or forced):
        evidence.resets.append(Reset(operation, answer["offset"], None))
    evidence.sights.append(Sight(operation, stored, answer["epoch"], None, final=False))
    rule, value = operation.invoked.value["start"]
    evidence.acquisitions.append(
        Acquisition(
            operation,
            answer["epoch"],
            answer["offset"],
            answer["reason"],
            (rule, value),
            stored,
            answer["log_start"],
            answer["log_end"],
            answer["released"],
        )
    )


def _take_reset(evidence: OffsetEvidence, operation: Operation) -> None:
    answer = _answer(operation)
    evidence.resets.append(
        Reset(operation, operation.invoked.value["offset"], None if answer is None else answer["version"])
    )


def _take_fate(evidence: OffsetEvidence, operation: Operation) -> None:
    answer = _answer(operation)
    if answer is not None:
        evidence.fates.append(Fate(operation, operation.invoked.value["token"], answer["fate"], answer["version"]))


_TAKERS = {
    "commit": _take_commit,
    "fetch": _take_fetch,
    "final_fetch": _take_fetch,
    "acquire": _take_acquire,
    "reset": _take_reset,
    "resolve": _take_fate,
}
