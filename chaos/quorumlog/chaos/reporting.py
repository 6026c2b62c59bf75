"""``quorumlog chaos report``: the pages of runs that have been made, for reading (``quorumlog.chaos.report``)."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from quorumlog.chaos.outcome import NoRun
from quorumlog.cluster.failures import FAILED


class NotInstalled(Exception):
    """What makes the pages is not installed; the message says how to get it, in one line."""


def report(
    directory: Annotated[Path, typer.Argument(help="A run, or a directory with runs somewhere below it.")],
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the web browser.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where the page goes; else report.html or index.html in the directory.", show_default=False
        ),
    ] = None,
) -> None:
    """Write a run's page, or those of all runs below a directory with an index of them; print where it is."""
    try:
        page = write_reports(directory, output)
    except (NoRun, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    except NotInstalled as error:
        typer.echo(f"quorumlog: {error}", err=True)
        raise typer.Exit(FAILED) from None
    typer.echo(page)
    if open_it:
        webbrowser.open(page.resolve().as_uri())


def write_reports(directory: Path, output: Path | None = None) -> Path:
    """Makes the page of the run in ``directory``; or, if that is a suite, of every run below it, and their index.
    Returns the page to read first. Raises NoRun, NotInstalled, OSError."""
    # Here, because all commands of the program are imported whenever one is used, and quorumlog without its extras
    # has neither the templates' engine nor the figure's library.
    try:
        from quorumlog.chaos.report import find_runs, is_run, write_run_report, write_suite_report
    except ModuleNotFoundError as error:
        raise NotInstalled(f"reports need {error.name}: pip install 'quorumlog[chaos]'") from error

    if is_run(directory):
        return write_run_report(directory, output)
    for run in find_runs(directory):
        write_run_report(run)
    return write_suite_report(directory, output)
