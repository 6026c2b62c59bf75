"""Worlds with users of offsets and groups of consumers: right code passes, and what they do means something."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from quorumlog.check import EventType, operations
from quorumlog.sim.explore import failure_report
from quorumlog.sim.options import Options, Workload, draw
from quorumlog.sim.replaying import replay_command
from quorumlog.sim.run import Run, run_seed

SEEDS = range(8)


@pytest.fixture(scope="module")
def results():  # type: ignore[no-untyped-def]
    return {
        workload: [run_seed(seed, workload=workload) for seed in SEEDS]
        for workload in (Workload.OFFSETS, Workload.GROUPS)
    }


def summed(results) -> dict[str, int]:  # type: ignore[no-untyped-def]
    total: dict[str, int] = {}
    for result in results:
        for name, count in result.statistics.items():
            total[name] = total.get(name, 0) + count
    return total


@pytest.mark.parametrize("workload", [Workload.OFFSETS, Workload.GROUPS])
def test_the_intact_system_violates_nothing(results, workload: Workload) -> None:  # type: ignore[no-untyped-def]
    reports = [failure_report(result) for result in results[workload] if result.violations]
    assert not reports, "\n\n".join(reports)


def test_users_of_registers_meet_every_answer(results) -> None:  # type: ignore[no-untyped-def]
    total = summed(results[Workload.OFFSETS])
    for name in ("acquire ok", "commit ok", "commit fail", "commit info", "fetch ok", "release ok", "reset ok"):
        assert total[name] > 0, name
    assert total["resolve ok"] > 10
    assert total["final_fetch ok"] >= len(SEEDS)


def test_consumers_process_commit_and_hand_over(results) -> None:  # type: ignore[no-untyped-def]
    total = summed(results[Workload.GROUPS])
    for name in ("assigned ok", "own ok", "give_back ok", "commit ok"):
        assert total[name] >= len(SEEDS) // 2, name
    assert total["process ok"] > 50 * len(SEEDS)
    assert total["own info"] > 0, "members died with partitions in hand"


def test_a_seed_repeats_to_the_last_bit_in_another_process_with_another_hash_seed(results) -> None:  # type: ignore[no-untyped-def]
    code = (
        "from quorumlog.sim.run import run_seed\nfrom quorumlog.sim.options import Workload\n"
        "print(*(run_seed(seed, workload=kind).trace_hash for kind in (Workload.OFFSETS, Workload.GROUPS)"
        " for seed in range(2)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "4242"},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    wanted = [
        result.trace_hash for workload in (Workload.OFFSETS, Workload.GROUPS) for result in results[workload][:2]
    ]
    assert found.stdout.split() == wanted


def test_a_seed_has_the_same_cluster_and_faults_in_every_workload() -> None:
    for seed in range(50):
        log, consumers = draw(seed), draw(seed, Workload.CONSUMERS)
        for name in ("nodes", "replication", "tick_ms", "faults", "fault_every_ms", "loss", "drift"):
            assert getattr(log, name) == getattr(consumers, name)
        assert not log.registers
        assert not log.groups
        assert consumers.registers or consumers.groups


def test_the_command_that_repeats_a_seed_names_its_workload() -> None:
    assert replay_command(draw(7)) == "quorumlog sim replay 7"
    assert replay_command(draw(7, Workload.GROUPS)) == "quorumlog sim replay 7 --workload groups"


def test_a_world_without_faults_hands_everything_over_without_a_repeat() -> None:
    """Three members join one after another and leave in the end; nobody dies, so every record comes once."""
    options = Options(
        5,
        partitions=3,
        workload=Workload.GROUPS,
        groups=1,
        members=3,
        coordinators=1,
        duration_ms=3000,
        read_bytes=4096,
    )
    run = Run(options)
    result = run.result()
    assert not result.violations, failure_report(result)
    processed: dict[tuple[str, int], int] = {}
    for operation in operations(run.cluster.recorder.events):
        if operation.invoked.operation == "process" and operation.type is EventType.OK:
            value = operation.invoked.value
            for offset in range(value["first"], value["last"] + 1):
                place = (operation.invoked.key, offset)
                processed[place] = processed.get(place, 0) + 1
    assert len(processed) > 100
    assert set(processed.values()) == {1}
    assert result.statistics["give_back ok"] > 0


def test_a_group_whose_members_never_come_back_violates_liveness() -> None:
    options = replace(draw(3, Workload.GROUPS), faults=(), members_crash_ms=0, duration_ms=1000)
    run = Run(options)

    def all_die() -> None:
        for slot in run.groups.slots:
            if slot.member is not None:
                slot.member.kill()

    run.groups.stop = all_die  # type: ignore[method-assign]
    found = run.result().violations
    assert [violation.name for violation in found] == ["liveness"]
    assert "do not consume to the end" in found[0].message
