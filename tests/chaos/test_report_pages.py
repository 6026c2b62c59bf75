"""A page says what its run's directory says, all of it, and nothing in the directory can break it."""

from __future__ import annotations

import json
import re
import sys
import webbrowser
from dataclasses import fields
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
import typer
from chaos.report_runs import FAULTS, PARTITION, Story, keep_run
from typer.testing import CliRunner

from quorumlog.chaos import outcome
from quorumlog.chaos.outcome import NoRun, RunRecord
from quorumlog.chaos.report import find_runs, page, write_run_report, write_suite_report
from quorumlog.chaos.report.meanings import MEANINGS, SUMS, meaning
from quorumlog.chaos.reporting import NotInstalled, report, write_reports
from quorumlog.check import AnomalyKind
from quorumlog.check.account import CommitsAccount, RecordsAccount
from quorumlog.check.repeats import GroupAccount

if TYPE_CHECKING:
    from pathlib import Path


class Outline(HTMLParser):
    """A page's tables as text, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.loads: list[str] = []
        self.scripts: list[str] = []
        self._cell: list[str] | None = None
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []
        elif tag == "script":
            self._in_script = True
            self.scripts.append("")
        self.loads += [str(named[name]) for name in ("src", "href") if name in named and tag != "a"]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None
        elif tag == "script":
            self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data
        elif self._cell is not None:
            self._cell.append(data)


def read_page(directory: Path) -> tuple[str, Outline]:
    text = write_run_report(directory).read_text(encoding="utf-8")
    return text, Outline(text)


def test_the_first_table_is_the_verdict_with_everything_that_names_the_run(tmp_path: Path) -> None:
    keep_run(tmp_path, Story(lose=400).events)
    _, outline = read_page(tmp_path)
    rows = dict(outline.tables[0])
    assert rows["verdict"] == "✖false"
    assert rows["why"].startswith(f"lost write: {PARTITION}: ")
    assert rows["scenario"] == "kill-the-leader"
    assert rows["place"] == "local, 3 nodes"
    assert rows["engine"] == "raft"
    assert rows["seed"] == "7"


def test_a_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    keep_run(tmp_path, Story().events)
    text, outline = read_page(tmp_path)
    assert outline.loads == ["data:,"]
    assert not re.search(r"@import|url\(", text)


def test_every_anomaly_stands_with_its_verdict_and_a_found_one_with_its_timeline(tmp_path: Path) -> None:
    record = keep_run(tmp_path, Story(lose=400, fork=True).events)
    text, outline = read_page(tmp_path)
    rows = [row for table in outline.tables[1:] for row in table]
    none = re.findall(r"</span>none</span> ([^<]+)</li>", text)
    for name, verdict in record.verdicts.items():
        said = {"false": "✖found", "unknown": "?unknown"}.get(verdict)
        assert (name in none) == (verdict == "true"), name
        assert any(row[0] == said and row[1].startswith(name) for row in rows) == (said is not None), name
        anchored = f'id="{name.replace(" ", "-")}"' in text
        assert anchored == (verdict == "false"), name
    assert "false" in record.verdicts.values()
    found = list(record.verdicts.values()).count("false")
    assert text.count('<svg class="lanes"') >= found
    assert 'class="op ok witness"' in text


def test_a_true_run_has_no_timelines_and_is_not_judged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = keep_run(tmp_path, Story().events)
    assert record.verdict == "true", record.why
    monkeypatch.setattr(page, "judge", None)
    text, _ = read_page(tmp_path)
    assert "<svg" not in text


def test_each_fault_is_told_with_its_victims_its_effect_and_what_it_cost(tmp_path: Path) -> None:
    keep_run(tmp_path, Story().events)
    _, outline = read_page(tmp_path)
    summary, strikes = next(
        (table, outline.tables[i + 1]) for i, table in enumerate(outline.tables) if table[0][0] == "fault"
    )
    assert [row[:3] for row in summary[1:]] == [[name, "1", "3"] for name, *_ in FAULTS]
    # The first send after the kill asks at 1.000 s, the next that is served does so at 1.300 s and waits 9 ms.
    assert summary[1][summary[0].index("append")] == "309 ms"
    assert [row[0] for row in strikes[1:]] == ["1.000 s", "2.000 s"]
    assert strikes[1][3] == json.dumps(FAULTS[0][3])


def test_what_the_nodes_said_stands_on_the_runs_clock_and_only_what_matters(tmp_path: Path) -> None:
    keep_run(tmp_path, Story().events)
    _, outline = read_page(tmp_path)
    said = next(table for table in outline.tables if table[0][:2] == ["at", "node"])
    assert [row[:3] for row in said[1:]] == [
        ["0.500 s", "1", "LeaderElected"],
        ["1.200 s", "2", "LeaderElected"],
        ["1.500 s", "1", "ReplicaDamaged"],
        ["2.250 s", "1", "peer lost: it does not accept connections any more"],
        ["2.300 s", "2", "PeerSilent"],
    ]
    assert said[3][3] == "group_id=2 why='bad checksum at 4096'"


def test_without_the_tie_between_clocks_nothing_is_put_at_a_wrong_place(tmp_path: Path) -> None:
    keep_run(tmp_path, Story().events, utc_minus_monotonic_ns=0)
    text, _ = read_page(tmp_path)
    assert "ReplicaDamaged" not in text


def test_how_to_do_it_again_is_there_to_copy(tmp_path: Path) -> None:
    record = keep_run(tmp_path / "a-run", Story().events)
    text, _ = read_page(tmp_path / "a-run")
    assert f"<code>{record.replay}</code>" in text
    assert "<code>quorumlog chaos check a-run</code>" in text


def test_nothing_in_a_run_is_taken_for_markup(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    events = [event._replace(error=evil) if event.error else event for event in Story(lose=400).events]
    events = [event._replace(key=evil) if event.operation == "fault" else event for event in events]
    keep_run(tmp_path, events, summary=evil, why=[evil], replay=evil)
    text, outline = read_page(tmp_path)
    assert "<script>alert" not in text
    assert "<img" not in text
    assert len(outline.scripts) == 3
    assert json.loads(outline.scripts[0])["figure"]["data"]


def test_a_skipped_run_says_why_and_shows_no_figure(tmp_path: Path) -> None:
    outcome.save(tmp_path, RunRecord("cut", "…", "netns", "raft", 3, 1, skipped="cut: not root"))
    text, outline = read_page(tmp_path)
    rows = dict(outline.tables[0])
    assert (rows["verdict"], rows["skipped"]) == ("–skipped", "cut: not root")
    assert 'id="figure"' not in text


def test_a_history_that_cannot_be_believed_is_left_out_and_the_page_says_so(tmp_path: Path) -> None:
    keep_run(tmp_path, Story().events, verdict="unknown")
    history = tmp_path / outcome.HISTORY_FILE
    lines = history.read_text(encoding="utf-8").splitlines(keepends=True)
    history.write_text("".join([*lines[:40], lines[30], *lines[40:]]), encoding="utf-8")
    text, outline = read_page(tmp_path)
    assert "the history cannot be judged: event" in dict(outline.tables[0])["why"]
    assert 'id="figure"' not in text


def test_reasons_that_are_alike_are_counted(tmp_path: Path) -> None:
    why = [f"lost write: lines/0: {i} is lost" for i in range(100)] + ["liveness: lines/1 does not serve"]
    keep_run(tmp_path, Story(lose=400).events, why=why)
    _, outline = read_page(tmp_path)
    said = dict(outline.tables[0])["why"]
    assert "1 is lost and 98 more of this" in said
    assert "2 is lost" not in said
    assert "lines/1 does not serve" in said


def test_every_anomaly_there_is_has_a_meaning_for_people() -> None:
    assert set(MEANINGS) == set(AnomalyKind)
    assert meaning("an anomaly of a later version") == ""


def test_every_sum_of_the_account_has_words_for_people() -> None:
    parts = {"records": RecordsAccount, "commits": CommitsAccount, "group": GroupAccount}
    sums = {f"{part} {one.name}" for part, kind in parts.items() for one in fields(kind) if one.type == "int"}
    assert set(SUMS) == sums


# --- suites and the command


def a_suite(directory: Path) -> None:
    keep_run(directory / "b-true", Story().events, scenario="b-true")
    keep_run(directory / "c-false", Story(lose=400).events, scenario="c-false")
    (directory / "a-skipped").mkdir()
    record = RunRecord("a-skipped", "…", "netns", "raft", 3, 1, skipped="cut: not root")
    outcome.save(directory / "a-skipped", record)


def test_a_suite_has_one_row_a_run_the_worst_first_and_each_leads_to_its_page(tmp_path: Path) -> None:
    a_suite(tmp_path)
    index = write_reports(tmp_path)
    text = index.read_text(encoding="utf-8")
    rows = Outline(text).tables[0][1:]
    assert [row[:2] for row in rows] == [["✖false", "c-false"], ["✔true", "b-true"], ["–skipped", "a-skipped"]]
    links = re.findall(r'<a href="([^"]+)"', text)
    assert links == [f"{name}/report.html" for name in ("c-false", "b-true", "a-skipped")]
    assert all((tmp_path / link).exists() for link in links)


def test_a_suites_totals_are_the_sums_of_its_runs(tmp_path: Path) -> None:
    a_suite(tmp_path)
    records = [outcome.load(run) for run in find_runs(tmp_path)]
    text = write_suite_report(tmp_path).read_text(encoding="utf-8")
    tiles = {name: number for number, name in re.findall(r"<b>([^<]*)</b><span>([^<]*)</span>", text)}
    assert tiles["runs"] == "3"
    assert tiles["operations"] == f"{sum(record.operation_count for record in records):,}"
    assert tiles["faults"] == "4"
    assert tiles["failovers"] == "4"
    assert tiles["checks"] == f"{sum(record.checks for record in records):,}"
    assert tiles["all together"] == "8.40 s"


def test_links_hold_where_the_index_goes_elsewhere(tmp_path: Path) -> None:
    a_suite(tmp_path / "suite")
    write_reports(tmp_path / "suite")
    (tmp_path / "pages").mkdir()
    index = write_suite_report(tmp_path / "suite", tmp_path / "pages" / "index.html")
    links = re.findall(r'<a href="([^"]+)"', index.read_text(encoding="utf-8"))
    assert links
    assert all((tmp_path / "pages" / link).exists() for link in links)


def test_the_command_prints_where_the_page_is_and_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    keep_run(tmp_path, Story().events)
    result = CliRunner().invoke(_program(), ["report", str(tmp_path), "--open"])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "report.html")
    assert opened == [(tmp_path / "report.html").resolve().as_uri()]


def test_where_there_is_no_run_the_command_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(_program(), ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert "no run in or below" in " ".join(result.output.split())
    with pytest.raises(NoRun):
        write_reports(tmp_path)


def test_without_what_makes_pages_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_run(tmp_path, Story().events)
    for name in [name for name in sys.modules if name.startswith("quorumlog.chaos.report.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "quorumlog.chaos.report")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = CliRunner().invoke(_program(), ["report", str(tmp_path)])
    assert result.exit_code == 1
    assert "pip install 'quorumlog[chaos]'" in result.stderr
    with pytest.raises(NotInstalled, match="jinja2"):
        write_reports(tmp_path)


def _program() -> typer.Typer:
    program = typer.Typer()
    program.command()(report)
    program.callback()(lambda: None)
    return program
