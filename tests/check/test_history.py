"""A history survives its file, and a recorder's bug is told from the system's."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from check.histories import KEY, Script, healthy_history

from quorumlog.check import EventType, Expectations, MalformedHistory, Verdict, judge, operations
from quorumlog.check.history import from_json, read_history, to_json, write_history

if TYPE_CHECKING:
    from pathlib import Path


def test_a_history_is_the_same_after_its_file(tmp_path: Path) -> None:
    events = healthy_history(Random(1), steps=60)
    write_history(tmp_path / "history.jsonl", events)
    assert read_history(tmp_path / "history.jsonl") == events


def test_a_line_leaves_out_what_is_not_there() -> None:
    script = Script()
    script.invoke(3, "end")
    assert to_json(script.events[0]) == (
        '{"index":0,"time_ns":0,"process":3,"type":"invoke","operation":"end","key":"lines/0"}'
    )


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"type":"never"}', '{"index":1,"type":"ok","surplus":2}'])
def test_a_line_that_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(MalformedHistory):
        from_json(line)


def test_a_completion_finds_its_own_invocation_when_several_are_open() -> None:
    script = Script()
    first, second = script.invoke(0, "send", ["a"]), script.invoke(0, "send", ["b"])
    script.complete(second, EventType.FAIL)
    script.complete(first, EventType.OK, 0)
    history = operations(script.events)
    assert [(operation.invoked.value, operation.type) for operation in history] == [
        (["a"], EventType.OK),
        (["b"], EventType.FAIL),
    ]


def test_a_process_does_nothing_after_an_unknown_outcome() -> None:
    script = Script()
    script.unknown(0, ["a"])
    script.invoke(0, "send", ["b"])
    with pytest.raises(MalformedHistory, match="unknown"):
        operations(script.events)


def test_a_completion_without_an_invocation_is_refused() -> None:
    script = Script()
    script.sent(0, ["a"], 0)
    with pytest.raises(MalformedHistory, match="not open"):
        operations(script.events[1:])


def test_a_second_completion_is_refused() -> None:
    script = Script()
    script.sent(0, ["a"], 0)
    with pytest.raises(MalformedHistory, match="not open"):
        operations([*script.events, script.events[1]._replace(index=2)])


def test_time_does_not_go_back() -> None:
    script = Script()
    script.sent(0, ["a"], 0)
    with pytest.raises(MalformedHistory, match="not after"):
        operations([script.events[0]._replace(time_ns=9), script.events[1]])


# --- a run that proves nothing is not true ------------------------------------------------------------------------


def good_script() -> Script:
    script = Script()
    script.sent(0, ["a"], 0)
    script.final(9, 0, ["a"])
    return script


def test_without_a_final_read_the_verdict_is_unknown() -> None:
    script = Script()
    script.sent(0, ["a"], 0)
    report = judge(script.events)
    assert report.verdict is Verdict.UNKNOWN
    assert report.vacuous == (f"{KEY} was not read to its end",)


def test_a_final_read_that_stops_short_of_the_end_it_names_is_none() -> None:
    script = Script()
    script.sent(0, ["a", "b"], 0)
    script.final(9, 0, ["a"], end=2)
    assert judge(script.events).verdict is Verdict.UNKNOWN


def test_too_few_successes_are_not_true() -> None:
    report = judge(good_script().events, Expectations(ok={"send": 2}))
    assert report.verdict is Verdict.UNKNOWN
    assert report.vacuous == ("1 send operations succeeded; 2 are needed",)


@pytest.mark.parametrize(("effect", "verdict"), [(0, Verdict.UNKNOWN), (3, Verdict.TRUE)])
def test_a_fault_must_have_had_an_effect(effect: int, verdict: Verdict) -> None:
    script = good_script()
    script.complete(script.invoke(-1, "fault", "node 2", key="partition"), EventType.OK, {"effect": effect})
    assert judge(script.events, Expectations(effects=("partition",))).verdict is verdict


def test_an_empty_history_is_not_true() -> None:
    assert judge([]).verdict is Verdict.UNKNOWN


def test_an_anomaly_outweighs_an_empty_proof() -> None:
    script = Script()
    script.read(5, 0, ["nobody sent this"])
    assert judge(script.events, Expectations(ok={"send": 5})).verdict is Verdict.FALSE
