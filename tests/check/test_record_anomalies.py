"""Each anomaly is found in a short history that has it, and in that one only; a history without it is let pass."""

from __future__ import annotations

from random import Random

import pytest
from check.histories import KEY, Script, healthy_history

from quorumlog.check import AnomalyKind, EventType, Expectations, Verdict, judge


def found(script: Script, *, retention: bool = False) -> set[AnomalyKind]:
    report = judge(script.events, Expectations(retention=frozenset([KEY]) if retention else frozenset()))
    return {anomaly.kind for anomaly in report.anomalies}


def test_a_plain_good_history_has_none_and_the_verdict_is_true() -> None:
    script = Script()
    script.assign(5, 0)
    script.sent(0, ["a", "b"], 0)
    script.sent(1, ["c"], 2)
    script.read(5, 0, ["a", "b", "c"])
    script.end(6, 3)
    script.final(9, 0, ["a", "b", "c"])
    report = judge(script.events)
    assert report.verdict is Verdict.TRUE
    assert not report.anomalies


def test_two_readers_see_different_values_at_one_offset() -> None:
    script = Script()
    script.unknown(0, ["a"])
    script.unknown(1, ["b"])
    script.read(5, 0, ["a"])
    script.read(6, 0, ["b"])
    script.final(9, 0, ["a", "b"])
    assert found(script) == {AnomalyKind.INCONSISTENT_OFFSET, AnomalyKind.DUPLICATE}


def test_an_acknowledgement_contradicts_what_is_read_there() -> None:
    script = Script()
    script.sent(0, ["a"], 0)
    script.unknown(1, ["b"])
    script.final(9, 0, ["b"])
    assert found(script) == {AnomalyKind.INCONSISTENT_OFFSET, AnomalyKind.LOST_WRITE}


def test_one_value_stands_at_two_offsets() -> None:
    script = Script()
    script.sent(0, ["a"], 0)
    script.final(9, 0, ["a", "a"])
    assert found(script) == {AnomalyKind.DUPLICATE}


def test_a_failed_send_is_read() -> None:
    script = Script()
    script.failed(0, ["a"])
    script.final(9, 0, ["a"])
    assert found(script) == {AnomalyKind.ABORTED_READ}


def test_a_failed_send_that_nobody_reads_is_right() -> None:
    script = Script()
    script.failed(0, ["a"])
    script.sent(0, ["b"], 0)
    script.final(9, 0, ["b"])
    assert found(script) == set()


def test_a_value_nobody_sent_is_read() -> None:
    script = Script()
    script.final(9, 0, ["a"])
    assert found(script) == {AnomalyKind.PHANTOM}


def test_a_value_is_read_before_it_is_sent() -> None:
    script = Script()
    script.read(5, 0, ["a"])
    script.sent(0, ["a"], 0)
    script.final(9, 0, ["a"])
    assert found(script) == {AnomalyKind.PHANTOM}


def test_a_send_still_open_may_be_read() -> None:
    script = Script()
    invocation = script.invoke(0, "send", ["a"])
    script.read(5, 0, ["a"])
    script.complete(invocation, EventType.OK, 0)
    script.final(9, 0, ["a"])
    assert found(script) == set()


@pytest.mark.parametrize(
    ("values", "offset", "where"),
    [(["b", "c"], 1, "prefix"), (["a"], 0, "postfix")],
)
def test_an_acknowledged_value_is_missing_where_it_must_be(values: list[str], offset: int, where: str) -> None:
    script = Script()
    for position, value in enumerate("abc"):
        script.sent(0, [value], position)
    script.read(5, 0, ["a", "b", "c"])
    script.final(9, offset, values)
    report = judge(script.events)
    assert {anomaly.kind for anomaly in report.anomalies} == {AnomalyKind.LOST_WRITE}
    assert all(f"({where})" in anomaly.message for anomaly in report.anomalies)


def test_a_hole_in_the_middle_is_a_lost_write() -> None:
    script = Script()
    for position, value in enumerate("abc"):
        script.sent(0, [value], position)
    script.final(9, 0, ["a"])
    script.final(9, 2, ["c"])
    report = judge(script.events)
    assert [anomaly.kind for anomaly in report.anomalies] == [AnomalyKind.LOST_WRITE]
    assert "'b' at offset 1 is lost (middle); read from node 1" in report.anomalies[0].message


def test_what_was_read_once_and_then_vanished_is_lost_though_never_acknowledged() -> None:
    script = Script()
    script.unknown(0, ["a"])
    script.read(5, 0, ["a"])
    script.final(9, 0, [])
    assert found(script) == {AnomalyKind.LOST_WRITE}


