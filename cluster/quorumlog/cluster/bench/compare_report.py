"""Showing a comparison of engines: a row a figure, a column an engine, and how many times as good ours is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from quorumlog.cluster.bench.compare import ALONE, ENGINES, FLOOR_LARGE
from quorumlog.cluster.bench.report import number
from quorumlog.cluster.output import console, print_json, table

if TYPE_CHECKING:
    from quorumlog.cluster.bench.compare import Comparison


def show_comparison(found: Comparison) -> None:
    """For people: medians over the turns; a ratio above 1 is in our favour."""
    others = (ENGINES[1], *ALONE)
    numbers = (ENGINES[0], f"{ENGINES[1]}\nand ratio", *(f"alone, {how}\nand ratio" for how in ALONE))
    shown = table("figure", *numbers, right=numbers)
    for row in found.rows:
        cells = [Text.assemble(_shown(row.median(who), row.unit), " ", _ratio(row.ratio(who))) for who in others]
        shown.add_row(row.name, _shown(row.median(ENGINES[0]), row.unit), *cells)
    console.print(shown)
    for remark in found.remarks:
        console.print(Text(remark, style="red"))
    verdict = "misses" if found.missed else "holds"
    console.print(
        f"\nBatches of 64 KiB, ours with fsync over PySyncObj alone, without, as it comes and tuned: at least"
        f" {FLOOR_LARGE:.0f} times as fast; {verdict}."
    )


def _shown(value: float | None, unit: str) -> str:
    return "" if value is None else f"{number(value)} {unit}"


def _ratio(ratio: float | None) -> Text:
    if ratio is None:
        return Text("")
    return Text(f"{ratio:.1f}×", style="green" if ratio >= 1 else "yellow")


def print_comparison_as_json(machine: dict[str, object], found: Comparison) -> None:
    print_json(
        {"machine": machine, "rows": [row.as_record() for row in found.rows], "remarks": list(found.remarks)}
    )
