"""A finding as a picture: a lane for each process, a bar from an operation's invocation to its completion.

Shown are the witness's operations, numbered, and for each the few before and after it on the same key; faults that
lasted meanwhile are shaded. An operation that never ended goes on to the edge.

Prior art: the timelines of Knossos and Porcupine's visualiser; Jepsen's ``timeline/html``.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from quorumlog.chaos.report.axis import Axis
from quorumlog.chaos.report.words import OUTCOMES, duration, moment, operation_in_words
from quorumlog.check import EventType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quorumlog.check import Anomaly, Operation
    from quorumlog.check.availability import FaultSpan

#: Operations of a witness that are drawn; of a longer one the first and the last half of them.
MOST_WITNESSES = 8
#: How many operations on the same key are drawn before and after each of them.
AROUND = 6

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 1000, 96, 22, 26, 16
_ROW, _BAR, _LANE_GAP = 15, 9, 6
#: Less space than this between two labels of the axis, and they overlap.
_LABEL_WIDTH = 74
_TICKS = 6
#: About how wide a letter of a fault's name is.
_LETTER = 7


class Timeline(NamedTuple):
    """``svg`` is whole and needs the page's style; ``legend`` says each numbered operation in words."""

    svg: Markup
    legend: tuple[tuple[int, str, str], ...]
    """Number, outcome, words."""


class Neighbours:
    """The history by key, for finding what went on around an operation."""

    def __init__(self, history: Iterable[Operation], keys: frozenset[str]) -> None:
        self._by_key: dict[str, list[Operation]] = {key: [] for key in keys}
        for operation in history:
            if operation.invoked.key in keys and operation.invoked.operation != "fault":
                self._by_key[operation.invoked.key].append(operation)

    def around(self, operation: Operation) -> list[Operation]:
        known = self._by_key.get(operation.invoked.key, [])
        place = bisect_left(known, operation.invoked.index, key=lambda other: other.invoked.index)
        return known[max(0, place - AROUND) : place + AROUND + 1]


def draw(anomaly: Anomaly, neighbours: Neighbours, faults: Sequence[FaultSpan], origin_ns: int) -> Timeline | None:
    """None for a finding without a witness."""
    witness = _some(anomaly.witness)
    if not witness:
        return None
    shown = {operation.invoked.index: operation for operation in witness}
    for operation in witness:
        shown.update((other.invoked.index, other) for other in neighbours.around(operation))
    numbers = {operation.invoked.index: number for number, operation in enumerate(witness, 1)}
    ordered = [shown[index] for index in sorted(shown)]
    legend = tuple(
        (number, OUTCOMES[operation.type], operation_in_words(operation, origin_ns).replace("\n", "; "))
        for number, operation in enumerate(witness, 1)
    )
    return Timeline(_Picture(ordered, numbers, origin_ns).draw(faults), legend)


def _some(witness: Sequence[Operation]) -> list[Operation]:
    if len(witness) <= MOST_WITNESSES:
        return list(witness)
    half = MOST_WITNESSES // 2
    return [*witness[:half], *witness[-half:]]


