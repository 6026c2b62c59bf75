"""A simulated world on disk is a run that the chaos suite's own code reads, and whose history judges the same."""

from __future__ import annotations

from dataclasses import replace

from quorumlog.chaos.outcome import load
from quorumlog.check import EventType, Expectations, judge
from quorumlog.check.history import read_history
from quorumlog.sim.mutants import planted
from quorumlog.sim.options import draw
from quorumlog.sim.run import Run
from quorumlog.sim.run_directory import write_run


def test_a_world_is_written_as_a_run_and_read_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    run = Run(replace(draw(4), duration_ms=1200))
    result = run.result()
    write_run(tmp_path / "one", run, result)
    record = load(tmp_path / "one")
    assert (record.place, record.seed, record.engine) == ("simulation", 4, "raft")
    assert record.verdict == "true"
    assert record.why == []
    assert record.operations["send"]["ok"] == result.statistics["send ok"]
    assert record.replay.startswith("quorumlog sim replay 4")
    assert 0 < record.load_began_ns < record.healed_ns < record.alive_ns <= record.duration_s * 1e9
    history = read_history(tmp_path / "one" / "history.jsonl")
    assert judge(history, Expectations.from_json(record.expectations)).verdict.value == "true"
    faults = [event for event in history if event.operation == "fault" and event.type is EventType.OK]
    effects: dict[str, int] = {}
    for event in faults:
        effects[event.key] = effects.get(event.key, 0) + event.value["effect"]
    assert record.fault_effects == {name: effect for name, effect in effects.items() if effect}
    for node in run.cluster.nodes:
        assert "ReplicaOpened" in (tmp_path / "one" / f"node-{node}.log").read_text()


def test_a_failed_world_says_what_was_found(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with planted("vote twice in a term"):
        run = Run(replace(draw(0), duration_ms=800))
        result = run.result()
    write_run(tmp_path, run, result)
    record = load(tmp_path)
    assert record.verdict == "false"
    assert any(line.startswith("one vote per term") for line in record.why)
