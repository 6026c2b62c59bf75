"""Planted bugs are found; the intact system passes the very seeds they are found in."""

from __future__ import annotations

import pytest

from quorumlog.sim.mutants import MUTANTS, options_for, planted, run_mutated
from quorumlog.sim.run import run_seed

#: Bugs that show quickly enough to be hunted with every run of the tests; ``quorumlog sim mutants`` hunts them all.
QUICK = [
    "ack before fsync",
    "truncate on any append",
    "vote not persisted",
    "vote twice in a term",
    "fsync left out",
    "owner epoch unchecked",
    "commit applied in arrival order",
    "offset map missing from a checkpoint",
    "none during recovery",
    "commit acknowledged before Raft commit",
    "stale-leader fetch",
    "one partition to two members",
    "auto-commit before processing",
]
SEEDS = 40


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found_and_the_intact_system_passes_the_same_seed(name: str) -> None:
    expected = MUTANTS[name].expected
    for seed in range(SEEDS):
        if any(found.name in expected for found in run_mutated(name, seed).violations):
            break
    else:
        pytest.fail(f"{name} was not found in {SEEDS} seeds")
    assert run_seed(seed, options_for(name, seed)).violations == ()


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_planted_bug_is_gone_when_its_run_is_over(name: str) -> None:
    mutant = MUTANTS[name]
    original = mutant.where.__dict__[mutant.what]
    with planted(name):
        assert mutant.where.__dict__[mutant.what] is not original
    assert mutant.where.__dict__[mutant.what] is original