def test_retention_excuses_what_lies_below_the_log_start_and_nothing_else() -> None:
    def history() -> Script:
        script = Script()
        for position, value in enumerate("abc"):
            script.sent(0, [value], position)
        script.final(9, 2, ["c"], start=2)
        return script

    assert found(history(), retention=True) == set()
    assert found(history(), retention=False) == {AnomalyKind.LOST_WRITE}


def test_an_acknowledged_value_above_everything_read_is_unseen() -> None:
    script = Script()
    script.sent(0, ["a"], 0)
    script.sent(0, ["b"], 1)
    script.final(9, 0, ["a"])
    assert found(script) == {AnomalyKind.UNSEEN}


def test_what_is_acknowledged_after_the_final_read_began_need_not_be_in_it() -> None:
    script = Script()
    script.sent(0, ["a"], 0)
    invocation = script.invoke(0, "send", ["b"])
    script.final(9, 0, ["a"])
    script.complete(invocation, EventType.OK, 1)
    assert found(script) == set()


def test_a_final_read_need_not_hold_what_was_committed_after_it_though_a_later_one_does() -> None:
    script = Script()
    script.sent(0, ["a"], 0)
    script.final(8, 0, ["a"])
    script.sent(0, ["b"], 1)
    script.final(9, 0, ["a", "b"])
    assert found(script) == set()


def reader_history(*reads: tuple[int, list[str]], moved_to: int | None = None) -> Script:
    script = Script()
    script.sent(0, list("abcdef"), 0)
    script.assign(5, 0)
    for number, (offset, values) in enumerate(reads):
        if number and moved_to is not None:
            script.assign(5, moved_to)
        script.read(5, offset, values, end=6)
    script.final(9, 0, list("abcdef"))
    return script


def test_a_reader_that_jumps_forward_skips() -> None:
    assert found(reader_history((0, ["a", "b"]), (4, ["e"]))) == {AnomalyKind.SKIP}


def test_a_reader_that_does_not_begin_where_it_was_put_skips() -> None:
    assert found(reader_history((1, ["b", "c"]))) == {AnomalyKind.SKIP}


def test_a_reader_that_goes_back_is_not_monotonic() -> None:
    assert found(reader_history((0, ["a", "b"]), (1, ["b", "c"]))) == {AnomalyKind.NON_MONOTONIC_READ}


@pytest.mark.parametrize("moved_to", [4, 1])
def test_a_reader_that_is_moved_may_go_anywhere(moved_to: int) -> None:
    values = list("abcdef")[moved_to : moved_to + 1]
    assert found(reader_history((0, ["a", "b"]), (moved_to, values), moved_to=moved_to)) == set()


def test_sends_of_one_process_go_back() -> None:
    script = Script()
    first = script.invoke(0, "send", ["a"])
    second = script.invoke(0, "send", ["b"])
    script.complete(first, EventType.OK, 1)
    script.complete(second, EventType.OK, 0)
    script.final(9, 0, ["b", "a"])
    assert found(script) == {AnomalyKind.NON_MONOTONIC_SEND}


def test_a_later_append_gets_a_lower_offset() -> None:
    script = Script()
    script.sent(0, ["a"], 1)
    script.sent(1, ["b"], 0)
    script.final(9, 0, ["b", "a"])
    assert found(script) == {AnomalyKind.REAL_TIME_INVERSION}


def test_concurrent_appends_may_get_any_order() -> None:
    script = Script()
    slow = script.invoke(1, "send", ["b"])
    script.sent(0, ["a"], 1)
    script.complete(slow, EventType.OK, 0)
    script.final(9, 0, ["b", "a"])
    assert found(script) == set()


def test_an_end_asked_for_after_an_acknowledgement_does_not_hold_it() -> None:
    script = Script()
    script.sent(0, ["a", "b"], 0)
    script.end(5, 1)
    script.final(9, 0, ["a", "b"])
    assert found(script) == {AnomalyKind.STALE_TAIL}


def test_an_end_asked_for_before_the_acknowledgement_may_lack_it() -> None:
    script = Script()
    slow = script.invoke(5, "end")
    script.sent(0, ["a"], 0)
    script.complete(slow, EventType.OK, 0)
    script.final(9, 0, ["a"])
    assert found(script) == set()


@pytest.mark.parametrize("retention", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_what_a_correct_log_shows_is_never_called_wrong(seed: int, retention: bool) -> None:
    events = healthy_history(Random(seed), retention=retention)
    report = judge(events, Expectations(retention=frozenset([KEY]) if retention else frozenset()))
    assert report.anomalies == ()
    assert report.verdict is Verdict.TRUE
