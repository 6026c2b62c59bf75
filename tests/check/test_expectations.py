"""A run that proves nothing is not true, whatever kept it from proving something; and what it expected survives its
file."""

from __future__ import annotations

import json

import pytest
from check.histories import Script
from check.offset_histories import OffsetScript

from quorumlog.check import EventType, Expectations, MalformedExpectations, Verdict, judge


def shortfalls(script: Script, expectations: Expectations) -> tuple[str, ...]:
    report = judge(script.events, expectations)
    assert report.verdict is (Verdict.UNKNOWN if report.vacuous else Verdict.TRUE)
    return report.vacuous


def good_script() -> Script:
    script = Script()
    script.sent(0, ["a"], 0)
    return script


def ended(script: Script) -> Script:
    script.final(9, 0, ["a"])
    return script


def strike(script: Script, name: str = "kill leader") -> int:
    return script.invoke(-1, "fault", {"nodes": [2]}, name)


def recover(script: Script, fault: int, effect: int = 1) -> None:
    script.complete(fault, EventType.OK, {"effect": effect})


def mark(script: Script, name: str, value: object = None) -> None:
    script.complete(script.invoke(-2, name, key=""), EventType.OK, value)


def test_a_fault_without_effect_and_one_that_never_struck_are_told_apart() -> None:
    script = good_script()
    recover(script, strike(script, "pause"), 0)
    assert shortfalls(ended(script), Expectations(effects=("pause", "kill leader"))) == (
        "the fault 'pause' had no observable effect",
        "the fault 'kill leader' never struck",
    )


def test_a_fault_that_found_nobody_had_no_effect() -> None:
    script = good_script()
    script.complete(strike(script), EventType.FAIL)
    assert shortfalls(ended(script), Expectations(effects=("kill leader",))) == (
        "the fault 'kill leader' had no observable effect",
    )


@pytest.mark.parametrize(("seen", "enough"), [(0, False), (1, False), (2, True)])
def test_a_failover_that_was_meant_must_have_been_seen(seen: int, enough: bool) -> None:
    script = good_script()
    mark(script, "elections", {"count": seen})
    why = () if enough else (f"{seen} leaders were elected while there were faults; 2 are needed",)
    assert shortfalls(ended(script), Expectations(failovers=2)) == why


def read_amid(*, brings: list[str], healed_before: bool = False, strikes_before: bool = True) -> Script:
    script = good_script()
    fault = strike(script) if strikes_before else 0
    if healed_before:
        recover(script, fault)
        mark(script, "healed")
    script.assign(5, 0)
    script.read(5, 0, brings, end=1)
    if not strikes_before:
        fault = strike(script)
    if not healed_before:
        recover(script, fault)
        mark(script, "healed")
    return ended(script)


@pytest.mark.parametrize(
    ("script", "enough"),
    [
        (read_amid(brings=["a"]), True),
        (read_amid(brings=[]), False),
        (read_amid(brings=["a"], healed_before=True), False),
        (read_amid(brings=["a"], strikes_before=False), False),
    ],
    ids=["brought a record", "brought nothing", "after healing", "before the fault"],
)
def test_somebody_must_have_read_something_while_there_were_faults(script: Script, enough: bool) -> None:
    why = () if enough else ("0 read operations succeeded while there were faults; 1 are needed",)
    assert shortfalls(script, Expectations(amid={"read": 1})) == why


def test_what_was_permanently_broken_does_not_stretch_the_faults_beyond_healing() -> None:
    script = good_script()
    fault = strike(script)
    mark(script, "healed")
    script.sent(0, ["b"], 1)
    recover(script, fault)
    script.final(9, 0, ["a", "b"])
    assert shortfalls(script, Expectations(amid={"send": 1})) == (
        "0 send operations succeeded while there were faults; 1 are needed",
    )


def test_members_that_were_given_partitions_must_have_processed_something() -> None:
    script = OffsetScript()
    script.sent(0, ["a"], 0)
    script.assigned(1, "one", 3, ["lines/0"])
    script.final(9, 0, ["a"])
    assert shortfalls(script, Expectations()) == (
        "the members of group were given partitions and processed nothing",
    )


def test_a_group_that_was_given_nothing_need_not_process_anything() -> None:
    script = OffsetScript()
    script.sent(0, ["a"], 0)
    script.assigned(1, "one", 3, [])
    script.final(9, 0, ["a"])
    assert shortfalls(script, Expectations()) == ()


def test_an_owner_whose_takeover_is_not_in_the_history_proves_nothing_about_resuming() -> None:
    script = OffsetScript()
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 4)
    script.process(2, 2, 5, 6)
    report = judge(script.events, Expectations(final_reads=False))
    assert report.vacuous == ("group@lines/0 was processed under epoch 2, and nobody was seen to acquire it",)


EXPECTED = Expectations(
    ok={"send": 5},
    amid={"read": 1},
    effects=("pause", "kill leader"),
    failovers=2,
    final_reads=False,
    retention=frozenset(["lines/1", "lines/0"]),
    orphan_ms=4000,
    search_steps=30,
)


def test_expectations_are_the_same_after_their_file() -> None:
    text = json.dumps(EXPECTED.to_json())
    assert Expectations.from_json(json.loads(text)) == EXPECTED
    assert Expectations().to_json() == {}
    assert Expectations.from_json({}) == Expectations()


def test_every_expectation_is_written_down() -> None:
    assert set(EXPECTED.to_json()) == set(Expectations.__dataclass_fields__)


@pytest.mark.parametrize(
    "wrong",
    [
        {"unheard_of": 1},
        {"ok": ["send"]},
        {"ok": {"send": "5"}},
        {"effects": "pause"},
        {"failovers": True},
        {"orphan_ms": -1},
        {"final_reads": 0},
    ],
    ids=str,
)
def test_what_cannot_be_expected_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(MalformedExpectations):
        Expectations.from_json(wrong)
