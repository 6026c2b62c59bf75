"""The page of a suite: one row a run, what all of them together did, and a link to each.

A suite is a directory with runs somewhere below it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from quorumlog.chaos import outcome
from quorumlog.chaos.report import words
from quorumlog.chaos.report.page import asset, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.chaos.outcome import RunRecord

INDEX_FILE = "index.html"
_ORDER = {"false": 0, "unknown": 1, "true": 2, "skipped": 3}


def is_run(directory: Path) -> bool:
    """There is a run in the directory itself."""
    return (directory / outcome.RUN_FILE).exists()


def find_runs(directory: Path) -> list[Path]:
    """The directories of all runs at or below ``directory``, by name."""
    return sorted(path.parent for path in directory.rglob(outcome.RUN_FILE))


def write_suite_report(directory: Path, output: Path | None = None) -> Path:
    """Makes the index of all runs below ``directory`` and returns where it is: ``output``, or ``index.html`` in the
    directory. Links lead to the runs' own pages, where these have been made. Raises NoRun, OSError."""
    runs = [(path, outcome.load(path)) for path in find_runs(directory)]
    if not runs:
        raise outcome.NoRun(f"no run in or below {directory}")
    path = output or directory / INDEX_FILE
    rows = [_row(run, record, path.parent) for run, record in runs]
    rows.sort(key=lambda row: _ORDER[row["verdict"]])
    context = {
        "name": directory.resolve().name,
        "rows": rows,
        "verdicts": {name: sum(row["verdict"] == name for row in rows) for name in _ORDER},
        "totals": _totals([record for _, record in runs]),
        "script": Markup(asset("suite.js")),
    }
    path.write_text(environment().get_template("suite.html.j2").render(context), encoding="utf-8")
    return path


def _row(run: Path, record: RunRecord, base: Path) -> dict[str, Any]:
    page = run / outcome.REPORT_FILE
    return {
        "record": record,
        "verdict": "skipped" if record.skipped else record.verdict,
        "why": record.skipped or next(iter(record.why), ""),
        "whys": max(0, len(record.why) - 1),
        "link": Path(os.path.relpath(page, base)).as_posix() if page.exists() else "",
        **_counts(record),
    }


def _counts(record: RunRecord) -> dict[str, int]:
    return {
        "operations": record.operation_count,
        "faults": record.fault_count,
        "failovers": record.failovers,
        "checks": record.checks,
    }


def _totals(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    each = [_counts(record) for record in records]
    totals = [(words.count(sum(one[name] for one in each)), name) for name in each[0]]
    seconds = sum(record.duration_s for record in records)
    return [(words.count(len(records)), "runs"), *totals, (words.duration(seconds * 1e9), "all together")]
