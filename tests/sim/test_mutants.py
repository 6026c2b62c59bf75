"""Planted bugs are found, by what they must cause; the intact system passes the very seeds and scenarios."""

from __future__ import annotations

import pytest

from quorumlog.sim.directed import SCENARIOS, perform
from quorumlog.sim.mutants import MUTANTS, hunt, planted

#: Bugs that show quickly enough to be hunted with every run of the tests, some of each part and workload;
#: ``quorumlog chaos mutants`` hunts them all (docs/mutants.md).
QUICK = [
    "vote twice in a term",
    "elected by half",
    "previous term unchecked",
    "read without a round",
    "ack before fsync",
    "reads above the commit index",
    "directory fsync left out",
    "checkpoint index off by one",
    "owner epoch unchecked",
    "commit applied in arrival order",
    "offset map missing from a checkpoint",
    "none during recovery",
    "commit acknowledged before Raft commit",
    "stale-leader fetch",
    "one partition to two members",
    "auto-commit before processing",
]
DIRECTED = [name for name, mutant in MUTANTS.items() if mutant.scenario]


@pytest.mark.parametrize("name", [*QUICK, *DIRECTED])
def test_a_planted_bug_is_caught_and_the_intact_system_passes_what_was_tried(name: str) -> None:
    found = hunt(name)
    assert found.caught, f"not within {found.budget} seeds"
    assert found.intact == ""


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_directed_scenario_can_be_played_to_its_end_and_finds_nothing_in_the_intact_system(name: str) -> None:
    assert perform(name) == ()


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_directed_scenario_is_some_bugs(name: str) -> None:
    assert name in {mutant.scenario for mutant in MUTANTS.values()}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_gone_when_its_run_is_over(name: str) -> None:
    mutant = MUTANTS[name]
    places = [(mutant.where, mutant.what), *((where, what) for where, what, _ in mutant.also)]
    originals = [where.__dict__[what] for where, what in places]
    with planted(name):
        for (where, what), original in zip(places, originals, strict=True):
            assert where.__dict__[what] is not original
    for (where, what), original in zip(places, originals, strict=True):
        assert where.__dict__[what] is original


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_says_what_is_wrong_and_what_must_be_found(name: str) -> None:
    mutant = MUTANTS[name]
    assert mutant.summary
    assert mutant.expected
    assert not mutant.scenario or mutant.scenario in SCENARIOS
    assert "proves nothing" not in mutant.expected, "a run that proves nothing has not found anything"


def test_each_scenario_finds_nothing_under_bugs_that_are_none_of_its_business() -> None:
    """A scenario that cries whatever is planted would prove nothing."""
    with planted("directory fsync left out"):
        assert perform("figure 8") == ()
        assert perform("long absence") == ()
    with planted("no pre-vote"):
        assert perform("damage below the tail") == ()
