"""``quorumlog chaos``: scenarios listed, run and judged again; planted bugs; reports.

Exit codes are those of the program (DESIGN.md §10): 0 every verdict is true, 1 one is unknown (or a run could not
be carried through), 2 bad usage, 4 something was found.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from quorumlog.chaos.checking import check
from quorumlog.chaos.outcome import RunRecord, reasons
from quorumlog.chaos.places import PlaceKind
from quorumlog.chaos.places.place import NotPossible
from quorumlog.chaos.planting import mutants
from quorumlog.chaos.reporting import report
from quorumlog.chaos.scenario import Scenario, Suite
from quorumlog.cluster.asynchronous import run_tidily
from quorumlog.cluster.failures import FAILED, FOUND_SOMETHING
from quorumlog.cluster.layout import Engine
from quorumlog.cluster.output import (
    Format,
    FormatOption,
    console,
    counted,
    duration,
    error_console,
    print_json,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.chaos.places import Ability
    from quorumlog.chaos.suites import Tally

app = typer.Typer(
    name="chaos",
    help="Real faults on real nodes under load, judged by checkers that can fail.",
    no_args_is_help=True,
    add_completion=False,
)
app.command("check")(check)
app.command("report")(report)
app.command("mutants")(mutants)

WhereOption = Annotated[PlaceKind, typer.Option("--where", help="Where the nodes run.")]
SuiteOption = Annotated[Suite | None, typer.Option(help="All scenarios of this suite.", show_default=False)]
GrantsOption = Annotated[
    Path | None,
    typer.Option(
        "--grants", help="TOML file: what may be done to an attached cluster, and how.", show_default=False
    ),
]
COLOURS = {"true": "green", "false": "bold red", "unknown": "yellow", "skipped": "dim"}


@app.command("list")
def list_scenarios(
    where: WhereOption = PlaceKind.LOCAL,
    suite: SuiteOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """The scenarios, what is done in each, and whether it can be done there on this machine."""
    from quorumlog.chaos.faults.cluster import NOT_OFFERED
    from quorumlog.chaos.probe import probe
    from quorumlog.chaos.scenarios import catalogue

    lacks = probe(where)
    shown = [scenario for scenario in catalogue() if suite is None or suite in scenario.suites]
    if output is Format.JSON:
        print_json([_listed(scenario, lacks) for scenario in shown])
        return
    listing = table("scenario", "nodes", "load", "s", "faults", "suites", right=("nodes", "s"), whole=("scenario",))
    for scenario in shown:
        why = "; ".join(lacks[need] for need in sorted(scenario.needs) if need in lacks)
        faults = Text(", ".join(scenario.faults) or "none")
        if why:
            faults.append(f"  skipped: {why}", style="yellow")
        listing.add_row(
            scenario.name,
            str(scenario.nodes),
            scenario.load.workload,
            f"{scenario.duration_s:.0f}",
            faults,
            ", ".join(sorted(scenario.suites)),
        )
    console.print(listing)
    cells = sum(len(scenario.faults) or 1 for scenario in shown)
    console.print(f"\n{counted(len(shown), 'scenario')}, {counted(cells, 'cell')} of scenario × fault")
    for what, reason in NOT_OFFERED.items():
        console.print(f"not among them: {what}: {reason}", style="dim", soft_wrap=True)


def _listed(scenario: Scenario, lacks: dict[Ability, str]) -> dict[str, object]:
    return {
        "name": scenario.name,
        "summary": scenario.summary,
        "nodes": scenario.nodes,
        "workload": scenario.load.workload,
        "duration_s": scenario.duration_s,
        "faults": list(scenario.faults),
        "needs": sorted(scenario.needs),
        "suites": sorted(scenario.suites),
        "skipped": [lacks[need] for need in sorted(scenario.needs) if need in lacks],
    }


@app.command("run")
def run_scenarios(
    names: Annotated[
        list[str] | None, typer.Argument(help="Scenarios by name; a trailing * stands for anything.")
    ] = None,
    suite: SuiteOption = None,
    where: WhereOption = PlaceKind.LOCAL,
    engine: Annotated[Engine, typer.Option(help="What replicates (attached: grants say it).")] = Engine.raft,
    seed: Annotated[int, typer.Option(help="Decides the load's and the faults' random choices.")] = 1,
    directory: Annotated[
        Path | None, typer.Option("--output", help="Where the runs go; a new directory under ./chaos-runs.")
    ] = None,
    server: Annotated[
        list[str] | None, typer.Option(help="With --where attached: a node of that cluster.", show_default=False)
    ] = None,
    grants: GrantsOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Run scenarios one after the other, each on a fresh cluster, and judge what the clients saw."""
    from quorumlog.chaos.places.making import place_maker
    from quorumlog.chaos.reporting import NotInstalled, write_reports
    from quorumlog.chaos.scenarios import chosen
    from quorumlog.chaos.suites import Tally, run_all

    try:
        scenarios = chosen(names or [], suite)
        place_for = place_maker(where, engine.value, server or [], grants)
    except (LookupError, NotPossible) as error:
        raise typer.BadParameter(str(error)) from None
    target = directory or Path("chaos-runs") / time.strftime("%Y%m%d-%H%M%S")
    if output is Format.TEXT:
        many = counted(len(scenarios), "scenario")
        begins = f"{many} in {where}, engine {engine}, seed {seed}; runs go to {target}"
        console.print(begins, soft_wrap=True)
    with error_console.status("") as status:

        def begun(scenario: Scenario) -> Callable[[str], None]:
            return lambda phase: status.update(f"{scenario.name}: {phase}")

        def ended(record: RunRecord) -> None:
            if output is Format.TEXT:
                _print_record(record)

        records = run_tidily(run_all(scenarios, place_for, seed, target, begun, ended))
    if rest := len(scenarios) - len(records):
        left = f"{counted(rest, 'scenario')} not run: the cluster is not as it was: {records[-1].left_harmed}"
        error_console.print(Text(left, style="bold red"), soft_wrap=True)
    try:
        page = str(write_reports(target))
    except NotInstalled as error:
        page = f"none; {error}"
    tally = Tally.of(records)
    if output is Format.JSON:
        print_json({"runs": [asdict(record) for record in records], "totals": asdict(tally), "report": page})
    else:
        _print_tally(tally, page)
    if tally.false:
        raise typer.Exit(FOUND_SOMETHING)
    if tally.unknown or not tally.true:  # all of them skipped: nothing is known either
        raise typer.Exit(FAILED)


