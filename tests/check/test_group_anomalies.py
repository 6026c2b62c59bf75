"""Each anomaly of consumer groups is found in a short history that has it, and in that one only."""

from __future__ import annotations

import pytest
from check.offset_histories import REGISTER, OffsetScript

from quorumlog.check import AnomalyKind, EventType, Expectations, judge


def found(script: OffsetScript, orphan_ms: int = 0) -> set[AnomalyKind]:
    expectations = Expectations(final_reads=False, orphan_ms=orphan_ms)
    return {anomaly.kind for anomaly in judge(script.events, expectations).anomalies}


def handed_over() -> OffsetScript:
    """One member processes 0..4, commits and gives back; the next goes on from there."""
    script = OffsetScript()
    script.assigned(1, "one", 3, ["lines/0"])
    first = script.own(1, "one", 3)
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 4)
    script.commit(1, 5, 10, "a")
    script.stops(1, first)
    script.assigned(1, "one", 4, [])
    script.assigned(2, "two", 4, ["lines/0"])
    second = script.own(2, "two", 4)
    script.acquire(2, 2, (5, 10, "a"), released=True)
    script.process(2, 2, 5, 6)
    script.commit(2, 7, 14, "b", epoch=2)
    script.stops(2, second)
    return script


def test_a_hand_over_in_order_has_none() -> None:
    assert found(handed_over()) == set()


def test_two_members_are_told_of_one_partition_in_one_generation() -> None:
    script = handed_over()
    script.assigned(3, "three", 4, ["lines/1", "lines/0"])
    assert found(script) == {AnomalyKind.DOUBLE_OWNERSHIP}


def test_a_partition_may_have_another_owner_in_another_generation() -> None:
    script = handed_over()
    script.assigned(3, "three", 5, ["lines/0"])
    assert found(script) == set()


@pytest.mark.parametrize(("gave_back", "double"), [(True, True), (False, False)])
def test_a_partition_is_granted_before_its_living_owner_has_given_it_back(gave_back: bool, double: bool) -> None:
    """One that never gave back was given up, silent as it was: then its partition is somebody else's to have."""
    script = OffsetScript()
    first = script.own(1, "one", 3)
    script.own(2, "two", 4)
    script.stops(1, first, gave_back=gave_back)
    assert found(script) == ({AnomalyKind.DOUBLE_OWNERSHIP} if double else set())


@pytest.mark.parametrize(("generation", "double"), [(3, False), (4, True)])
def test_a_partition_is_granted_although_its_owner_is_still_a_member(generation: int, double: bool) -> None:
    script = OffsetScript()
    script.assigned(1, "one", generation, [])
    first = script.own(1, "one", 3)
    script.own(2, "two", 4)
    script.stops(1, first, gave_back=False)
    assert found(script) == ({AnomalyKind.DOUBLE_OWNERSHIP} if double else set())


def test_a_partition_nobody_owns_for_long_after_healing_is_an_orphan() -> None:
    script = OffsetScript()
    first = script.own(1, "one", 3)
    script.stops(1, first)
    for _ in range(20):
        script.does(0, "healed", None, EventType.OK, key="")
    script.own(2, "two", 4)
    script.does(0, "members_stop", None, EventType.OK, key="")
    history = [event._replace(time_ns=event.time_ns * 1_000_000) for event in script.events]
    begun = next(event.index for event in history if event.operation == "healed")
    keep = [event for event in history if event.operation != "healed" or event.index < begun + 2]

    def kinds(orphan_ms: int) -> set[AnomalyKind]:
        expectations = Expectations(final_reads=False, orphan_ms=orphan_ms)
        return {anomaly.kind for anomaly in judge(keep, expectations).anomalies}

    assert kinds(30) == {AnomalyKind.ORPHAN}
    assert kinds(41) == set()


def test_an_owner_that_does_not_begin_with_the_record_it_was_given_resumes_badly() -> None:
    script = handed_over()
    script.acquire(3, 3, (7, 14, "b"))
    script.process(3, 3, 8, 9)
    assert found(script) == {AnomalyKind.BAD_RESUME}


