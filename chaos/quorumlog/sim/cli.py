"""``quorumlog sim``: explore seeds, replay one, and see whether planted bugs are caught.

Exit codes are those of the program (DESIGN.md §10): 0 nothing found, 2 bad usage, 4 something was found.
"""

from __future__ import annotations

import json
import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from quorumlog.check.history import write_history
from quorumlog.sim.control import LOSS, options_of
from quorumlog.sim.explore import explore, failure_report, totals
from quorumlog.sim.mutants import MUTANTS, Hunt, hunt
from quorumlog.sim.options import Workload
from quorumlog.sim.run import Result, Run
from quorumlog.sim.shrink import shrink, shrunk_report

FOUND_SOMETHING = 4

#: What clients do, as the totals name it.
_OPERATIONS = (
    *("send ", "read ", "final_", "end ", "acquire ", "release ", "commit ", "fetch ", "reset ", "resolve "),
    *("assigned ", "own ", "give_back ", "process ", "gap "),
)

app = typer.Typer(
    name="sim",
    help="The deterministic simulator: whole clusters in one process, a world per seed.",
    no_args_is_help=True,
    add_completion=False,
)
_errors = Console(stderr=True, highlight=False)


class Format(StrEnum):
    text = "text"
    json = "json"


class EngineName(StrEnum):
    raft = "raft"
    pysyncobj = "pysyncobj"


EngineOption = Annotated[EngineName, typer.Option(help="What replicates. Not raft: in the control's worlds.")]
ControlOption = Annotated[
    bool, typer.Option("--control", help="The worlds of the negative control: a follower lags, a leader crashes.")
]