def _print_record(record: RunRecord) -> None:
    verdict = "skipped" if record.skipped else record.verdict
    line = Text.assemble((f"{verdict:>7}", COLOURS[verdict]), f"  {record.scenario}")
    if record.skipped:
        line.append(f"  {record.skipped}", style="dim")
    else:
        line.append(
            f"  {counted(record.operation_count, 'operation')}, {counted(record.fault_count, 'fault')},"
            f" {counted(record.failovers, 'election')}, {counted(record.checks, 'check')}"
        )
        if record.alive_ns:
            line.append(f", served again {duration((record.alive_ns - record.healed_ns) / 1e9)} after healing")
        line.append(f"; {duration(record.duration_s)}", style="dim")
    console.print(line, soft_wrap=True)
    for why, alike in reasons(record.why):
        more = f" (and {alike:,} more alike)" if alike else ""
        console.print(Text(f"         {why}{more}", style=COLOURS[verdict]), soft_wrap=True)


def _print_tally(tally: Tally, page: str) -> None:
    console.print(
        f"\n{tally.true} true, {tally.false} false, {tally.unknown} unknown, {tally.skipped} skipped;"
        f" {counted(tally.operations, 'operation')}, {counted(tally.faults, 'fault')},"
        f" {counted(tally.failovers, 'election')}, {counted(tally.checks, 'check')} in {duration(tally.seconds)}",
        soft_wrap=True,
    )
    if tally.found:
        listing = table("found", "runs", "times", "first after", right=("runs", "times", "first after"))
        for name, found in tally.found.items():
            first = duration(found["first_s"]) if "first_s" in found else "-"
            listing.add_row(name, str(found["runs"]), f"{found['times']:,}", first)
        console.print(listing)
    console.print(f"report: {page}", soft_wrap=True)