def test_an_owner_that_jumps_over_a_record_resumes_badly() -> None:
    script = handed_over()
    script.acquire(3, 3, (7, 14, "b"))
    script.process(3, 3, 7, 7)
    script.process(3, 3, 9, 9)
    assert found(script) == {AnomalyKind.BAD_RESUME}


def test_a_jump_that_was_told_as_a_gap_is_right() -> None:
    script = handed_over()
    script.acquire(3, 3, (7, 14, "b"))
    script.gap(3, 7, 30)
    script.process(3, 3, 30, 31)
    script.commit(3, 32, 20, "c", epoch=3)
    assert found(script) == set()


def test_each_owner_goes_on_where_the_gap_ended_of_which_it_was_told() -> None:
    script = handed_over()
    script.acquire(3, 3, (7, 14, "b"))
    script.gap(3, 7, 30)
    script.process(3, 3, 30, 31)
    script.acquire(4, 4, (7, 14, "b"))
    script.gap(4, 7, 50)
    script.process(4, 4, 50, 51)
    assert found(script) == set()
    script.acquire(5, 5, (7, 14, "b"))
    script.process(5, 5, 40, 41)
    assert found(script) == {AnomalyKind.BAD_RESUME}


def test_an_owner_that_was_not_shown_its_predecessors_last_commit() -> None:
    script = OffsetScript()
    script.acquire(1, 1, None)
    script.commit(1, 5, 10, "a")
    acquire = script.invoke(2, "acquire", {"start": ["EARLIEST", 0]}, REGISTER)
    script.commit(1, 6, 11, "b")
    answer = {"epoch": 2, "offset": 5, "reason": "STORED", "stored": [5, 10, "a"], "released": False}
    script.complete(acquire, EventType.OK, {**answer, "log_start": 0, "log_end": 100})
    assert found(script) == {AnomalyKind.SUCCESSOR_MISMATCH}


def test_a_record_below_the_final_commit_that_nobody_finished_is_a_gap() -> None:
    script = OffsetScript()
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 4)
    script.process(1, 1, 5, 9, EventType.INFO)
    script.commit(2, 8, 10, "a")
    assert found(script) == {AnomalyKind.GAP_UNDER_COMMIT}


def test_records_that_another_member_finished_are_no_gap() -> None:
    script = OffsetScript()
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 4)
    script.process(1, 1, 5, 9, EventType.INFO)
    script.acquire(2, 2, (0, 5, ""))
    script.process(2, 2, 0, 7)
    script.commit(2, 8, 10, "a", epoch=2)
    assert found(script) == set()


def test_what_a_reset_jumps_over_need_not_be_processed() -> None:
    script = OffsetScript()
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 4)
    script.commit(1, 5, 10, "a")
    script.reset(7, 50, 11)
    script.acquire(2, 2, (50, 11, ""))
    script.process(2, 2, 50, 51)
    script.commit(2, 52, 12, "b", epoch=2)
    assert found(script) == set()


def test_a_record_that_was_finished_comes_again_though_it_was_said_that_nothing_does() -> None:
    script = OffsetScript()
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 4)
    script.commit(1, 3, 10, "a")
    script.acquire(2, 2, (3, 10, "a"), released=True)
    assert found(script) == {AnomalyKind.REPEAT_AFTER_RELEASE}
    # Of an owner before the one that gave back nothing was said.
    between = OffsetScript()
    between.acquire(1, 1, None)
    between.process(1, 1, 0, 4)
    between.acquire(2, 2, (0, 5, ""))
    between.acquire(3, 3, (0, 5, ""), released=True)
    assert found(between) == set()
    crashed = OffsetScript()
    crashed.acquire(1, 1, None)
    crashed.process(1, 1, 0, 4)
    crashed.commit(1, 3, 10, "a")
    crashed.acquire(2, 2, (3, 10, "a"))
    assert found(crashed) == set()
