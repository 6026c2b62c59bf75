"""The mixed workload on real nodes: everything at once, with a dead leader amid, is judged true."""

from __future__ import annotations

from chaos.workload_kit import run

from quorumlog.chaos.scenario import Load
from quorumlog.check import EventType, Verdict


def test_everything_at_once_is_judged_true() -> None:
    mixed = run(Load("mixed", operations_per_s=300), 6.0, kill_leader=True)
    report = mixed.judged()
    assert report.verdict is Verdict.TRUE, (report.anomalies[:3], report.vacuous, report.doubts)
    brief = {event.key for event in mixed.events if event.operation == "final_read" and "#" in event.key}
    assert brief, "no topic came and went"
    starts = [
        event.value["start"]
        for event in mixed.events
        if event.operation == "final_read" and event.type is EventType.OK and "kept-short" in event.key
    ]
    assert max(starts) > 0, "retention took nothing"
    largest = max(
        len(value["batches"][0][1]) for value in mixed.values("final_read", EventType.OK) if value["batches"]
    )
    assert largest > 1
