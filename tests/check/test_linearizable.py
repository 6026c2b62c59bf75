"""The search for a linearization agrees with brute force on every tiny history, and with common sense on others."""

from __future__ import annotations

from itertools import combinations, permutations, product
from random import Random

import pytest
from check.offset_histories import OffsetScript, healthy_offsets

from quorumlog.check import AnomalyKind, Expectations, judge, operations
from quorumlog.check.history import NEVER
from quorumlog.check.linearizable import State, Step, is_searchable, linearizable, next_state, steps
from quorumlog.check.offset_evidence import gather_offsets


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


def _legal(order: tuple[Step, ...]) -> bool:
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
]


def shapes(count: int) -> list[list[tuple[int, int]]]:
    """Every way in which the beginnings and ends of so many operations may be interleaved, with the beginnings in
    order; an end may also never come."""
    found = set()
    for order in permutations(range(2 * count)):
        places = [(order[2 * number], order[2 * number + 1]) for number in range(count)]
        begins = [began for began, _ in places]
        if begins == sorted(begins) and all(began < ended for began, ended in places):
            found.add(tuple(places))
    return [list(places) for places in sorted(found)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_search_agrees_with_brute_force_on_all_tiny_histories(count: int) -> None:
    verdicts = {True: 0, False: 0}
    for shape in shapes(count):
        for chosen in product(ALPHABET, repeat=count):
            history = [
                Step(began, ended, kind, epoch, value)
                for (began, ended), (kind, epoch, value) in zip(shape, chosen, strict=True)
            ]
            for last in (history[-1], history[-1]._replace(returned=NEVER)):
                wanted = sorted([*history[:-1], last])
                verdict = brute_force(wanted)
                verdicts[verdict] += 1
                assert linearizable(wanted) is verdict, wanted
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


def test_a_search_that_spends_its_budget_does_not_know() -> None:
    events = healthy_offsets(Random(3), steps=120)
    evidence = next(iter(gather_offsets(operations(events)).values()))
    assert linearizable(steps(evidence), budget=5) is None


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
