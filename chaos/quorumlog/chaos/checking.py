"""``quorumlog chaos check``: judges saved histories again, with what their runs had expected of themselves.

The clock is here and nowhere in ``quorumlog.check``: a budget in seconds becomes a question that the judge asks now
and then. What was not looked for when the time was over is unknown.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from quorumlog.chaos import outcome
from quorumlog.chaos.outcome import RunRecord
from quorumlog.check import Expectations, MalformedExpectations, MalformedHistory, Report, Verdict, judge
from quorumlog.check.account import Account, account
from quorumlog.check.account import to_json as account_to_json
from quorumlog.check.availability import SERVICES
from quorumlog.check.history import describe, read_history
from quorumlog.cluster.failures import FAILED, FOUND_SOMETHING, USAGE
from quorumlog.cluster.output import Format, FormatOption, console, duration, error_console, print_json, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quorumlog.check import Anomaly

#: Anomalies of one kind, and operations of one witness, that are shown in full.
_SHOWN = 3
_SHOWN_OPERATIONS = 6
#: Strikes that are listed one by one; of more, their kinds.
_SHOWN_STRIKES = 20
COLOURS = {Verdict.TRUE: "green", Verdict.FALSE: "bold red", Verdict.UNKNOWN: "yellow"}


class Unreadable(Exception):
    """What was named is neither a history nor a run; the message is one line."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one history."""

    history: Path
    report: Report
    account: Account
    seconds: float
    record: RunRecord | None = None
    """Of the run whose history it is; a run may also have failed by what no history shows (liveness, say)."""

    @property
    def verdict(self) -> Verdict:
        """The report's; and false if the account does not balance."""
        return Verdict.FALSE if self.account.complaints else self.report.verdict

    def to_json(self) -> dict[str, Any]:
        report = self.report
        return {
            "history": str(self.history),
            "verdict": self.verdict.value,
            "verdict_when_run": None if self.record is None else self.record.verdict,
            "verdicts": {kind.value: verdict.value for kind, verdict in report.verdicts.items()},
            "anomalies": [_anomaly_to_json(anomaly) for anomaly in report.anomalies],
            "vacuous": list(report.vacuous),
            "doubts": list(report.doubts),
            "examined": report.examined,
            "account": account_to_json(self.account),
            "seconds": round(self.seconds, 2),
        }


def check_history(path: Path, expectations: Expectations, budget_s: float = 0.0, liveness_ms: int = 0) -> Checked:
    """Judges one history. ``budget_s``: what has not been looked for by then is unknown; 0: take the time it takes.
    ``liveness_ms``: after healing nobody may have waited longer; 0: not asked. Raises Unreadable."""
    began = time.monotonic()
    deadline = began + budget_s

    def spent() -> bool:
        return bool(budget_s) and time.monotonic() >= deadline

    with _without_collector():
        try:
            events = read_history(path)
            report = judge(events, expectations, spent)
            found = account(events, liveness_ms)
        except (OSError, UnicodeDecodeError) as error:
            raise Unreadable(f"{path} cannot be read: {error}") from error
        except MalformedHistory as error:
            raise Unreadable(f"{path} is no history: {error}") from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # An event is well formed and its value is not what such an operation carries.
            raise Unreadable(f"{path} is no history of ours: {type(error).__name__}: {error}") from error
    return Checked(path, report, found, time.monotonic() - began)


def check_run(directory: Path, budget_s: float = 0.0) -> Checked:
    """Judges the history of a run by what the run expected. Raises Unreadable."""
    try:
        record = outcome.load(directory)
        expectations = Expectations.from_json(record.expectations)
    except (outcome.NoRun, MalformedExpectations) as error:
        raise Unreadable(f"{directory}: {error}") from error
    if record.skipped:
        raise Unreadable(f"{directory} was skipped: {record.skipped}")
    liveness_ms = int(record.patience_s * 1000)
    result = check_history(directory / outcome.HISTORY_FILE, expectations, budget_s, liveness_ms)
    return replace(result, record=record)


def check_path(path: Path, budget_s: float = 0.0) -> list[Checked]:
    """A run, every run below a directory (skipped ones left out), or a history; one beside its ``run.json`` is
    that run's. Raises Unreadable."""
    if path.is_dir():
        if (path / outcome.RUN_FILE).exists():
            return [check_run(path, budget_s)]
        runs = sorted(found.parent for found in path.rglob(outcome.RUN_FILE))
        if not runs:
            raise Unreadable(f"no run in {path}")
        return [check_run(run, budget_s) for run in runs if (run / outcome.HISTORY_FILE).exists()]
    if path.name == outcome.HISTORY_FILE and (path.parent / outcome.RUN_FILE).exists():
        return [check_run(path.parent, budget_s)]
    return [check_history(path, Expectations(), budget_s)]


def check(
    path: Annotated[Path, typer.Argument(help="A history (JSON lines), a run, or a directory of runs.")],
    budget_s: Annotated[
        float, typer.Option(min=0.0, help="What is not looked for within so many seconds is unknown; 0: no limit.")
    ] = 0.0,
    output: FormatOption = Format.TEXT,
) -> None:
    """Judge a saved history again: what was looked for, what was found, and the account of the run."""
    try:
        results = check_path(path, budget_s)
    except Unreadable as error:
        error_console.print(Text(f"quorumlog: {error}"), soft_wrap=True)
        raise typer.Exit(USAGE) from None
    if output is Format.JSON:
        print_json([result.to_json() for result in results])
    else:
        for result in results:
            _print(result)
    verdicts = {result.verdict for result in results}
    if Verdict.FALSE in verdicts:
        raise typer.Exit(FOUND_SOMETHING)
    if Verdict.UNKNOWN in verdicts or not verdicts:
        raise typer.Exit(FAILED)