def _seeds(text: str) -> range:
    """``A:B`` is A to B-1; a number alone is that seed."""
    low, colon, high = text.partition(":")
    try:
        seeds = range(int(low), int(high) if colon else int(low) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds:
        raise typer.BadParameter(f"{text!r} is not a range of seeds such as 0:2000")
    return seeds


@app.command()
def run(
    seeds: Annotated[str, typer.Option(help="Seeds to run, A:B for A to B-1.")] = "0:100",
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = os.cpu_count() or 1,
    workload: Annotated[Workload, typer.Option(help="What clients do.")] = Workload.LOG,
    engine: EngineOption = EngineName.raft,
    control: ControlOption = False,
    output: Annotated[Format, typer.Option("--format", help="How to print the outcome.")] = Format.text,
    keep_going: Annotated[bool, typer.Option(help="Go on after a violation.")] = False,
) -> None:
    """Run many seeds; stop at the first violation, with everything needed to repeat it."""
    wanted = _seeds(seeds)
    began = time.monotonic()
    results: list[Result] = []
    failed: list[Result] = []
    columns = (
        TextColumn("seeds"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, console=_errors, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=len(wanted), rate="")
        for result in explore(wanted, jobs, workload, engine.value, control=control):
            results.append(result)
            rate = f"{len(results) / (time.monotonic() - began):.1f} seeds/s"
            progress.update(task, advance=1, rate=rate)
            if result.violations:
                failed.append(result)
                _errors.print(failure_report(result), markup=False, soft_wrap=True)
                if any(found.name == LOSS for found in result.violations) and engine is not EngineName.raft:
                    _errors.print(shrunk_report(shrink(result.options, LOSS), LOSS), markup=False, soft_wrap=True)
                    break
                if not keep_going:
                    break
    outcome = _outcome(results, time.monotonic() - began, jobs)
    if output is Format.json:
        print(json.dumps(outcome, indent=2))
    else:
        _print_outcome(outcome)
    if failed:
        raise typer.Exit(FOUND_SOMETHING)


def _outcome(results: list[Result], wall_s: float, jobs: int) -> dict[str, object]:
    failed = sorted((result for result in results if result.violations), key=lambda result: result.seed)
    virtual_s = sum(result.virtual_ms for result in results) / 1000
    return {
        "seeds": len(results),
        "jobs": jobs,
        "wall_s": round(wall_s, 1),
        "cpu_s": round(sum(result.cpu_s for result in results), 1),
        "seeds_per_s": round(len(results) / wall_s, 2),
        "virtual_s": round(virtual_s),
        "times_real_time": round(virtual_s / wall_s, 1),
        "totals": dict(sorted(totals(results).items())),
        "failed": [
            {
                "seed": result.seed,
                "trace_hash": result.trace_hash,
                "options": result.options.to_json(),
                "violations": [
                    {"name": found.name, "message": found.message, "witness": list(found.witness)}
                    for found in result.violations
                ],
            }
            for result in failed
        ],
    }


def _print_outcome(outcome: dict[str, object]) -> None:
    console = Console(highlight=False)
    summed = outcome["totals"]
    assert isinstance(summed, dict)
    for title, prefix in (
        ("operations", _OPERATIONS),
        ("faults", ("fault ",)),
        ("events", ("event ",)),
    ):
        table = Table("", title, box=None, show_header=False, title_justify="left")
        for name, count in summed.items():
            if name.startswith(prefix):
                table.add_row(f"{count:,}", name.removeprefix("fault ").removeprefix("event "))
        if table.row_count:
            console.print(f"{title}:")
            console.print(table)
    console.print(
        f"{summed.get('leaders killed', 0):,} leaders killed, {summed.get('failovers', 0):,} of them followed by"
        f" another node; {summed.get('frames', 0):,} frames"
    )
    console.print(
        f"{outcome['seeds']:,} seeds in {outcome['wall_s']} s: {outcome['seeds_per_s']} seeds/s with"
        f" {outcome['jobs']} jobs, {outcome['virtual_s']:,} s of virtual time"
        f" ({outcome['times_real_time']} times real time)"
    )
    failed = outcome["failed"]
    assert isinstance(failed, list)
    if failed:
        names = ", ".join(str(result["seed"]) for result in failed)
        console.print(f"[bold red]{len(failed)} seeds violate something: {names}[/]")
    else:
        console.print("[bold green]no violation[/]")


@app.command()
def replay(
    seed: Annotated[int, typer.Argument(help="The seed to run again.")],
    workload: Annotated[Workload, typer.Option(help="What clients do.")] = Workload.LOG,
    engine: EngineOption = EngineName.raft,
    control: ControlOption = False,
    trace: Annotated[bool, typer.Option("--trace", help="Print every event.")] = False,
    history: Annotated[
        Path | None, typer.Option(help="Write the clients' history to this file, as JSON lines.")
    ] = None,
) -> None:
    """Run one seed twice, check that both runs are the same to the last event, and report what it violates."""
    options = options_of(seed, engine.value, workload, control=control)
    first, again = Run(options), Run(options)
    result, repeated = first.result(), again.result()
    if trace:
        print("\n".join(first.trace_lines()))
    if history is not None:
        write_history(history, first.cluster.recorder.events)
    console = Console(highlight=False)
    if result.trace_hash != repeated.trace_hash:
        pairs = zip(first.trace_lines(), again.trace_lines(), strict=False)
        apart = next((pair for pair in pairs if pair[0] != pair[1]), ("one trace is longer", "than the other"))
        console.print(f"[bold red]two runs of seed {seed} differ[/], first here:\n  {apart[0]}\n  {apart[1]}")
        raise typer.Exit(FOUND_SOMETHING)
    if result.violations:
        console.print(failure_report(result), markup=False, soft_wrap=True)
    console.print(
        f"seed {seed}: trace {result.trace_hash} twice, {len(first.cluster.world.trace.events):,} events,"
        f" {result.virtual_ms / 1000:.1f} s of virtual time in {result.cpu_s:.2f} s;"
        f" {'[bold red]violated[/]' if result.violations else '[bold green]no violation[/]'}"
    )
    if result.violations:
        raise typer.Exit(FOUND_SOMETHING)


@app.command()
def mutants(
    name: Annotated[str, typer.Argument(help="One planted bug; empty: all of them.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = os.cpu_count() or 1,
    output: Annotated[Format, typer.Option("--format", help="How to print the outcome.")] = Format.text,
) -> None:
    """Plant one bug after another and see in how many seeds each is found; a bug not found is a hole in the
    suite."""
    if name and name not in MUTANTS:
        raise typer.BadParameter(f"no planted bug is called {name!r}; there are {', '.join(MUTANTS)}")
    hunts: list[Hunt] = []
    for planted in [name] if name else list(MUTANTS):
        found = hunt(planted, jobs)
        hunts.append(found)
        if output is Format.text:
            verdict = (
                f"[green]found[/] in seed {found.seed}, the {found.tried}."
                if found.found
                else "[bold red]missed[/]"
            )
            Console(highlight=False).print(
                f"{planted}: {verdict} of {found.budget} seeds"
                + (f": {found.violation}" if found.found else f"; expected {' or '.join(found.expected)}"),
                soft_wrap=True,
            )
    if output is Format.json:
        print(json.dumps([found.to_json() for found in hunts], indent=2))
    if not all(found.found for found in hunts):
        raise typer.Exit(FOUND_SOMETHING)
