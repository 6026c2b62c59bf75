"""Latencies as points, few enough to draw: of those that would lie on one another one is kept, with their number.

A run of 300,000 operations has 300,000 latencies; a screen shows some thousands of different places. Every outcome
is thinned by itself, so that one failed operation among thousands that were ok is still a mark.

Prior art: datashader's and OpenTSDB's rule, aggregate to what can be seen before drawing; Tene's latency spectra.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log10
from typing import TYPE_CHECKING, Any

from quorumlog.chaos.report.words import OUTCOMES, operation_in_words, plain

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from quorumlog.check import Operation

#: The most marks of a page; the grid is made coarser until they suffice.
MOST_POINTS = 4000
#: Marks that stand for one operation say all about it, as far as there are not more than these.
_MOST_TOLD = 400
_COLUMNS, _ROWS_A_DECADE = 640, 32
#: What is faster is drawn as fast as this: the axis is logarithmic.
_FASTEST_MS = 0.01


@dataclass(slots=True)
class Points:
    """Marks of one operation and one outcome; columns of equal length."""

    time_s: list[float] = field(default_factory=list)
    """Of invocation, from the origin."""
    latency_ms: list[float] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)
    """How many each mark stands for."""
    words: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"x": self.time_s, "y": self.latency_ms, "n": self.operations, "text": self.words}


#: operation -> outcome -> its marks.
Cloud = dict[str, dict[str, Points]]

#: Operation, outcome, column and row of the grid.
_Cell = tuple[str, str, int, int]


@dataclass(slots=True)
class _Held:
    """One operation for all in a cell."""

    operation: Operation
    latency_ms: float
    number: int = 1


def cloud(history: Sequence[Operation], timed: Container[str], origin_ns: int, ended_ns: int) -> Cloud:
    """All marks of a run, which ended at ``ended_ns``: an operation without an answer is as long as the run went
    on."""
    cells: dict[_Cell, _Held] = {}
    began_ns = history[0].invoked.time_ns if history else 0
    width_ns = (ended_ns - began_ns) // _COLUMNS + 1
    for operation in history:
        invoked, completed = operation.invoked, operation.completed
        name = invoked.operation
        if name not in timed:
            continue
        end_ns = ended_ns if completed is None else completed.time_ns
        latency_ms = max(_FASTEST_MS, (end_ns - invoked.time_ns) / 1e6)
        row = int(log10(latency_ms / _FASTEST_MS) * _ROWS_A_DECADE)
        cell = (name, OUTCOMES[operation.type], (invoked.time_ns - began_ns) // width_ns, row)
        held = cells.get(cell)
        if held is None:
            cells[cell] = _Held(operation, latency_ms)
        else:
            held.number += 1
    wider = True
    while len(cells) > MOST_POINTS:
        cells = _coarser(cells, wider=wider)
        wider = not wider
    return _told(cells, origin_ns)


def _coarser(cells: dict[_Cell, _Held], *, wider: bool) -> dict[_Cell, _Held]:
    """Every two neighbours as one: columns, or rows."""
    merged: dict[_Cell, _Held] = {}
    for (name, outcome, column, row), held in cells.items():
        cell = (name, outcome, column // 2, row) if wider else (name, outcome, column, row // 2)
        known = merged.get(cell)
        if known is None:
            merged[cell] = held
        else:
            known.number += held.number
    return merged


def _told(cells: dict[_Cell, _Held], origin_ns: int) -> Cloud:
    made: Cloud = {}
    left = _MOST_TOLD
    for (name, outcome, _, _), held in cells.items():
        points = made.setdefault(name, {}).setdefault(outcome, Points())
        words = f"{held.number:,} × {name}" if held.number > 1 else name
        if held.number == 1 and outcome != "ok" and left:
            left -= 1
            words = plain(operation_in_words(held.operation, origin_ns)).replace("\n", "<br>")
        points.time_s.append(round((held.operation.invoked.time_ns - origin_ns) / 1e9, 3))
        points.latency_ms.append(float(f"{held.latency_ms:.3g}"))
        points.operations.append(held.number)
        points.words.append(words)
    return made
