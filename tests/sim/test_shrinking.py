"""A schedule is an explicit list: leaving one part out leaves the others as they were, what is left is told with
the command that runs it again, and that command runs the very same world."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from quorumlog.sim.control import options_of
from quorumlog.sim.mutants import planted
from quorumlog.sim.options import Options, Workload, draw
from quorumlog.sim.replaying import BadSetting, changed, replay_command
from quorumlog.sim.run import Run, run_seed
from quorumlog.sim.schedule import NOTHING, OPERATIONS_EACH, Without, strikes
from quorumlog.sim.shrink import shrink, shrunk_report
from quorumlog.sim.world import World

BUSY = Options(
    4,
    faults=("kill", "isolate", "pause"),
    fault_every_ms=200,
    fault_lasts_ms=300,
    duration_ms=2000,
    producers=2,
    send_every_ms=60,
    tick_ms=20,
    loss=0.05,
)


def events(run: Run, what: str) -> list[tuple[int, ...]]:
    return [(event[0], *event[3:]) for event in run.cluster.world.trace.events if event[2] == what]


def replayed(command: str) -> Options:
    """The world that a command line means."""
    words = shlex.split(command)
    said: dict[str, list[str]] = {}
    for name, value in zip(words[4::2], words[5::2], strict=True):
        said.setdefault(name, []).append(value)
    drawn = options_of(
        int(words[3]),
        said.get("--engine", ["raft"])[0],
        Workload(said.get("--workload", ["log"])[0]),
        control="--control" in said,
    )
    return changed(drawn, said.get("--set", []), said.get("--without", []))


def test_a_strike_that_is_left_out_does_not_move_the_others() -> None:
    drawn = strikes(World(4), BUSY)
    assert len(drawn) > 5
    whole, less = Run(BUSY), Run(replace(BUSY, without=Without(strikes=frozenset({2}))))
    whole.result()
    less.result()
    struck = events(whole, "fault")
    assert [event for event in struck if event[-1] != 2] == events(less, "fault")
    assert 2 in {event[-1] for event in struck}


def test_a_strike_hits_whom_it_would_have_hit_without_another() -> None:
    def victims(run: Run) -> dict[int, int]:
        """time of a strike -> who was killed or paused by it."""
        at = {event[0] for event in events(run, "fault")}
        trace = run.cluster.world.trace.events
        return {event[0]: event[1] for event in trace if event[0] in at and event[2] in ("is killed", "is paused")}

    stormy = replace(BUSY, faults=("kill", "pause"), fault_every_ms=120, fault_lasts_ms=60)
    whole, less = Run(stormy), Run(replace(stormy, without=Without(strikes=frozenset({0, 1}))))
    whole.result()
    less.result()
    both = [time for time in victims(whole) if time in victims(less)]
    assert len(both) > 4
    assert [victims(whole)[time] for time in both] == [victims(less)[time] for time in both]


def test_an_operation_that_is_left_out_does_not_move_those_of_others() -> None:
    calm = replace(BUSY, faults=())
    whole, less = Run(calm), Run(replace(calm, without=Without(operations=frozenset({3, 5}))))
    whole.result()
    less.result()
    wanted = [event for event in events(whole, "sets out") if event[1] not in (3, 5)]
    assert events(less, "sets out") == wanted
    assert {operation // OPERATIONS_EACH for _, operation, _ in wanted} == {0, 1}
    assert len(whole.turns[0].operations) == len(less.turns[0].operations)


def test_a_client_that_is_left_out_does_nothing_and_the_others_what_they_did() -> None:
    calm = replace(BUSY, faults=())
    whole, less = Run(calm), Run(replace(calm, without=Without(clients=frozenset({0}))))
    whole.result()
    less.result()
    assert events(less, "sets out") == [event for event in events(whole, "sets out") if event[1] >= OPERATIONS_EACH]


def test_in_fair_slices_the_network_loses_nothing() -> None:
    rough = replace(BUSY, faults=(), loss=0.3, duplicate=0.2, reorder=0.2, slow_frames=0.2)
    assert run_seed(4, rough).statistics["frames lost"] > 0
    fair = run_seed(4, replace(rough, without=Without(slices=frozenset(range(1000)))))
    assert [fair.statistics[f"frames {what}"] for what in ("lost", "duplicated", "reordered", "slow")] == [0] * 4


def test_what_is_left_out_survives_being_told() -> None:
    without = Without(strikes=frozenset({0, 1, 2, 7}), operations=frozenset({1004}), slices=frozenset({5, 6}))
    assert without.told() == ["strikes:0-2,7", "operations:1004", "slices:5-6"]
    assert Without.parse(without.told()) == without
    assert not NOTHING
    assert without


@pytest.mark.parametrize("told", ["strikes", "strikes:", "blitz:3", "strikes:3-", "strikes:a"])
def test_what_cannot_be_left_out_is_refused(told: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        Without.parse([told])


@pytest.mark.parametrize("setting", ["duration_ms", "duration_ms=soon", 'duration_ms="1"', "seed=3", "moon=1"])
def test_a_setting_that_means_nothing_is_refused(setting: str) -> None:
    with pytest.raises(BadSetting):
        changed(draw(1), [setting], [])


@pytest.mark.parametrize("workload", [Workload.LOG, Workload.CONSUMERS])
def test_the_command_that_replays_a_changed_world_means_that_world(workload: Workload) -> None:
    options = replace(
        draw(11, workload), duration_ms=700, loss=0.0, faults=("kill",), without=Without(strikes=frozenset({1}))
    )
    assert replayed(replay_command(options)) == options
    assert replayed(replay_command(draw(11, workload))) == draw(11, workload)


def test_a_violation_shrinks_to_the_one_fault_that_it_needs() -> None:
    """A leader that answers reads without asking anybody: all it takes is one that was cut off, and a write
    elsewhere."""
    cuts = Options(
        0,
        faults=("isolate leader", "slow link", "clock jump"),
        fault_every_ms=150,
        fault_lasts_ms=2500,
        duration_ms=2500,
        tick_ms=20,
        send_every_ms=120,
        duplicate=0.02,
    )
    with planted("read without a round"):
        worlds = [replace(cuts, seed=seed) for seed in range(20)]
        found = next(
            world
            for world in worlds
            if "stale tail" in {one.name for one in run_seed(world.seed, world).violations}
        )
        shrunk = shrink(found, "stale tail", budget=100)
        again = run_seed(found.seed, shrunk.options)
        report = shrunk_report(shrunk, "stale tail")
        assert again.trace_hash == run_seed(found.seed, replayed(replay_command(shrunk.options))).trace_hash
    assert "stale tail" in {one.name for one in again.violations}
    assert shrunk.strikes[0] == 1 < shrunk.strikes[1]
    assert shrunk.operations[0] <= 3 < shrunk.operations[1]
    assert "isolate leader" in report
    assert "clock jump" not in report.split("--set")[0]
    assert not shrunk.options.duplicate or shrunk.options.without.slices, "most of the bad weather is gone too"
    assert replay_command(shrunk.options) in report
