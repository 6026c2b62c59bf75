"""``quorumlog sim``: explore seeds, and replay one. (Planted bugs: ``quorumlog chaos mutants``.)

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

from quorumlog.check.history import write_history
from quorumlog.sim.control import LOSS, options_of
from quorumlog.sim.explore import explore, failure_report
from quorumlog.sim.options import Options, Workload
from quorumlog.sim.replaying import BadSetting, changed
from quorumlog.sim.run import Result, Run
from quorumlog.sim.run_directory import write_run
from quorumlog.sim.shrink import shrink, shrunk_report
from quorumlog.sim.totals import outcome_of, print_outcome

FOUND_SOMETHING = 4

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
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Another setting than the seed draws, NAME=VALUE, the value as JSON; repeatable."),
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


def _changed(options: Options, settings: list[str] | None, without: list[str] | None) -> Options:
    try:
        return changed(options, settings or [], without or [])
    except BadSetting as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def run(
    seeds: Annotated[str, typer.Option(help="Seeds to run, A:B for A to B-1.")] = "0:100",
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = os.cpu_count() or 1,
    workload: Annotated[Workload, typer.Option(help="What clients do.")] = Workload.LOG,
    engine: EngineOption = EngineName.raft,
    control: ControlOption = False,
    destroy: Annotated[
        bool,
        typer.Option(
            "--destroy",
            help="Harm every disk, in ways nobody can notice: records are lost, and it must be seen.",
        ),
    ] = False,
    output: Annotated[Format, typer.Option("--format", help="How to print the outcome.")] = Format.text,
    directory: Annotated[
        Path | None,
        typer.Option("--output", help="Write each failed seed there, as a run that the chaos report shows."),
    ] = None,
    keep_going: Annotated[bool, typer.Option(help="Go on after a violation.")] = False,
    shrinking: Annotated[
        bool,
        typer.Option("--shrink/--no-shrink", help="Look for the smallest world that shows it."),
    ] = True,
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
        for result in explore(wanted, jobs, workload, engine.value, control=control, destroy=destroy):
            results.append(result)
            rate = f"{len(results) / (time.monotonic() - began):.1f} seeds/s"
            progress.update(task, advance=1, rate=rate)
            if result.violations:
                failed.append(result)
                _errors.print(failure_report(result), markup=False, soft_wrap=True)
                if directory is not None:
                    _write(directory, result)
                # Of another engine it is known that it breaks: what counts is whether the loss is found.
                enough = engine is EngineName.raft or any(found.name == LOSS for found in result.violations)
                if enough and not keep_going:
                    break
    wall_s = time.monotonic() - began
    if failed and shrinking and not keep_going:
        violation = _gravest(failed[-1])
        shrunk = shrink(failed[-1].options, violation)
        _errors.print(shrunk_report(shrunk, violation), markup=False, soft_wrap=True)
    outcome = outcome_of(results, wall_s, jobs)
    if output is Format.json:
        print(json.dumps(outcome, indent=2))
    else:
        print_outcome(outcome)
    if failed:
        raise typer.Exit(FOUND_SOMETHING)


def _gravest(result: Result) -> str:
    """What to look for in ever smaller worlds: what was lost, or whatever was found first."""
    names = [found.name for found in result.violations]
    return LOSS if LOSS in names else names[0]


def _write(directory: Path, result: Result) -> None:
    """The failed seed once more, in this process, for what a worker does not send back."""
    again = Run(result.options)
    where = directory / f"sim-{result.options.workload}-{result.seed}"
    try:
        write_run(where, again, again.result())
    except OSError as error:
        _errors.print(f"cannot write {where}: {error}", markup=False, soft_wrap=True)
    else:
        _errors.print(f"  written to {where}", markup=False, soft_wrap=True)


@app.command()
def replay(
    seed: Annotated[int, typer.Argument(help="The seed to run again.")],
    workload: Annotated[Workload, typer.Option(help="What clients do.")] = Workload.LOG,
    engine: EngineOption = EngineName.raft,
    control: ControlOption = False,
    settings: SetOption = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", help="Leave out parts of the schedule, such as strikes:0-3,7; repeatable."),
    ] = None,
    shrinking: Annotated[bool, typer.Option("--shrink", help="Look for the smallest world that shows it.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Print every event.")] = False,
    history: Annotated[
        Path | None, typer.Option(help="Write the clients' history to this file, as JSON lines.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--output", help="Write the run there, as one that the chaos report shows.")
    ] = None,
) -> None:
    """Run one seed twice, check that both runs are the same to the last event, and report what it violates."""
    options = _changed(options_of(seed, engine.value, workload, control=control), settings, without)
    first, again = Run(options), Run(options)
    result, repeated = first.result(), again.result()
    if trace:
        print("\n".join(first.trace_lines()))
    if history is not None:
        write_history(history, first.cluster.recorder.events)
    if directory is not None:
        write_run(directory, first, result)
    console = Console(highlight=False)
    if result.trace_hash != repeated.trace_hash:
        pairs = zip(first.trace_lines(), again.trace_lines(), strict=False)
        apart = next((pair for pair in pairs if pair[0] != pair[1]), ("one trace is longer", "than the other"))
        console.print(f"[bold red]two runs of seed {seed} differ[/], first here:\n  {apart[0]}\n  {apart[1]}")
        raise typer.Exit(FOUND_SOMETHING)
    if result.violations:
        console.print(failure_report(result), markup=False, soft_wrap=True)
        if shrinking:
            violation = _gravest(result)
            console.print(shrunk_report(shrink(options, violation), violation), markup=False, soft_wrap=True)
    console.print(
        f"seed {seed}: trace {result.trace_hash} twice, {len(first.cluster.world.trace.events):,} events,"
        f" {result.virtual_ms / 1000:.1f} s of virtual time in {result.cpu_s:.2f} s;"
        f" {'[bold red]violated[/]' if result.violations else '[bold green]no violation[/]'}"
    )
    if result.violations:
        raise typer.Exit(FOUND_SOMETHING)
