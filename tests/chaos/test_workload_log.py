"""The log workload on real nodes: what it records is judged true, and false as soon as it says anything else."""

from __future__ import annotations

import pytest
from chaos.workload_kit import Run, run

from quorumlog.chaos.scenario import Load
from quorumlog.check import AnomalyKind, Event, EventType, Verdict


@pytest.fixture(scope="module")
def killed() -> Run:
    return run(Load("log", operations_per_s=400), 3.0, kill_leader=True)


def test_a_calm_run_is_judged_true_at_full_speed() -> None:
    calm = run(Load("log", operations_per_s=0, compression="lz4"), 1.0)
    report = calm.judged()
    assert report.verdict is Verdict.TRUE, (report.anomalies[:3], report.vacuous, report.doubts)
    assert calm.count("send") > 2_000
    assert calm.count("read") > 10
    assert not calm.count("send", EventType.INFO)


def test_a_run_in_which_a_leader_is_killed_is_judged_true(killed: Run) -> None:
    report = killed.judged()
    assert report.verdict is Verdict.TRUE, (report.anomalies[:3], report.vacuous, report.doubts)
    assert killed.count("send") > 500
    assert killed.count("assign") > 3
    assert killed.left, "a cluster of the suite's own is not tidied up: its files may be looked at"


def test_a_final_read_that_lacks_a_record_is_judged_false(killed: Run) -> None:
    def without_the_first(event: Event) -> Event:
        if event.operation == "final_read" and event.type is EventType.OK:
            (base, values), *rest = event.value["batches"]
            return event._replace(value={**event.value, "batches": [[base + 1, values[1:]], *rest]})
        return event

    assert AnomalyKind.LOST_WRITE in {anomaly.kind for anomaly in killed.judged(without_the_first).anomalies}


def test_a_read_with_two_records_swapped_is_judged_false(killed: Run) -> None:
    def swapped(event: Event) -> Event:
        if event.operation == "final_read" and event.type is EventType.OK:
            (base, (first, second, *others)), *rest = event.value["batches"]
            return event._replace(value={**event.value, "batches": [[base, [second, first, *others]], *rest]})
        return event

    kinds = {anomaly.kind for anomaly in killed.judged(swapped).anomalies}
    assert AnomalyKind.INCONSISTENT_OFFSET in kinds


def test_an_acknowledgement_turned_into_a_refusal_is_judged_false(killed: Run) -> None:
    first = next(event.index for event in killed.events if event.operation == "send" and event.type is EventType.OK)

    def refused(event: Event) -> Event:
        return event._replace(type=EventType.FAIL, value=None) if event.index == first else event

    assert AnomalyKind.ABORTED_READ in {anomaly.kind for anomaly in killed.judged(refused).anomalies}


def test_a_run_without_final_reads_proves_nothing(killed: Run) -> None:
    report = killed.judged(lambda event: None if event.operation == "final_read" else event)
    assert report.verdict is Verdict.UNKNOWN
    assert report.vacuous
