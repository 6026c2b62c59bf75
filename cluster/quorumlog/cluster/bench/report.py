"""Showing a report: each figure beside its limits and its floor, or all of it as one JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from quorumlog.cluster.output import console, print_json, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from quorumlog.cluster.bench.statistics import Figure, Report


def number(value: float) -> str:
    """Three significant digits for small numbers, thousands grouped for large ones."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def quantity(value: float, unit: str) -> str:
    return f"{number(value)} {unit}"


def show(report: Report) -> None:
    """The report for people: under each figure, dimmed, the limits of the same run and how it compares."""
    numbers = ("measured", "ratio", "floor")
    shown = table("figure", *numbers, right=numbers)
    for figure in report.figures:
        _add_rows(shown, figure)
    console.print(Text(report.bench, style="bold"))
    console.print(shown)
    if report.verified:
        console.print(Text(f"verified: {report.verified}", style="green"))
    console.print()


def _add_rows(shown: Table, figure: Figure) -> None:
    style = "bold red" if figure.missed else "bold"
    shown.add_row(figure.name, Text(quantity(figure.value, figure.unit), style=style), "", _floor(figure))
    for limit in figure.limits:
        compared = ratio(figure.value, limit.value)
        shown.add_row(f"  limit: {limit.name}", quantity(limit.value, figure.unit), compared, "", style="dim")
    if figure.remark:
        shown.add_row(f"  ({figure.remark})", style="dim")


def ratio(value: float, limit: float) -> str:
    """How the figure compares with its limit: a percentage below it, a multiple above it."""
    return f"{value / limit:.0%}" if value < limit else f"{value / limit:.1f}×"


def _floor(figure: Figure) -> Text:
    if figure.floor is None:
        return Text("")
    sign = "≤" if figure.floor.at_most else "≥"
    return Text(f"{sign} {number(figure.floor.value)}", style="red" if figure.missed else "green")


def show_machine(machine: dict[str, object]) -> None:
    """One line that says on what everything below was measured."""
    on = f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB"
    under = f"Linux {machine['kernel']}, {machine['file_system']}"
    software = f"Python {machine['python']}, grpcio {machine['grpcio']}"
    console.print(f"{on}; {under}; {software}; {machine['date']}\n", style="dim")


def print_as_json(machine: dict[str, object], reports: Sequence[Report]) -> None:
    print_json(
        {
            "machine": machine,
            "benches": [
                {
                    "bench": report.bench,
                    "figures": [figure.as_record() for figure in report.figures],
                    "verified": report.verified,
                }
                for report in reports
            ],
        }
    )
