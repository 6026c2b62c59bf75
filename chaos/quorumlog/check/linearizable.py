"""A full search for a linearization of one register: the second opinion on small histories.

The finders of ``quorumlog.check.offsets`` trust versions; this one does not look at them. It asks Herlihy and
Wing's question outright: is there an order of all operations, in keeping with real time, in which a plain register
with an owner would have given these answers? Operations of unknown outcome may stand anywhere after their
beginning, or nowhere.

The search is Wing and Gong's with Lowe's memory: what has been tried is a set of (operations done, state), and no
such pair is tried twice. It is exponential at worst, so it has a budget and then says that it does not know.

Prior art: Wing and Gong, "Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for linearizability"
(2017); Porcupine and Knossos. Tests hold it against brute force on all tiny histories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quorumlog.check.history import NEVER, EventType
from quorumlog.check.offset_evidence import NO_TOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.check.offset_evidence import OffsetEvidence, Stored

#: How many pairs of (operations done, state) are tried before the answer is "unknown".
BUDGET = 20_000

#: What is stored: (offset, token); None for nothing.
Value = tuple[int, str] | None


class State(NamedTuple):
    """The register: the newest owner epoch, and what is stored."""

    epoch: int
    value: Value


class Step(NamedTuple):
    """One operation with the answer it got, as the register sees it. ``returned`` is NEVER for those that may never
    have happened. ``value`` is what an acquire or a fetch found, or what another operation sets."""

    invoked: int
    returned: int
    kind: str
    epoch: int
    value: Value


def next_state(state: State, step: Step) -> State | None:
    """The state after ``step``; None if the register would not have answered so."""
    epoch, value = state
    kind = step.kind
    if kind == "fetch":
        return state if value == step.value else None
    if kind == "acquire":
        return State(step.epoch, value) if step.epoch >= epoch and value == step.value else None
    if kind == "commit":
        wanted = step.value
        if step.epoch != epoch or wanted is None or (value is not None and wanted[0] < value[0]):
            return None
        return State(epoch, wanted)
    if kind == "pin":
        return State(epoch, step.value) if value is None else None
    # A reset, whoever owns it.
    return State(epoch, step.value)


def steps(evidence: OffsetEvidence) -> list[Step]:
    """What is known of one register, as operations on it; those that certainly had no effect are left out.

    An Acquire is up to two operations: it takes over, and it may then store the start that it resolved.
    """
    found: list[Step] = []
    for commit in evidence.commits:
        operation = commit.operation
        if operation.type is not EventType.FAIL:
            value = (commit.offset, commit.token)
            found.append(Step(operation.invoked.index, operation.returned, "commit", commit.epoch, value))
    for reset in evidence.resets:
        operation = reset.operation
        if operation.invoked.operation == "reset" and operation.type is not EventType.FAIL:
            found.append(Step(operation.invoked.index, operation.returned, "reset", 0, (reset.offset, NO_TOKEN)))
    for sight in evidence.sights:
        if sight.floor is None and sight.operation.invoked.operation != "acquire":
            operation = sight.operation
            found.append(Step(operation.invoked.index, operation.returned, "fetch", 0, _value(sight.stored)))
    for acquired in evidence.acquisitions:
        operation = acquired.operation
        began, ended = operation.invoked.index, operation.returned
        found.append(Step(began, ended, "acquire", acquired.epoch, _value(acquired.stored)))
        start = (acquired.offset, NO_TOKEN)
        if acquired.stored is None:
            found.append(Step(began, NEVER, "pin", acquired.epoch, start))
        elif acquired.stored.token == NO_TOKEN:
            # Perhaps by itself, in a sending whose answer was lost.
            found.append(Step(began, NEVER, "pin", acquired.epoch, _value(acquired.stored)))
        if acquired.stored is not None and acquired.offset < acquired.stored.offset:
            found.append(Step(began, NEVER, "reset", 0, start))
    return sorted(found)


def is_searchable(evidence: OffsetEvidence) -> bool:
    """Whether ``steps`` knows all that may have happened: an Acquire without an answer may have pinned any start,
    and one that was forced may, in a sending whose answer was lost, have gone back to any."""
    forced = any(attempt.invoked.value.get("force") for attempt in evidence.attempts)
    return not forced and len(evidence.acquisitions) == len(evidence.attempts)


def linearizable(operations: Sequence[Step], budget: int = BUDGET) -> bool | None:
    """Whether there is an order; None if the budget was spent before one was found."""
    required = sum(1 << place for place, step in enumerate(operations) if step.returned < NEVER)
    tried: set[tuple[int, State]] = set()
    open_: list[tuple[int, State]] = [(0, State(0, None))]
    while open_:
        pair = open_.pop()
        done, state = pair
        if done & required == required:
            return True
        if pair in tried:
            continue
        if len(tried) >= budget:
            return None
        tried.add(pair)
        for place, step in _candidates(operations, done):
            after = next_state(state, step)
            if after is not None:
                open_.append((done | 1 << place, after))
    return False


def _candidates(operations: Sequence[Step], done: int) -> list[tuple[int, Step]]:
    """Those that may come next: nothing that is not done had returned when they were invoked. The last in the list
    are tried first: those that began first, which is nearly always right."""
    waiting: list[tuple[int, Step]] = []
    first_return = NEVER
    for place, step in enumerate(operations):
        if step.invoked > first_return:
            break
        if not done >> place & 1:
            first_return = min(first_return, step.returned)
            waiting.append((place, step))
    return [one for one in reversed(waiting) if one[1].invoked < first_return]


def _value(stored: Stored | None) -> Value:
    return None if stored is None else (stored.offset, stored.token)
