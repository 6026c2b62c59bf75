"""The search for a linearization agrees with brute force on every tiny history, and with common sense on others."""

from __future__ import annotations

from itertools import combinations, permutations, product
from random import Random
from typing import TYPE_CHECKING

import pytest
from check.offset_histories import OffsetScript, healthy_offsets

from quorumlog.check import AnomalyKind, EventType, Expectations, judge, operations
from quorumlog.check.history import NEVER
from quorumlog.check.linearizable import State, Step, is_searchable, linearizable, next_state, steps
from quorumlog.check.offset_evidence import gather_offsets

if TYPE_CHECKING:
    from collections.abc import Sequence


def brute_force(history: list[Step]) -> bool:
    """Every subset of what may not have happened, in every order: is one of them in keeping with real time and with
    the register?"""
    required = [step for step in history if step.returned < NEVER]
    optional = [step for step in history if step.returned == NEVER]
    for count in range(len(optional) + 1):
        for chosen in combinations(optional, count):
            for order in permutations([*required, *chosen]):
                if _in_real_time(order) and _legal(order):
                    return True
    return False


def _in_real_time(order: tuple[Step, ...]) -> bool:
    return not any(
        later.returned < earlier.invoked for place, earlier in enumerate(order) for later in order[place + 1 :]
    )


def _legal(order: Sequence[Step]) -> bool:
    state: State | None = State(0, None)
    for step in order:
        if state is None:
            return False
        state = next_state(state, step)
    return state is not None


#: What may be done and answered: (kind, epoch, value).
ALPHABET = [
    ("acquire", 1, None),
    ("acquire", 2, (1, "a")),
    ("commit", 1, (1, "a")),
    ("commit", 1, (2, "b")),
    ("commit", 2, (2, "b")),
    ("fetch", 0, None),
    ("fetch", 0, (1, "a")),
    ("fetch", 0, (2, "b")),
    ("pin", 1, (1, "")),
    ("reset", 0, (0, "")),
    ("seize", 0, None),
]


#: Enough of it for four operations: owners, a commit, what may be seen, and a way back.
SHORT_ALPHABET = [ALPHABET[place] for place in (0, 1, 2, 6, 9, 10)]

#: When operations begin and end, in order of their beginnings; an end may be NEVER.
Shape = tuple[tuple[int, int], ...]


def shapes(count: int) -> list[Shape]:
    """Every way in which the beginnings and ends of so many operations may be interleaved, and every set of them
    that never ends."""
    found = set()
    for order in permutations(range(2 * count)):
        places = [(order[2 * number], order[2 * number + 1]) for number in range(count)]
        begins = [began for began, _ in places]
        if begins == sorted(begins) and all(began < ended for began, ended in places):
            for lasting in product((False, True), repeat=count):
                found.add(
                    tuple(
                        (began, NEVER if forever else ended)
                        for (began, ended), forever in zip(places, lasting, strict=True)
                    )
                )
    return sorted(found)


def orders(shape: Shape) -> list[tuple[int, ...]]:
    """Every subset of what may not have happened, in every order: those in keeping with real time."""
    required = [place for place, (_, ended) in enumerate(shape) if ended < NEVER]
    optional = [place for place, (_, ended) in enumerate(shape) if ended == NEVER]
    return [
        order
        for count in range(len(optional) + 1)
        for chosen in combinations(optional, count)
        for order in permutations([*required, *chosen])
        if not any(
            shape[later][1] < shape[earlier][0]
            for place, earlier in enumerate(order)
            for later in order[place + 1 :]
        )
    ]


def distinct(found: list[Shape]) -> list[Shape]:
    """One shape of each real-time order: which operations may stand before which, and which need not stand."""
    kinds: dict[object, Shape] = {}
    for shape in found:
        before = frozenset(
            (one, other)
            for one, (_, ended) in enumerate(shape)
            for other, (began, _) in enumerate(shape)
            if ended < began
        )
        kinds.setdefault((before, tuple(ended == NEVER for _, ended in shape)), shape)
    return list(kinds.values())


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_search_agrees_with_brute_force_on_all_tiny_histories(count: int) -> None:
    """Of up to three operations every history over the whole alphabet; of four, every real-time order over a
    shorter one."""
    verdicts = {True: 0, False: 0}
    alphabet = ALPHABET if count < 4 else SHORT_ALPHABET
    for shape in shapes(count) if count < 4 else distinct(shapes(count)):
        allowed = orders(shape)
        for chosen in product(alphabet, repeat=count):
            history = [
                Step(began, ended, kind, epoch, value)
                for (began, ended), (kind, epoch, value) in zip(shape, chosen, strict=True)
            ]
            verdict = any(_legal([history[place] for place in order]) for order in allowed)
            verdicts[verdict] += 1
            assert linearizable(history) is verdict, history
    assert min(verdicts.values()) > 0


def test_the_search_agrees_with_brute_force_on_histories_of_five() -> None:
    random = Random(1)
    found = {True: 0, False: 0}
    for _ in range(1500):
        moments = random.sample(range(40), 10)
        history = []
        for number in range(5):
            began, ended = sorted(moments[2 * number : 2 * number + 2])
            kind, epoch, value = random.choice(ALPHABET)
            history.append(Step(began, ended if random.random() < 0.6 else NEVER, kind, epoch, value))
        verdict = brute_force(sorted(history))
        found[verdict] += 1
        assert linearizable(sorted(history)) is verdict, history
    assert min(found.values()) > 50


