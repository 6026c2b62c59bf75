"""``chaos check`` judges saved histories as their runs expected, says so by its exit code, and refuses what is no
history."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import typer
from check.histories import Script, healthy_history
from check.long_histories import long_history
from typer.testing import CliRunner

from quorumlog.chaos import outcome
from quorumlog.chaos.checking import Unreadable, check, check_history, check_path, check_run
from quorumlog.chaos.outcome import RunRecord
from quorumlog.check import EventType, Expectations, Verdict
from quorumlog.check.history import write_history

if TYPE_CHECKING:
    from pathlib import Path

    from quorumlog.check import Event

TRUE, UNKNOWN, USAGE, FALSE = 0, 1, 2, 4

app = typer.Typer()
app.command()(check)


def run_check(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def save_run(directory: Path, events: list[Event], expectations: Expectations, patience_s: float = 15.0) -> Path:
    directory.mkdir(parents=True)
    record = RunRecord("some-scenario", "all is well", "local", "raft", 3, 1, verdict="true")
    record.expectations, record.patience_s = expectations.to_json(), patience_s
    outcome.save(directory, record)
    write_history(directory / outcome.HISTORY_FILE, events)
    return directory


def lost() -> list[Event]:
    script = Script()
    script.sent(0, ["a"], 0)
    script.sent(0, ["b"], 1)
    script.read(5, 0, ["a", "b"])
    script.final(9, 0, ["a"])
    return script.events


@pytest.fixture
def good() -> list[Event]:
    return healthy_history(Random(1), steps=60)


def test_a_good_history_is_true(tmp_path: Path, good: list[Event]) -> None:
    write_history(tmp_path / "some.jsonl", good)
    code, output = run_check(tmp_path / "some.jsonl")
    assert code == TRUE
    assert output.startswith("true")
    assert "acknowledged" in output


def test_what_was_found_is_shown_with_its_operations_and_the_code_is_4(tmp_path: Path) -> None:
    write_history(tmp_path / "some.jsonl", lost())
    code, output = run_check(tmp_path / "some.jsonl")
    assert code == FALSE
    assert "lost write: lines/0: 'b' at offset 1 is lost (postfix); read from node 1" in output
    assert "[2] process 0 send ['b'] -> [3] ok 1" in output


def test_what_a_run_expected_is_asked_of_its_history(tmp_path: Path, good: list[Event]) -> None:
    run = save_run(tmp_path / "run", good, Expectations(ok={"send": 100_000}))
    assert check_run(run).verdict is Verdict.UNKNOWN
    code, output = run_check(run)
    assert code == UNKNOWN
    assert "100000 are needed" in output
    # The history of a run is that run, however it is named.
    assert run_check(run / outcome.HISTORY_FILE)[0] == UNKNOWN


def test_a_directory_of_runs_is_as_bad_as_its_worst(tmp_path: Path, good: list[Event]) -> None:
    save_run(tmp_path / "suite" / "good", good, Expectations())
    assert run_check(tmp_path / "suite")[0] == TRUE
    save_run(tmp_path / "suite" / "vague", good, Expectations(failovers=1))
    assert run_check(tmp_path / "suite")[0] == UNKNOWN
    save_run(tmp_path / "suite" / "bad", lost(), Expectations())
    assert run_check(tmp_path / "suite")[0] == FALSE
    assert [result.verdict for result in check_path(tmp_path / "suite")] == [
        Verdict.FALSE,
        Verdict.TRUE,
        Verdict.UNKNOWN,
    ]


def test_what_a_run_failed_by_beside_its_history_is_recalled(tmp_path: Path, good: list[Event]) -> None:
    run = save_run(tmp_path / "run", good, Expectations())
    record = outcome.load(run)
    record.verdict, record.why = "false", ["liveness: 15 s after healing no append"]
    outcome.save(run, record)
    code, output = run_check(run)
    assert code == TRUE
    assert "when it ran it was false: liveness: 15 s after healing no append" in output


def test_skipped_runs_of_a_suite_are_left_out_and_nothing_but_those_is_unknown(tmp_path: Path) -> None:
    skipped = tmp_path / "suite" / "skipped"
    skipped.mkdir(parents=True)
    outcome.save(skipped, RunRecord("s", "", "netns", "raft", 3, 1, skipped="no root"))
    assert run_check(tmp_path / "suite")[0] == UNKNOWN
    with pytest.raises(Unreadable, match="no root"):
        check_run(skipped)


@pytest.mark.parametrize(("strikes", "lines"), [(3, 3), (50, 1)])
def test_what_faults_cost_is_listed_by_strike_or_when_they_are_many_by_kind(
    tmp_path: Path, strikes: int, lines: int
) -> None:
    script = Script()
    script.sent(0, ["a"], 0)
    for _ in range(strikes):
        fault = script.invoke(-1, "fault", {"nodes": [1]}, "kill leader")
        script.complete(fault, EventType.OK, {"effect": 2})
    script.final(9, 0, ["a"])
    write_history(tmp_path / "some.jsonl", script.events)
    code, output = run_check(tmp_path / "some.jsonl")
    assert code == TRUE
    assert output.count("kill leader") == lines
    assert ("not served for, at most" in output) is (lines == 1)


def test_json_names_everything(tmp_path: Path) -> None:
    write_history(tmp_path / "some.jsonl", lost())
    code, output = run_check(tmp_path / "some.jsonl", "--format", "json")
    (found,) = json.loads(output)
    assert code == FALSE
    assert found["verdict"] == "false"
    assert found["verdicts"]["lost write"] == "false"
    assert found["anomalies"][0]["witness"] == [2, 6]
    assert found["account"]["totals"]["records acknowledged"] == 2


def test_time_that_is_over_makes_unknown_of_what_was_not_looked_for(tmp_path: Path) -> None:
    write_history(tmp_path / "long.jsonl", long_history(5_000))
    assert check_history(tmp_path / "long.jsonl", Expectations()).verdict is Verdict.TRUE
    result = check_history(tmp_path / "long.jsonl", Expectations(), budget_s=1e-6)
    assert result.verdict is Verdict.UNKNOWN
    assert set(result.report.verdicts.values()) == {Verdict.UNKNOWN}
    assert run_check(tmp_path / "long.jsonl", "--budget-s", "0.000001")[0] == UNKNOWN


def waits_after_healing(seconds: int) -> list[Event]:
    script = Script()
    send = script.invoke(0, "send", ["a"])
    script.complete(script.invoke(-2, "healed", key=""), EventType.OK)
    script.complete(send, EventType.OK, 0)
    script.final(9, 0, ["a"])
    return [
        event._replace(time_ns=event.time_ns + (seconds * 10**9 if event.index > 2 else 0))
        for event in script.events
    ]


def test_an_account_that_does_not_balance_is_false(tmp_path: Path) -> None:
    slow = save_run(tmp_path / "slow", waits_after_healing(20), Expectations())
    code, output = run_check(slow)
    assert code == FALSE
    assert "after healing nobody was served for 20000 ms (append); 15000 ms are allowed" in output
    patient = save_run(tmp_path / "patient", waits_after_healing(20), Expectations(), patience_s=30.0)
    assert run_check(patient)[0] == TRUE


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


INVOKE: dict[str, Any] = {
    "index": 0,
    "time_ns": 0,
    "process": 1,
    "type": "invoke",
    "operation": "read",
    "key": "k",
    "value": 0,
}


@pytest.mark.parametrize(
    "lines",
    [
        ["not json"],
        [json.dumps(INVOKE)[:30]],
        [json.dumps({**INVOKE, "type": "ok", "invocation": 7})],
        [
            json.dumps(INVOKE),
            json.dumps({**INVOKE, "index": 1, "type": "ok", "invocation": 0, "value": {"start": 0}}),
        ],
        [json.dumps({**INVOKE, "index": "first"})],
    ],
    ids=["text", "half a line", "an answer to nothing", "an answer that is none", "a word for a number"],
)
def test_what_is_no_history_is_refused(tmp_path: Path, lines: list[str]) -> None:
    path = write_lines(tmp_path / "some.jsonl", *lines)
    with pytest.raises(Unreadable, match=r"some\.jsonl is no history"):
        check_history(path, Expectations())
    code, output = run_check(path)
    assert code == USAGE
    assert "no history" in output


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    assert run_check(tmp_path / "nothing")[0] == USAGE
    assert run_check(tmp_path)[0] == USAGE
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    assert run_check(tmp_path / "bytes")[0] == USAGE


def test_a_run_that_expected_what_nobody_knows_is_refused(tmp_path: Path, good: list[Event]) -> None:
    run = save_run(tmp_path / "run", good, Expectations())
    record = json.loads((run / outcome.RUN_FILE).read_text())
    (run / outcome.RUN_FILE).write_text(json.dumps({**record, "expectations": {"luck": 7}}))
    code, output = run_check(run)
    assert code == USAGE
    assert "luck" in output