@contextmanager
def _without_collector() -> Iterator[None]:
    """A history makes millions of small objects and no cycle: looking for cycles among them, again and again, would
    take longer than judging them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _anomaly_to_json(anomaly: Anomaly) -> dict[str, Any]:
    return {
        "kind": anomaly.kind.value,
        "key": anomaly.key,
        "message": anomaly.message,
        "witness": [operation.invoked.index for operation in anomaly.witness],
    }


# --- for people ---------------------------------------------------------------------------------------------------


def _print(result: Checked) -> None:
    report = result.report
    console.print(Text.assemble((result.verdict.value, COLOURS[result.verdict]), f"  {result.history}"))
    if result.record is not None and result.record.verdict != result.verdict.value:
        why = "; ".join(result.record.why[:_SHOWN]) or "it does not say why"
        console.print(Text(f"when it ran it was {result.record.verdict}: {why}", style="yellow"), soft_wrap=True)
    _print_verdicts(report)
    _print_anomalies(report)
    for line in (*report.vacuous, *report.doubts):
        console.print(Text(f"unknown: {line}", style="yellow"), soft_wrap=True)
    for line in result.account.complaints:
        console.print(Text(f"does not balance: {line}", style="bold red"), soft_wrap=True)
    print_account(result.account)
    looked_at = ", ".join(f"{count:,} {name}" for name, count in report.examined.items() if count)
    console.print(
        Text(f"examined: {looked_at or 'nothing'}; {duration(result.seconds)}\n", style="dim"), soft_wrap=True
    )


def _print_verdicts(report: Report) -> None:
    for verdict in Verdict:
        kinds = [kind.value for kind, found in report.verdicts.items() if found is verdict]
        if kinds:
            says = {Verdict.TRUE: "none of", Verdict.FALSE: "found", Verdict.UNKNOWN: "unknown"}[verdict]
            console.print(Text(f"{says}: {', '.join(kinds)}", style=COLOURS[verdict]), soft_wrap=True)


def _print_anomalies(report: Report) -> None:
    counts = Counter(anomaly.kind for anomaly in report.anomalies)
    shown: Counter[object] = Counter()
    for anomaly in report.anomalies:
        shown[anomaly.kind] += 1
        if shown[anomaly.kind] <= _SHOWN:
            console.print(Text(f"{anomaly.kind.value}: {anomaly.key}: {anomaly.message}"), soft_wrap=True)
            for operation in anomaly.witness[:_SHOWN_OPERATIONS]:
                console.print(Text(f"    {describe(operation)}", style="dim"), soft_wrap=True)
        elif shown[anomaly.kind] == _SHOWN + 1:
            console.print(f"{anomaly.kind.value}: and {counts[anomaly.kind] - _SHOWN:,} more")


def print_account(found: Account) -> None:
    """The account's sums, and what each fault cost."""
    totals = found.totals

    def line(title: str, prefix: str, *names: str) -> None:
        counts = [f"{totals[f'{prefix} {name}']:,} {name.replace('_', ' ')}" for name in names]
        console.print(Text(f"{title:<9}{', '.join(counts)}"), soft_wrap=True)

    if found.records:
        names = ("acknowledged", "unknown", "unknown_read", "failed", "read", "unseen", "dropped")
        line("records", "records", *names)
    if found.commits:
        line("commits", "commits", "ok", "refused", "unknown", "unknown_seen", "resets", "owners")
    if found.groups:
        line("groups", "group", "processed", "different", "repeats", "exposed", "abandoned")
    if len(found.faults) > _SHOWN_STRIKES:
        _print_kinds_of_fault(found)
    elif found.faults:
        _print_strikes(found)


def _print_strikes(found: Account) -> None:
    listing = table("fault", "at", "lasted", "effect", "unavailable", "of", right=("at", "lasted", "effect"))
    for one in found.faults:
        fault, worst = one.fault, one.gaps[0] if one.gaps else None
        listing.add_row(
            fault.name,
            duration((fault.began_ns - found.began_ns) / 1e9),
            duration((fault.ended_ns - fault.began_ns) / 1e9),
            "-" if fault.effect is None else f"{fault.effect:,}",
            "-" if worst is None else duration(worst.length_ms / 1000),
            "" if worst is None else f"{worst.service} {worst.key}" + ("" if worst.recovered else ", for good"),
        )
    console.print(listing)


def _print_kinds_of_fault(found: Account) -> None:
    """What the strikes of each kind cost at worst."""
    services = tuple(dict.fromkeys((*SERVICES.values(), "consume")))
    listing = table("fault", "strikes", "effect", *services, right=("strikes", "effect", *services))
    for name in dict.fromkeys(one.fault.name for one in found.faults):
        strikes = [one for one in found.faults if one.fault.name == name]
        worst: dict[str, float] = {}
        for gap in (gap for one in strikes for gap in one.gaps):
            worst[gap.service] = max(worst.get(gap.service, 0.0), gap.length_ms)
        listing.add_row(
            name,
            str(len(strikes)),
            f"{sum(one.fault.effect or 0 for one in strikes):,}",
            *(duration(worst[service] / 1000) if service in worst else "-" for service in services),
        )
    console.print(Text("not served for, at most:"))
    console.print(listing)
