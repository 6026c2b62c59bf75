"""``quorumlog log``: looking at log files without a node."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from quorumlog.storage.files import OsFiles
from quorumlog.storage.inspection import Report, SegmentReport, inspect

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A verification found something (DESIGN.md §10).
EXIT_DAMAGED = 4
EXIT_FAILED = 1

app = typer.Typer(help="Look at log files offline.", no_args_is_help=True)


class Format(StrEnum):
    """How to print."""

    TEXT = "text"
    JSON = "json"


@app.callback()
def main() -> None:
    """Look at log files offline."""


@app.command()
def scan(
    path: Annotated[
        Path, typer.Argument(help="A segment file, a replica's directory, or a node's data directory.")
    ],
    output: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TEXT,
    verify: Annotated[
        bool, typer.Option(help="Read every record and checkpoint, not only the newest segment.")
    ] = False,
) -> None:
    """Says what is in a log: segments, indices, offsets, hard state, checkpoints, and damage with its position.

    Reads only. Exits with 4 if something is damaged.
    """
    if not path.exists():
        typer.echo(f"{path}: no such file or directory", err=True)
        raise typer.Exit(EXIT_FAILED)
    reports = [inspect(OsFiles(), str(one), verify=verify) for one in _logs(path)]
    if not reports:
        typer.echo(f"{path}: neither a segment nor a directory with logs", err=True)
        raise typer.Exit(EXIT_FAILED)
    if output is Format.JSON:
        typer.echo(json.dumps([_as_json(report) for report in reports], indent=2))
    else:
        for report in reports:
            _print(report)
    if any(report.damage for report in reports):
        raise typer.Exit(EXIT_DAMAGED)


def _logs(path: Path) -> Iterator[Path]:
    """The segment itself, the replica directory itself, or every replica directory of a data directory."""
    if path.is_file():
        if path.suffix == ".segment":
            yield path
        return
    if any(path.glob("*.segment")) or any(path.glob("*.checkpoint")):
        yield path
        return
    yield from sorted(one for one in path.glob("groups/*/replica-*") if one.is_dir())


def _as_json(report: Report) -> dict[str, Any]:
    found = asdict(report)
    for one, segment in zip(found["segments"], report.segments, strict=True):
        state = segment.hard_state
        one["hard_state"] = state._asdict() if state is not None else None
    return found


def _print(report: Report) -> None:
    console = Console()
    table = Table(title=report.path, title_justify="left", title_style="bold")
    for heading in ("segment", "state", "indices", "terms", "offsets", "records", "bytes", "term/vote/commit"):
        table.add_column(heading, justify="left" if heading in ("segment", "state") else "right", overflow="fold")
    for one in report.segments:
        table.add_row(*_row(one))
    console.print(table)
    for checkpoint in report.checkpoints:
        console.print(
            f"checkpoint at index {checkpoint.index} of term {checkpoint.term}, {checkpoint.state_bytes} bytes"
        )
    for one in report.segments:
        if one.torn_at is not None:
            console.print(f"[yellow]{one.path}: torn at byte {one.torn_at}; the next start cuts it[/yellow]")
    for damage in report.damage:
        console.print(f"[bold red]damaged[/bold red] {damage.path} at byte {damage.position}: {damage.why}")
    if not report.damage:
        console.print("[green]nothing is damaged[/green]")


def _row(one: SegmentReport) -> tuple[str, ...]:
    state = one.hard_state
    return (
        one.path.rsplit("/", 1)[-1],
        ("sealed" if one.sealed else "active") + ("" if one.verified else ", unread"),
        f"{one.first_index}-{one.last_index}" if one.last_index >= one.first_index else "-",
        f"{one.first_term}-{one.last_term}",
        f"{one.first_offset}-{one.end_offset}" if one.first_offset is not None else "-",
        str(one.records),
        str(one.size),
        f"{state.term}/{'-' if state.vote is None else state.vote}/{state.commit}" if state is not None else "-",
    )
