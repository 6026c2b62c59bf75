"""The suite is not blind: in the control's worlds it finds PySyncObj's loss, and nothing wrong with our own
engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumlog.sim.control import LOSS, SEED_BUDGET, draw_control, options_of
from quorumlog.sim.run import Run
from quorumlog.sim.shrink import shrink


def losing_seed() -> int | None:
    """The first seed of the budget in which PySyncObj loses what it acknowledged."""
    for seed in range(SEED_BUDGET):
        result = Run(options_of(seed, "pysyncobj", control=False)).result()
        if LOSS in {violation.name for violation in result.violations}:
            return seed
    return None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_loss_is_found_within_the_budget_and_our_own_engine_passes_the_same_world() -> None:
    """One seed in five shows it, or so: which ones, changes with everything that draws a random number."""
    seed = losing_seed()
    assert seed is not None, f"PySyncObj loses nothing in {SEED_BUDGET} seeds: the suite has gone blind"
    result = Run(options_of(seed, "raft", control=True)).result()
    assert not result.violations
    assert result.statistics["leaders killed"] >= 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_loss_shrinks_to_one_crash_of_a_leader() -> None:
    """What RAFT.md's story needs, and nothing beside it: the lag is of the queue that the load itself makes."""
    seed = losing_seed()
    assert seed is not None
    shrunk = shrink(options_of(seed, "pysyncobj", control=False), LOSS, budget=60)
    struck = [line for line in shrunk.schedule if " fault leader crash" in line]
    assert len(struck) == 1, shrunk.schedule
    assert shrunk.strikes[0] <= 2


def test_a_world_over_pysyncobj_is_the_same_twice() -> None:
    options = replace(draw_control(3), engine="pysyncobj", duration_ms=1_500)
    assert Run(options).result().trace_hash == Run(options).result().trace_hash


def test_the_controls_weather_keeps_the_order_of_links_and_spares_the_disks() -> None:
    for seed in range(SEED_BUDGET):
        options = draw_control(seed)
        assert set(options.faults) == {"lagging follower", "leader crash"}
        assert (options.loss, options.reorder, options.duplicate, options.resets) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seed_without_a_crash_loses_nothing_with_either_engine(seed: int) -> None:
    """The crash is needed: lag alone costs nothing."""
    for engine in ("raft", "pysyncobj"):
        options = replace(draw_control(seed), engine=engine, faults=("lagging follower",), duration_ms=1_500)
        assert not [found for found in Run(options).result().violations if found.name == LOSS]
