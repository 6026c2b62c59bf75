"""Whole worlds: right code passes, runs repeat to the last bit, and what goes wrong is told with all it takes to
see it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from quorumlog.check import EventType, operations
from quorumlog.check.history import read_history, write_history
from quorumlog.sim.explore import explore, failure_report
from quorumlog.sim.faults import FAULTS
from quorumlog.sim.mutants import planted
from quorumlog.sim.options import FAULT_WEIGHTS, Options, draw
from quorumlog.sim.replaying import replay_command
from quorumlog.sim.run import Run, run_seed

SEEDS = range(12)


@pytest.fixture(scope="module")
def results():  # type: ignore[no-untyped-def]
    return [run_seed(seed) for seed in SEEDS]


def test_the_intact_system_violates_nothing(results) -> None:  # type: ignore[no-untyped-def]
    reports = [failure_report(result) for result in results if result.violations]
    assert not reports, "\n\n".join(reports)


def test_the_runs_meant_something(results) -> None:  # type: ignore[no-untyped-def]
    summed: dict[str, int] = {}
    for result in results:
        for name, count in result.statistics.items():
            summed[name] = summed.get(name, 0) + count
    assert summed["send ok"] > 50 * len(results)
    assert summed["read ok"] > 20 * len(results)
    assert summed["failovers"] > 0
    assert summed["event CheckpointSaved"] > 0
    assert sum(count for name, count in summed.items() if name.startswith("fault ")) > len(results)


def test_a_seed_repeats_to_the_last_bit(results) -> None:  # type: ignore[no-untyped-def]
    for result in results[:4]:
        assert run_seed(result.seed).trace_hash == result.trace_hash
    assert len({result.trace_hash for result in results}) == len(results)


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_a_seed_repeats_in_another_process_with_another_hash_seed(results, hash_seed: str) -> None:  # type: ignore[no-untyped-def]
    code = "from quorumlog.sim.run import run_seed\nprint(*(run_seed(seed).trace_hash for seed in range(4)))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert found.stdout.split() == [result.trace_hash for result in results[:4]]


def test_worlds_in_several_processes_are_the_same_as_in_one(results) -> None:  # type: ignore[no-untyped-def]
    spread = {result.seed: result.trace_hash for result in explore(range(4), 2)}
    assert spread == {result.seed: result.trace_hash for result in results[:4]}


def test_every_fault_that_can_be_drawn_exists_and_no_other() -> None:
    assert list(FAULTS) == list(FAULT_WEIGHTS)


def test_a_quarter_of_the_seeds_has_no_fault() -> None:
    calm = sum(draw(seed).calm for seed in range(1000))
    assert 200 < calm < 320


@pytest.mark.parametrize("fault", sorted(FAULT_WEIGHTS))
def test_each_fault_alone_has_an_effect_and_breaks_nothing(fault: str) -> None:
    options = Options(
        7,
        faults=(fault,),
        fault_every_ms=400,
        fault_lasts_ms=900,
        duration_ms=2500,
        record_bytes=2000,
        tick_ms=20,
        send_every_ms=60,
    )
    result = run_seed(7, options)
    assert not result.violations, failure_report(result)
    assert result.statistics[f"fault {fault}"] > 0
    assert result.statistics[f"effect {fault}"] > 0


def test_a_violation_is_told_with_the_command_that_repeats_it() -> None:
    with planted("vote twice in a term"):
        result = run_seed(0)
    assert result.violations
    report = failure_report(result)
    assert replay_command(draw(0)) in report
    assert "voted for" in report
    assert "last events of node 1:" in report
    assert "nodes=" in report


def test_a_run_that_cannot_make_progress_violates_liveness() -> None:
    """All links are cut for good once the majority is healed: nobody can elect, and the run must say so."""
    run = Run(Options(3, faults=("kill",), fault_every_ms=500, fault_lasts_ms=100, duration_ms=500, tick_ms=20))
    heal = run.nemesis.heal

    def heal_nothing(nodes) -> None:  # type: ignore[no-untyped-def]
        heal(nodes)
        run.cluster.network.cut = {(a, b) for a in run.cluster.nodes for b in run.cluster.nodes if a != b}

    run.nemesis.heal = heal_nothing  # type: ignore[method-assign]
    found = run.result().violations
    assert [violation.name for violation in found] == ["liveness"]
    assert "acknowledge no append" in found[0].message


def test_the_history_of_a_run_is_well_formed_and_survives_its_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    run = Run(replace(draw(1), duration_ms=800))
    run.result()
    events = run.cluster.recorder.events
    write_history(tmp_path / "history.jsonl", events)
    assert operations(read_history(tmp_path / "history.jsonl")) == operations(events)
    assert {event.operation for event in events} >= {"send", "read", "end", "final_read"}
    assert events[-1].type is not EventType.INVOKE
