"""The group workload on real nodes: members come, leave and are killed, and nothing is left out."""

from __future__ import annotations

import pytest
from chaos.workload_kit import Run, run

from quorumlog.chaos.scenario import Load
from quorumlog.check import AnomalyKind, Event, EventType, Verdict

SETTINGS = {"groups": 1, "churn_ms": 700, "member_processes": 1}


@pytest.fixture(scope="module")
def killed() -> Run:
    return run(Load("groups", operations_per_s=200, settings=SETTINGS), 8.0, kill_leader=True)


def test_a_run_with_a_dead_leader_and_comings_and_goings_is_judged_true(killed: Run) -> None:
    report = killed.judged()
    assert report.verdict is Verdict.TRUE, (report.anomalies[:3], report.vacuous, report.doubts)
    assert len({value["member"] for value in killed.values("assigned", EventType.INVOKE)}) > 3
    assert killed.count("own") > 6


def test_members_of_their_own_processes_are_in_the_history(killed: Run) -> None:
    writers = {event.process >> 40 for event in killed.events if event.operation == "assigned"}
    assert 0 in writers
    assert len(writers) > 1
    times = [event.time_ns for event in killed.events]
    assert times == sorted(times)


def test_a_record_that_nobody_processed_is_judged_false(killed: Run) -> None:
    first = next(event.index for event in killed.events if event.operation == "process")

    def left_out(event: Event) -> Event | None:
        return None if event.index == first else event

    kinds = {anomaly.kind for anomaly in killed.judged(left_out).anomalies}
    assert AnomalyKind.GAP_UNDER_COMMIT in kinds


def test_an_owner_that_begins_elsewhere_is_judged_false(killed: Run) -> None:
    first = next(
        event.index for event in killed.events if event.operation == "acquire" and event.type is EventType.OK
    )

    def elsewhere(event: Event) -> Event:
        if event.index == first:
            return event._replace(value={**event.value, "offset": event.value["offset"] + 1})
        return event

    assert AnomalyKind.BAD_RESUME in {anomaly.kind for anomaly in killed.judged(elsewhere).anomalies}


def test_one_partition_given_to_two_members_is_judged_false(killed: Run) -> None:
    told = [event for event in killed.events if event.operation == "assigned" and event.type is EventType.INVOKE]
    one = next(event for event in told if event.value["partitions"])

    def given_twice(event: Event) -> Event:
        if event in told and event.value["member"] != one.value["member"]:
            value = {**one.value, "member": event.value["member"]}
            return event._replace(value=value)
        return event

    assert AnomalyKind.DOUBLE_OWNERSHIP in {anomaly.kind for anomaly in killed.judged(given_twice).anomalies}
