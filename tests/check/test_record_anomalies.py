"""Each anomaly is found in a short history that has it, and in that one only; a history without it is let pass."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from check.histories import KEY, Script, healthy_history

from quorumlog.check import AnomalyKind, Event, EventType, Expectations, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Callable


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


# --- mutators: what a broken log would have shown instead --------------------------------------------------------


def drop_a_final_record(random: Random, events: list[Event]) -> list[Event]:
    """Deletes one acknowledged record from the final read: it was lost."""
    acknowledged = {
        value for event in events if is_ok(event, "send") for value in events[event.invocation or 0].value
    }
    places = [
        (index, offset + position)
        for index, event in enumerate(events)
        if is_ok(event, "final_read")
        for offset, values in event.value["batches"]
        for position, value in enumerate(values)
        if value in acknowledged
    ]
    index, missing = random.choice(places)
    return replaced(
        events, index, [(offset, value) for offset, value in records(events[index]) if offset != missing]
    )


def swap_two_final_records(random: Random, events: list[Event]) -> list[Event]:
    """Swaps the values of two neighbours in the final read, one of which was claimed there before: order was not
    kept."""
    known = {
        event.value + position
        for event in events
        if is_ok(event, "send")
        for position in range(len(events[event.invocation or 0].value))
    }
    choices = [
        (index, position)
        for index, event in enumerate(events)
        if is_ok(event, "final_read")
        for position in range(len(records(event)) - 1)
        if records(event)[position][0] in known
    ]
    index, position = random.choice(choices)
    found = records(events[index])
    (low, first), (high, second) = found[position], found[position + 1]
    found[position : position + 2] = [(low, second), (high, first)]
    return replaced(events, index, found)


def repeat_a_final_record(random: Random, events: list[Event]) -> list[Event]:
    """The last record of the final read comes twice: a retried append had two effects."""
    index = max(index for index, event in enumerate(events) if is_ok(event, "final_read") and records(event))
    found = records(events[index])
    return replaced(events, index, [*found, (found[-1][0] + 1, found[-1][1])])


def fail_a_read_send(random: Random, events: list[Event]) -> list[Event]:
    """Says of an acknowledged send that it failed: a timeout reported as a failure."""
    index = random.choice([index for index, event in enumerate(events) if is_ok(event, "send")])
    return [*events[:index], events[index]._replace(type=EventType.FAIL, value=None), *events[index + 1 :]]


def forget_an_invocation(random: Random, events: list[Event]) -> list[Event]:
    """Removes a send that was acknowledged, both its events: its value came from nowhere."""
    index = random.choice([index for index, event in enumerate(events) if is_ok(event, "send")])
    gone = {index, events[index].invocation}
    return [event for position, event in enumerate(events) if position not in gone]


def roll_an_end_back(random: Random, events: list[Event]) -> list[Event]:
    """Appends a linearizable end that ignores everything."""
    script = Script()
    script.recorder.events = list(events)
    script.end(1000, 0)
    return script.events


def read_from_elsewhere(random: Random, events: list[Event]) -> list[Event]:
    """One record of a reader's poll is left out in its middle: it jumped."""
    places = [index for index, event in enumerate(events) if is_ok(event, "read") and len(records(event)) > 2]
    index = random.choice(places)
    found = records(events[index])
    return replaced(events, index, found[:1] + found[2:])


def is_ok(event: Event, operation: str) -> bool:
    return event.type is EventType.OK and event.operation == operation


def records(event: Event) -> list[tuple[int, int]]:
    return [
        (offset + position, value)
        for offset, values in event.value["batches"]
        for position, value in enumerate(values)
    ]


def replaced(events: list[Event], index: int, found: list[tuple[int, int]]) -> list[Event]:
    answer = {**events[index].value, "batches": [[offset, [value]] for offset, value in found]}
    return [*events[:index], events[index]._replace(value=answer), *events[index + 1 :]]


MUTATORS = [
    (drop_a_final_record, {AnomalyKind.LOST_WRITE, AnomalyKind.UNSEEN}),
    (swap_two_final_records, {AnomalyKind.INCONSISTENT_OFFSET}),
    (repeat_a_final_record, {AnomalyKind.DUPLICATE}),
    (fail_a_read_send, {AnomalyKind.ABORTED_READ}),
    (forget_an_invocation, {AnomalyKind.PHANTOM}),
    (roll_an_end_back, {AnomalyKind.STALE_TAIL}),
    (read_from_elsewhere, {AnomalyKind.SKIP}),
]


@pytest.mark.parametrize(("mutate", "expected"), MUTATORS, ids=lambda part: getattr(part, "__name__", ""))
@pytest.mark.parametrize("seed", range(10))
def test_a_mutated_history_shows_what_was_done_to_it(
    seed: int, mutate: Callable[[Random, list[Event]], list[Event]], expected: set[AnomalyKind]
) -> None:
    random = Random(seed)
    events = mutate(random, healthy_history(random, steps=200))
    report = judge(events)
    assert {anomaly.kind for anomaly in report.anomalies} & expected
    assert report.verdict is Verdict.FALSE