def searched(script: OffsetScript) -> bool | None:
    evidence = gather_offsets(operations(script.events))
    return linearizable(steps(next(iter(evidence.values()))))


def test_a_register_that_is_read_and_written_in_order_is_linearizable() -> None:
    script = OffsetScript()
    script.acquire(1, 1, None)
    script.commit(1, 3, 10, "a")
    script.fetch(5, (3, 10, "a"))
    script.acquire(2, 2, (3, 10, "a"))
    script.commit(2, 4, 11, "b", epoch=2)
    script.fetch(5, (4, 11, "b"))
    assert searched(script) is True


@pytest.mark.parametrize("wrong", ["stale", "none", "zombie", "regress", "fork"])
def test_what_the_finders_call_an_anomaly_has_no_linearization(wrong: str) -> None:
    script = OffsetScript()
    script.acquire(1, 1, None)
    script.commit(1, 3, 10, "a")
    script.commit(1, 5, 11, "b")
    if wrong == "stale":
        script.fetch(5, (3, 10, "a"))
    elif wrong == "none":
        script.fetch(5, None)
    elif wrong == "zombie":
        script.acquire(2, 2, (5, 11, "b"))
        script.commit(1, 6, 12, "c", epoch=1)
    elif wrong == "regress":
        script.commit(1, 4, 12, "c")
    else:
        script.commit(1, 6, None, "c")
        script.fetch(5, (6, 12, "c"))
        script.fetch(6, (5, 11, "b"))
    assert searched(script) is False


@pytest.mark.parametrize("seed", range(40))
def test_what_a_correct_system_shows_is_linearizable(seed: int) -> None:
    events = healthy_offsets(Random(seed), steps=120, resets=seed % 2 == 0)
    evidence = next(iter(gather_offsets(operations(events)).values()))
    assert is_searchable(evidence)
    assert linearizable(steps(evidence)) is True


def test_a_takeover_that_nobody_learned_of_may_have_fenced_the_owner_and_stored_a_start() -> None:
    script = OffsetScript()
    script.acquire(1, 1, (4, 2, ""))
    script.commit(1, 5, 10, "a")
    script.does(2, "acquire", {"start": ["EARLIEST", 0]}, EventType.INFO)
    script.commit(1, 6, None, "b", kind=EventType.FAIL)
    script.fetch(5, (5, 10, "a"))
    assert searched(script) is True
    # It may also not have been carried out; but it cannot have fenced the owner and let it go on.
    script.commit(1, 6, 11, "c")
    assert searched(script) is True
    seized = [Step(0, 1, "acquire", 1, None), Step(2, 3, "seize", 0, None), Step(4, 5, "commit", 1, (5, "a"))]
    assert linearizable(seized) is False


def test_registers_in_which_somebody_was_forced_back_are_not_searched_unless_nothing_came_of_it() -> None:
    for kind, searchable in ((EventType.INFO, False), (EventType.FAIL, True)):
        script = OffsetScript()
        script.acquire(1, 1, None)
        script.does(2, "acquire", {"start": ["EARLIEST", 0], "force": True}, kind)
        evidence = next(iter(gather_offsets(operations(script.events)).values()))
        assert is_searchable(evidence) is searchable


def test_a_search_that_spends_its_budget_does_not_know() -> None:
    events = healthy_offsets(Random(3), steps=120)
    evidence = next(iter(gather_offsets(operations(events)).values()))
    assert linearizable(steps(evidence), budget=5) is None


def test_a_search_among_many_unknown_outcomes_is_right_or_does_not_know() -> None:
    """Nothing tells which of these resets happened, so that all sets of them are to be tried; one of the answers no
    set of them explains."""
    resets = [Step(number, NEVER, "reset", 0, (number, "")) for number in range(12)]
    explained = [*resets, Step(20, 21, "fetch", 0, (7, "")), Step(22, 23, "fetch", 0, (3, ""))]
    assert linearizable(explained, budget=10_000) is True
    unexplained = [*explained, Step(24, 25, "fetch", 0, (7, ""))]
    assert linearizable(unexplained, budget=10_000) is None
    assert linearizable([*unexplained[3:4], *unexplained[6:8], *unexplained[12:]]) is False


def test_a_long_history_of_little_overlap_is_searched_in_about_as_many_tries_as_it_has_operations() -> None:
    events = healthy_offsets(Random(5), steps=3_000)
    found = steps(next(iter(gather_offsets(operations(events)).values())))
    assert len(found) > 1_000
    assert linearizable(found, budget=2 * len(found)) is True


def test_the_search_is_a_second_opinion_that_has_to_be_asked_for() -> None:
    script = OffsetScript()
    script.acquire(1, 1, None)
    script.commit(1, 3, 10, "a")
    script.fetch(5, None)
    asked = judge(script.events, Expectations(final_reads=False, search_steps=10))
    assert {anomaly.kind for anomaly in asked.anomalies} == {
        AnomalyKind.SPURIOUS_NONE,
        AnomalyKind.NOT_LINEARIZABLE,
    }
    not_asked = judge(script.events, Expectations(final_reads=False, search_steps=2))
    assert {anomaly.kind for anomaly in not_asked.anomalies} == {AnomalyKind.SPURIOUS_NONE}