class _Picture:
    """An SVG in the making. Coordinates are those of its view box; the page scales it."""

    def __init__(self, shown: Sequence[Operation], numbers: dict[int, int], origin_ns: int) -> None:
        times = [operation.invoked.time_ns for operation in shown]
        times += [operation.completed.time_ns for operation in shown if _ended(operation) and operation.completed]
        self._shown = shown
        self._numbers = numbers
        self._origin_ns = origin_ns
        self._axis = Axis(times)
        self._parts: list[Markup] = []

    def draw(self, faults: Iterable[FaultSpan]) -> Markup:
        lanes = self._lanes()
        meanwhile = [
            fault
            for fault in faults
            if fault.began_ns <= self._axis.last_ns and fault.ended_ns >= self._axis.first_ns
        ]
        height = _TOP + (_ROW + _LANE_GAP if meanwhile else 0)
        tops = {}
        for process, rows in lanes.items():
            tops[process] = height
            height += len(rows) * _ROW + _LANE_GAP
        height += _BOTTOM if self._axis.breaks else 0
        self._breaks(height)
        self._faults(meanwhile, height)
        self._ticks(height)
        for process, rows in lanes.items():
            self._lane(process, rows, tops[process])
        head = Markup('<svg class="lanes" viewBox="0 0 {} {}" role="img" aria-label="operations by process">')
        return head.format(_WIDTH, height) + Markup("").join(self._parts) + Markup("</svg>")

    def _lanes(self) -> dict[int, list[list[Operation]]]:
        """The rows of each process: what it had under way at once stands below one another (producers pipeline)."""
        lanes: dict[int, list[list[Operation]]] = {}
        for operation in self._shown:
            rows = lanes.setdefault(operation.invoked.process, [])
            begin, _ = self._extent(operation)
            for row in rows:
                if self._extent(row[-1])[1] + 3 <= begin:
                    row.append(operation)
                    break
            else:
                rows.append([operation])
        return dict(sorted(lanes.items()))

    def _lane(self, process: int, rows: Sequence[Sequence[Operation]], top: float) -> None:
        middle = top + len(rows) * _ROW / 2 + 4
        label = Markup('<text class="lane" x="{}" y="{:.1f}">process {}</text>')
        self._parts.append(label.format(_LEFT - 10, middle, process))
        line = Markup('<line class="rule" x1="0" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
        bottom = top + len(rows) * _ROW + _LANE_GAP / 2
        self._parts.append(line.format(_WIDTH, bottom, bottom))
        for i, row in enumerate(rows):
            for operation in row:
                self._bar(operation, top + i * _ROW + (_ROW - _BAR) / 2)

    def _bar(self, operation: Operation, y: float) -> None:
        x0, x1 = self._extent(operation)
        number = self._numbers.get(operation.invoked.index)
        outcome = OUTCOMES[operation.type]
        words = operation_in_words(operation, self._origin_ns)
        self._parts.append(
            Markup('<g class="op {}{}><title>{}</title>').format(
                outcome, Markup('"') if number is None else Markup(' witness" tabindex="0"'), words
            )
        )
        self._parts.append(
            Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" rx="2"/>').format(x0, y, x1 - x0, _BAR)
        )
        if not _ended(operation):
            # An arrow beyond the edge: it may have happened at any time since.
            arrow = Markup('<path d="M{0} {1:.1f}l7 {2}l-7 {2}z"/>')
            self._parts.append(arrow.format(_WIDTH - _RIGHT, y - 1.5, _BAR / 2 + 1.5))
        elif outcome == "failed":
            cross = Markup('<path class="cross" d="M{0:.1f} {1:.1f}l7 7m0 -7l-7 7"/>')
            self._parts.append(cross.format(x1 - 3.5, y + _BAR / 2 - 3.5))
        if number is not None:
            badge = Markup('<circle cx="{0:.1f}" cy="{1:.1f}" r="7.5"/><text x="{0:.1f}" y="{2:.1f}">{3}</text>')
            middle = y + _BAR / 2
            self._parts.append(badge.format(x0, middle, middle + 3.5, number))
        self._parts.append(Markup("</g>"))

    def _faults(self, faults: Iterable[FaultSpan], height: float) -> None:
        taken = 0.0
        for fault in faults:
            x0 = self._x(fault.began_ns)
            width = max(2.0, self._x(fault.ended_ns) - x0)
            words = f"{fault.name}\nfrom {moment(fault.began_ns, self._origin_ns)} for" + (
                f" {duration(fault.ended_ns - fault.began_ns)}" if fault.effect is not None else " good"
            )
            shade = Markup(
                '<g class="strike"><title>{}</title><rect x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>'
            )
            self._parts.append(shade.format(words, x0, _TOP, width, height - _TOP))
            # Names that would lie on one another are left to the tooltips.
            needs = _LETTER * len(fault.name)
            if x0 >= taken and x0 + needs <= _WIDTH:
                self._parts.append(
                    Markup('<text x="{:.1f}" y="{}">{}</text>').format(x0 + 3, _TOP + 12, fault.name)
                )
                taken = x0 + needs
            self._parts.append(Markup("</g>"))

    def _breaks(self, height: float) -> None:
        for cut in self._axis.breaks:
            x0, x1 = self._scaled(cut.x0), self._scaled(cut.x1)
            self._parts.append(
                Markup('<g class="break"><title>{} without anything of this</title>').format(
                    duration(cut.ended_ns - cut.began_ns)
                )
                + Markup('<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>').format(
                    x0, _TOP - 6, x1 - x0, height - _TOP + 6
                )
                + Markup('<text x="{:.1f}" y="{}">⋯ {} ⋯</text></g>').format(
                    (x0 + x1) / 2, height - 3, duration(cut.ended_ns - cut.began_ns)
                )
            )

    def _ticks(self, height: float) -> None:
        taken = -1.0 * _LABEL_WIDTH
        for time_ns in self._tick_times():
            x = self._x(time_ns)
            if x - taken < _LABEL_WIDTH:
                continue
            taken = x
            anchor = "start" if x < _LEFT + 20 else "end" if x > _WIDTH - 60 else "middle"
            tick = Markup(
                '<line class="tick" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
                '<text class="time" text-anchor="{3}" x="{0:.1f}" y="14">{4}</text>'
            )
            self._parts.append(tick.format(x, _TOP - 6, height, anchor, moment(time_ns, self._origin_ns)))

    def _tick_times(self) -> list[int]:
        """The ends, both sides of every break, and some between them."""
        axis = self._axis
        ends = [
            axis.first_ns,
            *(time for cut in axis.breaks for time in (cut.began_ns, cut.ended_ns)),
            axis.last_ns,
        ]
        ticks = set(ends)
        for earlier, later in zip(ends[::2], ends[1::2], strict=True):
            ticks.update(earlier + (later - earlier) * i // _TICKS for i in range(_TICKS))
        return sorted(ticks)

    def _extent(self, operation: Operation) -> tuple[float, float]:
        x0 = self._x(operation.invoked.time_ns)
        completed = operation.completed
        if completed is None or not _ended(operation):
            return x0, _WIDTH - _RIGHT
        return x0, max(x0 + 3, self._x(completed.time_ns))

    def _x(self, time_ns: int) -> float:
        return self._scaled(self._axis.place(time_ns))

    @staticmethod
    def _scaled(share: float) -> float:
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _ended(operation: Operation) -> bool:
    return operation.type is not EventType.INFO
