"""The page of one run: reads its directory, judges its history once more, and writes the page beside it.

The verdict is the record's: whoever ran it saw more than the history (whether the cluster came back in time,
whether replicas agree). The findings with their witnesses come from judging the history again, which is what it was
kept for.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from quorumlog.chaos import outcome
from quorumlog.chaos.report import words
from quorumlog.chaos.report.charts import Mark, choices, figure
from quorumlog.chaos.report.findings import Kind, anchor, by_kind
from quorumlog.chaos.report.meanings import SUMS, meaning
from quorumlog.chaos.report.node_logs import read_logs
from quorumlog.chaos.report.points import cloud
from quorumlog.check import Expectations, MalformedExpectations, MalformedHistory, Report, judge, operations
from quorumlog.check.account import Account, account
from quorumlog.check.history import read_history

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from quorumlog.chaos.outcome import RunRecord
    from quorumlog.chaos.report.node_logs import Said
    from quorumlog.check import Event
    from quorumlog.check.account import FaultAccount

#: Strikes and lines of nodes that a page lists; the figure shows all.
_MOST_STRIKES = 300
_MOST_SAID = 300
_SERVICES = ("append", "read", "offsets", "consume")
_NONE = "–"


def write_run_report(directory: Path, output: Path | None = None) -> Path:
    """Makes the page of the run in ``directory`` and returns where it is: ``output``, or ``report.html`` beside the
    run. Raises NoRun, OSError."""
    record = outcome.load(directory)
    path = output or directory / outcome.REPORT_FILE
    path.write_text(render_run(directory, record), encoding="utf-8")
    return path


def render_run(directory: Path, record: RunRecord) -> str:
    """The whole page as text; a history that cannot be believed is left out, and the page says so. Raises
    OSError."""
    context = _of_no_history() | {"directory": directory.name}
    history = directory / outcome.HISTORY_FILE
    if history.exists() and not record.skipped:
        try:
            events = read_history(history)
            if events:
                said = read_logs(directory, record.utc_minus_monotonic_ns)
                context |= _of_the_history(record, events, said)
        except (MalformedHistory, MalformedExpectations) as error:
            record = replace(record, why=[*record.why, f"the history cannot be judged: {error}"])
    context = _of_the_record(record) | context
    return environment().get_template("run.html.j2").render(context)


@cache
def environment() -> Environment:
    """The templates, with the style put in and the pages' words as filters."""
    made = Environment(
        loader=PackageLoader("quorumlog.chaos.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters |= {"count": words.count, "duration": words.duration, "moment": words.moment}
    made.globals["style"] = Markup(asset("style.css"))
    return made


def asset(name: str) -> str:
    return files("quorumlog.chaos.report").joinpath("templates", name).read_text(encoding="utf-8")


def _of_the_record(record: RunRecord) -> dict[str, Any]:
    alive = record.alive_ns - record.healed_ns
    outcomes = [
        _outcome(name, kinds) for name, kinds in sorted(record.operations.items()) if name not in outcome.MARKS
    ]
    return {
        "record": record,
        "shown_verdict": "skipped" if record.skipped else record.verdict,
        "why": outcome.reasons(record.why),
        "anomalies": _anomalies(record.verdicts, ()),
        "operation_total": record.operation_count,
        "alive_after": words.duration(alive) if record.alive_ns else _NONE,
        "outcomes": outcomes,
    }


def _of_no_history() -> dict[str, Any]:
    return {
        "has_history": False,
        "findings": [],
        "doubts": [],
        "faults": [],
        "strikes": [],
        "unlisted_strikes": 0,
        "services": [],
        "totals": [],
        "complaints": [],
        "said": [],
        "unsaid": 0,
        "longest_gap": _NONE,
        "calm_gap": _NONE,
        "script": Markup(asset("run.js")),
        "origin_ns": 0,
    }


def _of_the_history(record: RunRecord, events: Sequence[Event], said: Sequence[Said]) -> dict[str, Any]:
    history = operations(events)
    found = account(events, int(record.patience_s * 1000))
    # A run without a flaw has nothing to show, and to look for it again takes longer than all else.
    expectations = Expectations.from_json(record.expectations)
    judged = Report({}, (), ()) if record.verdict == "true" else judge(events, expectations)
    origin_ns = record.load_began_ns or found.began_ns
    spans = [strike.fault for strike in found.faults]
    findings = by_kind(judged.anomalies, history, spans, origin_ns)
    dots = cloud(history, {one.operation for one in found.series.operations}, origin_ns, found.ended_ns)
    marks = [
        Mark(time_ns, name)
        for time_ns, name in ((record.healed_ns or found.healed_ns, "healed"), (record.alive_ns, "serves again"))
        if time_ns
    ]
    within = [one for one in said if found.began_ns <= one.time_ns <= found.ended_ns]
    told = sorted(within, key=lambda one: (one.family not in ("harm", "trouble"), one.time_ns))[:_MOST_SAID]
    return {
        "has_history": True,
        "findings": findings,
        "doubts": judged.doubts,
        "anomalies": _anomalies(
            {kind.value: verdict.value for kind, verdict in judged.verdicts.items()} | record.verdicts, findings
        ),
        "data": _for_script(
            {"figure": figure(found, dots, within, marks, origin_ns), "choices": choices(found, dots)}
        ),
        "plotly": _packed_plotly(),
        "origin_ns": origin_ns,
        "said": sorted(told),
        "unsaid": len(within) - len(told),
    } | _of_the_account(found, origin_ns)


def _of_the_account(found: Account, origin_ns: int) -> dict[str, Any]:
    gaps = [gap for strike in found.faults for gap in strike.gaps]
    outcomes = [
        _outcome(name, kinds) for name, kinds in sorted(found.operations.items()) if name not in outcome.MARKS
    ]
    longest_ms = max((gap.length_ms for gap in gaps), default=0.0)
    return {
        "operation_total": sum(one["total"] for one in outcomes),
        "outcomes": outcomes,
        "unlisted_strikes": max(0, len(found.faults) - _MOST_STRIKES),
        "services": [service for service in _SERVICES if any(gap.service == service for gap in gaps)],
        "faults": _fault_rows(found.faults, longest_ms),
        "strikes": [_strike_row(strike, origin_ns) for strike in found.faults[:_MOST_STRIKES]],
        "longest_gap": words.duration(longest_ms * 1e6) if gaps else _NONE,
        "calm_gap": words.duration(found.calm_gaps[0].length_ms * 1e6)
        if found.calm_gaps
        else "nothing to speak of",
        "totals": [(SUMS.get(name, name), number) for name, number in found.totals.items() if number],
        "complaints": found.complaints,
    }


def _outcome(name: str, kinds: dict[str, int]) -> dict[str, Any]:
    ok, failed, unknown = (kinds.get(kind, 0) for kind in ("ok", "fail", "info"))
    return {"name": name, "ok": ok, "unknown": unknown, "failed": failed, "total": ok + unknown + failed}


def _anomalies(verdicts: dict[str, str], findings: Sequence[Kind]) -> list[dict[str, Any]]:
    """What is bad first, then what is unknown."""
    counts = {kind.name: kind.found for kind in findings}
    order = {"false": 0, "unknown": 1, "true": 2}
    return [
        {
            "name": name,
            "verdict": verdict,
            "meaning": meaning(name),
            "found": counts.get(name, 0),
            "anchor": anchor(name),
        }
        for name, verdict in sorted(verdicts.items(), key=lambda item: order[item[1]])
    ]


def _fault_rows(faults: Sequence[FaultAccount], longest_ms: float) -> list[dict[str, Any]]:
    """A row for each fault by name: the worst of its strikes."""
    rows = []
    for name in dict.fromkeys(strike.fault.name for strike in faults):
        strikes = [strike for strike in faults if strike.fault.name == name]
        worst: dict[str, float] = {}
        for gap in (gap for strike in strikes for gap in strike.gaps):
            worst[gap.service] = max(worst.get(gap.service, 0.0), gap.length_ms)
        rows.append(
            {
                "name": name,
                "times": len(strikes),
                "effect": sum(strike.fault.effect or 0 for strike in strikes),
                "gaps": {
                    service: words.duration(worst[service] * 1e6) if service in worst else _NONE
                    for service in _SERVICES
                },
                "share": 100 * max(worst.values(), default=0.0) / (longest_ms or 1.0),
            }
        )
    return rows


def _strike_row(strike: FaultAccount, origin_ns: int) -> dict[str, Any]:
    fault = strike.fault
    gap = strike.gaps[0] if strike.gaps else None
    return {
        "at": words.moment(fault.began_ns, origin_ns),
        "lasted": words.duration(fault.ended_ns - fault.began_ns),
        "name": fault.name,
        "told": words.value(fault.told) if fault.told else "",
        "effect": _NONE if fault.effect is None else words.count(fault.effect),
        "gap": "" if gap is None else f"{words.duration(gap.length_ms * 1e6)} ({gap.service} {gap.key})",
    }


def _for_script(data: dict[str, Any]) -> Markup:
    """JSON that may stand inside a script element: "<" is the only way out of one."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


@cache
def _packed_plotly() -> str:
    """plotly.js, packed as the page unpacks it: 2 MB instead of 5."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
