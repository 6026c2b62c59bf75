"""Histories recorded from the simulator, or made, are true; mutated as a broken system would have shown them, they
are false, and for the right reason."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from check.histories import healthy_history
from check.offset_histories import healthy_offsets

from quorumlog.check import Event, Expectations, Verdict, judge, operations
from quorumlog.check.mutators import MUTATORS, OF_OFFSETS, OF_RECORDS, Mutator
from quorumlog.sim.options import Workload, draw
from quorumlog.sim.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

SEEDS = range(12)
#: Each mutator must have found something to mutate in so many of the histories.
LEAST_USED = 2


class Recorded(NamedTuple):
    """What the simulator's clients saw, and what is expected of it."""

    seed: int
    events: Sequence[Event]
    expectations: Expectations


@pytest.fixture(scope="module")
def recorded() -> list[Recorded]:
    return [record(seed) for seed in SEEDS]


def record(seed: int) -> Recorded:
    run = Run(draw(seed, Workload.CONSUMERS))
    run.result()
    return Recorded(seed, run.cluster.recorder.events, run.expectations)


def test_what_the_simulator_recorded_is_true(recorded: list[Recorded]) -> None:
    reports = {one.seed: judge(one.events, one.expectations) for one in recorded}
    assert {seed: report.anomalies for seed, report in reports.items() if report.anomalies} == {}
    assert {seed: report.verdict for seed, report in reports.items()} == dict.fromkeys(SEEDS, Verdict.TRUE)


@pytest.mark.parametrize("mutator", MUTATORS, ids=lambda mutator: mutator.name)
def test_a_mutated_history_shows_what_was_done_to_it(mutator: Mutator, recorded: list[Recorded]) -> None:
    used = 0
    for one in recorded:
        events = mutator.mutate(Random(one.seed), one.events)
        if events is None:
            continue
        used += 1
        # It is still a history that a recorder could have written.
        assert len(operations(events)) > 0
        report = judge(events, one.expectations)
        found = {anomaly.kind for anomaly in report.anomalies}
        assert found & mutator.kinds, f"seed {one.seed}: found {found}"
        assert report.verdict is Verdict.FALSE
    assert used >= LEAST_USED


@pytest.mark.parametrize("mutator", OF_RECORDS, ids=lambda mutator: mutator.name)
def test_a_mutated_made_history_of_records_shows_what_was_done_to_it(mutator: Mutator) -> None:
    _all_found(mutator, [healthy_history(Random(seed), steps=200) for seed in range(10)], Expectations())


@pytest.mark.parametrize("mutator", OF_OFFSETS, ids=lambda mutator: mutator.name)
def test_a_mutated_made_history_of_offsets_shows_what_was_done_to_it(mutator: Mutator) -> None:
    histories = [healthy_offsets(Random(seed), steps=400) for seed in range(10)]
    if mutator.name in ("deny a commit", "commit beyond the end", "replace the record below"):
        assert all(mutator.mutate(Random(1), events) is None for events in histories)
    else:
        _all_found(mutator, histories, Expectations(final_reads=False))


def _all_found(mutator: Mutator, histories: list[list[Event]], expectations: Expectations) -> None:
    used = 0
    for seed, events in enumerate(histories):
        mutated = mutator.mutate(Random(seed), events)
        if mutated is None:
            continue
        used += 1
        found = {anomaly.kind for anomaly in judge(mutated, expectations).anomalies}
        assert found & mutator.kinds, f"seed {seed}: found {found}"
    assert used >= LEAST_USED


def test_no_two_mutators_have_one_name() -> None:
    assert max(Counter(mutator.name for mutator in MUTATORS).values()) == 1
