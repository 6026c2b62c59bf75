"""The register workload on real nodes: owners fight, and every answer fits one register."""

from __future__ import annotations

import pytest
from chaos.workload_kit import Run, run

from quorumlog.chaos.scenario import Load
from quorumlog.check import AnomalyKind, Event, EventType, Verdict


@pytest.fixture(scope="module")
def killed() -> Run:
    return run(
        Load("registers", operations_per_s=400, partitions=2, registers=2), 4.0, kill_leader=True, remove=True
    )


def test_a_run_in_which_a_leader_is_killed_is_judged_true(killed: Run) -> None:
    report = killed.judged()
    assert report.verdict is Verdict.TRUE, (report.anomalies[:3], report.vacuous, report.doubts)


def test_nothing_of_it_stays_on_a_cluster_that_is_somebody_s(killed: Run) -> None:
    assert not killed.left


def test_every_kind_of_use_is_met(killed: Run) -> None:
    for operation in ("acquire", "release", "commit", "fetch", "reset", "resolve", "final_fetch"):
        assert killed.count(operation), operation
    errors = {
        event.error.partition(":")[0] for event in killed.events if event.operation == "commit" and event.error
    }
    assert {"FENCED", "OFFSET_REGRESSED", "OFFSET_BEYOND_END"} <= errors
    floors = [floor for floor in killed.values("fetch", EventType.INVOKE) if floor]
    assert floors, "nobody read as of a version"


def test_a_fetch_that_is_rolled_back_is_judged_false(killed: Run) -> None:
    newest: dict[str, list[object]] = {}

    def rolled_back(event: Event) -> Event:
        if event.type is not EventType.OK or event.operation not in ("fetch", "final_fetch"):
            return event
        stored = event.value["stored"]
        if event.operation == "fetch":
            if stored is not None:
                newest.setdefault(event.key, stored)
            return event
        return event._replace(value={**event.value, "stored": newest[event.key]})

    assert AnomalyKind.LOST_COMMIT in {anomaly.kind for anomaly in killed.judged(rolled_back).anomalies}


def test_a_commit_of_a_fenced_owner_that_succeeds_is_judged_false(killed: Run) -> None:
    fenced = next(event for event in killed.events if (event.error or "").startswith("FENCED"))
    version = 1 + max(value["version"] for value in killed.values("commit", EventType.OK))

    def accepted(event: Event) -> Event:
        if event.index == fenced.index:
            return event._replace(type=EventType.OK, value={"version": version}, error=None)
        return event

    kinds = {anomaly.kind for anomaly in killed.judged(accepted).anomalies}
    assert AnomalyKind.ZOMBIE_COMMIT in kinds


def test_a_stored_offset_that_vanishes_is_judged_false(killed: Run) -> None:
    def forgotten(event: Event) -> Event:
        if event.operation == "final_fetch" and event.type is EventType.OK:
            return event._replace(value={**event.value, "stored": None})
        return event

    assert AnomalyKind.SPURIOUS_NONE in {anomaly.kind for anomaly in killed.judged(forgotten).anomalies}
