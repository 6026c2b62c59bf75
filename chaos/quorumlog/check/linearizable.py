"""A full search for a linearization of one register: the second opinion on small histories.

The finders of ``quorumlog.check.offsets`` trust versions; this one does not look at them. It asks Herlihy and
Wing's question outright: is there an order of all operations, in keeping with real time, in which a plain register
with an owner would have given these answers? Operations of unknown outcome may stand anywhere after their
beginning, or nowhere.

The search is Wing and Gong's with Lowe's memory: what has been tried is a set of (operations done, state), and no
such pair is tried twice. Three things that this register makes plain keep it short: a fetch that is right is never
put off, an operation that can no longer happen ends its branch (or is dropped, if it need not have happened), and
what is done is told from where it begins to be ragged. So it is linear where little overlaps. It is exponential at
worst all the same; so it has a budget, and then says that it does not know.

Prior art: Wing and Gong, "Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for linearizability"
(2017); Porcupine and Knossos. Tests hold it against brute force on all tiny histories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quorumlog.check.history import NEVER, EventType
from quorumlog.check.offset_evidence import NO_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from quorumlog.check.offset_evidence import OffsetEvidence, Stored

#: How many pairs of (operations done, state) are tried before the answer is "unknown".
BUDGET = 50_000

#: So many pairs are tried between two looks at the clock.
_ASK_EVERY = 256

#: What is stored: (offset, token); None for nothing.
Value = tuple[int, str] | None


class State(NamedTuple):
    """The register: the newest owner epoch, and what is stored. After a takeover of which nobody learned the epoch
    it is half of one above the last that is known: no commit is of it."""

    epoch: float
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
    if kind == "seize":
        return State(int(epoch) + 0.5, value)
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
    found += _without_answer(evidence)
    return sorted(found)


def _without_answer(evidence: OffsetEvidence) -> Iterator[Step]:
    """Acquires that may have taken over without anybody's learning of it. One that did may have stored a start as
    well: that is seen, as an offset that neither a commit nor a reset has set, or it does not matter."""
    resets = {reset.offset for reset in evidence.resets if reset.operation.type is not EventType.FAIL}
    starts = {
        sight.stored.offset
        for sight in evidence.sights
        if sight.stored is not None and sight.stored.token == NO_TOKEN and sight.stored.offset not in resets
    }
    for attempt in evidence.attempts:
        if attempt.type is EventType.INFO:
            began = attempt.invoked.index
            yield Step(began, NEVER, "seize", 0, None)
            for start in sorted(starts):
                yield Step(began, NEVER, "pin", 0, (start, NO_TOKEN))


def is_searchable(evidence: OffsetEvidence) -> bool:
    """Whether ``steps`` knows all that may have happened: an Acquire that was forced may, in a sending whose answer
    was lost, have gone back to anywhere."""
    return not any(
        attempt.invoked.value.get("force") and attempt.type is not EventType.FAIL for attempt in evidence.attempts
    )


def linearizable(
    operations: Sequence[Step], budget: int = BUDGET, spent: Callable[[], bool] = lambda: False
) -> bool | None:
    """Whether there is an order; None if ``budget`` pairs were tried, or the time was ``spent``, before that was
    known. ``operations`` are in order of their invocations."""
    left = sum(step.returned < NEVER for step in operations)
    tried: set[tuple[_Done, State]] = set()
    open_: list[tuple[_Done, int, State]] = [(_Done(0, 0), left, State(0, None))]
    while open_:
        done, left, state = open_.pop()
        if not left:
            return True
        looked = _look(operations, done, state)
        if looked is None:
            continue
        done, candidates = looked
        if (done, state) in tried:
            continue
        if len(tried) >= budget or (not len(tried) % _ASK_EVERY and spent()):
            return None
        tried.add((done, state))
        for place, step in candidates:
            after = next_state(state, step)
            if after is not None:
                open_.append((done.and_also(place), left - (step.returned < NEVER), after))
    return False


class _Done(NamedTuple):
    """Which operations are done with: all before ``base``, and those whose bits ``mask`` has, counted from there.
    So two ways to one point are the same however long the history is."""

    base: int
    mask: int

    def and_also(self, place: int) -> _Done:
        base, mask = self.base, self.mask | 1 << (place - self.base)
        while mask & 1:
            base += 1
            mask >>= 1
        return _Done(base, mask)


def _look(operations: Sequence[Step], done: _Done, state: State) -> tuple[_Done, list[tuple[int, Step]]] | None:
    """The operations that may come next, the most likely last: nothing that is not done had returned when they were
    invoked. Those that need not come and no longer can are done with. None if one that must come no longer can."""
    waiting: list[tuple[int, Step]] = []
    first_return = NEVER
    for place in range(done.base, len(operations)):
        step = operations[place]
        if step.invoked > first_return:
            break
        if place < done.base or done.mask >> (place - done.base) & 1:
            continue
        if _never_again(state, step):
            if step.returned < NEVER:
                return None
            done = done.and_also(place)
            continue
        first_return = min(first_return, step.returned)
        waiting.append((place, step))
    candidates = [one for one in waiting if one[1].invoked < first_return]
    for one in candidates:
        # A fetch that is right here may as well stand here: it changes nothing, and whatever order puts it later
        # remains an order without it there.
        if one[1].kind == "fetch" and one[1].value == state.value:
            return done, [one]
    # Those that began first are tried first, and before those that may never have happened: nearly always right.
    candidates.sort(key=lambda one: (one[1].returned < NEVER, -one[0]))
    return done, candidates


def _never_again(state: State, step: Step) -> bool:
    """Whatever follows, the register will not answer so any more: epochs never go back, nor does what is stored to
    nothing."""
    if step.kind == "fetch":
        return step.value is None and state.value is not None
    if step.kind == "acquire":
        return step.epoch < state.epoch or (step.value is None and state.value is not None)
    if step.kind == "commit":
        return step.epoch < state.epoch
    return step.kind == "pin" and state.value is not None


def _value(stored: Stored | None) -> Value:
    return None if stored is None else (stored.offset, stored.token)
