"""What happened over time, in one figure: everything shares one time axis, every fault is shaded through all of it.

From top to bottom: which fault lasted when; operations a second and their latencies by outcome; for whom nobody was
there; what was acknowledged and not yet seen, or processed and not yet committed; what the nodes said. Outcomes
differ by colour and by shape or hatching, for people who do not tell the colours apart.

The figure is data for plotly.js, made without plotly's Python classes: they would add seconds and check nothing
that the browser test does not. A colour is written ``@name`` and means the page's CSS variable ``--name``: the page
puts in what holds for light, dark or paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from quorumlog.chaos.report.rows import NAMES_PX, Figure, Row, bar_trace, lane_row, stacked
from quorumlog.chaos.report.words import OUTCOMES, duration, moment, plain
from quorumlog.check import EventType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.chaos.report.node_logs import Said
    from quorumlog.chaos.report.points import Cloud
    from quorumlog.check.account import Account
    from quorumlog.check.availability import Gap
    from quorumlog.check.series import OperationSeries

_MOST_GAPS = 400
#: Marks of node lines closer than this share of the time line are one mark.
_SAID_COLUMNS = 300

SYMBOLS = {"ok": "circle", "unknown": "diamond", "failed": "x"}
_HATCHES = {"ok": "", "unknown": "/", "failed": "x"}
_FAMILIES = {
    "leadership": ("triangle-up", "@ok"),
    "life": ("square", "@muted"),
    "peers": ("circle-open", "@muted"),
    "trouble": ("diamond", "@unknown"),
    "harm": ("x", "@failed"),
}
_KINDS = (EventType.OK, EventType.INFO, EventType.FAIL)


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of the run with its name, drawn as a line through everything."""

    time_ns: int
    name: str


def figure(account: Account, cloud: Cloud, said: Sequence[Said], marks: Sequence[Mark], origin_ns: int) -> Figure:
    """The whole figure; rows that would be empty are left out."""
    made = _Drawing(account, origin_ns)
    rows = [
        made.faults(),
        made.throughput(),
        made.latency(cloud),
        made.gaps(),
        made.level("unseen: acknowledged, not yet read", account.series.unseen),
        made.level("exposed: processed, not yet committed", account.series.exposed),
        made.said(said),
    ]
    return stacked([row for row in rows if row is not None], made.shapes(marks), made.span_s)


def choices(account: Account, cloud: Cloud) -> dict[str, dict[str, Any]]:
    """What the page puts into the throughput and latency rows when one operation alone is chosen."""
    chosen = {}
    width_s = account.series.width_s
    for one in account.series.operations:
        points = cloud.get(one.operation, {})
        chosen[one.operation] = {
            "rate": {OUTCOMES[kind]: [_rate(n, width_s) for n in _counts(one, kind)] for kind in _KINDS},
            "points": {name: found.to_json() for name, found in points.items()},
            "p50": _rounded(one.latency_p50_ms),
            "p99": _rounded(one.latency_p99_ms),
        }
    return chosen


class _Drawing:
    """The rows of one run."""

    def __init__(self, account: Account, origin_ns: int) -> None:
        self._account = account
        self._origin_ns = origin_ns
        series = account.series
        first_s = self._seconds(series.began_ns)
        self._middles = [round(first_s + (i + 0.5) * series.width_s, 3) for i in range(series.buckets)]
        self.span_s = (first_s, self._seconds(max(account.ended_ns, series.began_ns + series.width_ns)))

    def faults(self) -> Row | None:
        strikes = [strike.fault for strike in self._account.faults]
        if not strikes:
            return None
        lanes = list(dict.fromkeys(strike.name for strike in strikes))
        least_s = (self.span_s[1] - self.span_s[0]) / 300
        trace = bar_trace(
            [self._seconds(strike.began_ns) for strike in strikes],
            [max(least_s, (strike.ended_ns - strike.began_ns) / 1e9) for strike in strikes],
            [len(lanes) - 1 - lanes.index(strike.name) for strike in strikes],
            [
                f"<b>{plain(strike.name)}</b> {_victims(strike.told)}"
                f"<br>from {moment(strike.began_ns, self._origin_ns)},"
                f" {duration(strike.ended_ns - strike.began_ns)}<br>"
                + ("no effect noted" if strike.effect is None else f"effect seen: {strike.effect:,}")
                for strike in strikes
            ],
            "@fault",
        )
        return lane_row("faults", lanes, [trace])

    def throughput(self) -> Row:
        series = self._account.series
        width_s = series.width_s
        traces: list[dict[str, Any]] = []
        for kind in _KINDS:
            name = OUTCOMES[kind]
            summed = [
                sum(counts) for counts in zip(*(_counts(one, kind) for one in series.operations), strict=True)
            ]
            traces.append(
                {
                    "type": "bar",
                    "name": name,
                    "legendgroup": name,
                    "meta": {"rate": name},
                    "showlegend": False,
                    "x": self._middles,
                    "y": [_rate(n, width_s) for n in summed] or [0] * series.buckets,
                    "width": width_s,
                    "marker": {
                        "color": f"@{name}",
                        "line": {"width": 0},
                        "pattern": {"shape": _HATCHES[name], "size": 5, "solidity": 0.35, "fgcolor": "@paper"},
                    },
                    "hovertemplate": f"%{{y:,.4~g}}/s {name}<br>at %{{x:.2f}} s<extra></extra>",
                }
            )
        return Row("operations a second", 150, {"rangemode": "tozero"}, traces, [])

    def latency(self, cloud: Cloud) -> Row:
        traces: list[dict[str, Any]] = []
        for kind in _KINDS:
            name = OUTCOMES[kind]
            found = [by_outcome[name] for by_outcome in cloud.values() if name in by_outcome]
            numbers = [n for points in found for n in points.operations]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "legendgroup": name,
                    "meta": {"points": name},
                    "x": [x for points in found for x in points.time_s],
                    "y": [y for points in found for y in points.latency_ms],
                    "text": [text for points in found for text in points.words],
                    "customdata": numbers,
                    "marker": {
                        "color": f"@{name}",
                        "symbol": SYMBOLS[name],
                        "size": 4 if name == "ok" else 7,
                        "opacity": 0.45 if name == "ok" else 0.9,
                        "line": {"width": 0},
                    },
                    "hovertemplate": f"%{{text}}<br>%{{y:.3~g}} ms, {name}<br>at %{{x:.3f}} s<extra></extra>",
                }
            )
        for quantile, dash in (("p50", "solid"), ("p99", "dot")):
            traces.append(
                {
                    "type": "scatter",
                    # A bucket between empty ones is a point without a line.
                    "mode": "lines+markers",
                    "name": f"{quantile} of ok",
                    "meta": {"quantile": quantile},
                    "visible": False,
                    "x": self._middles,
                    "y": [],
                    "connectgaps": False,
                    "line": {"color": "@ink", "width": 1.3, "dash": dash},
                    "marker": {"color": "@ink", "size": 3},
                    "hovertemplate": f"{quantile} %{{y:.3~g}} ms<extra></extra>",
                }
            )
        ticks = [10.0**power for power in range(-2, 7)]
        words = ["10 µs", "0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s", "1000 s"]
        axis = {"type": "log", "tickvals": ticks, "ticktext": words}
        return Row("latency of each operation, where it began", 240, axis, traces, [])

    def gaps(self) -> Row | None:
        found: dict[Gap, None] = dict.fromkeys(gap for strike in self._account.faults for gap in strike.gaps)
        gaps = sorted(found, key=lambda gap: gap.began_ns - gap.ended_ns)[:_MOST_GAPS]
        if not gaps:
            return None
        lanes = sorted({gap.service for gap in gaps})
        trace = bar_trace(
            [self._seconds(gap.began_ns) for gap in gaps],
            [(gap.ended_ns - gap.began_ns) / 1e9 for gap in gaps],
            [len(lanes) - 1 - lanes.index(gap.service) for gap in gaps],
            [
                f"<b>{gap.service} {plain(gap.key)}</b>"
                f"<br>nobody served for {duration(gap.ended_ns - gap.began_ns)}"
                + ("" if gap.recovered else ", and nobody ever again")
                for gap in gaps
            ],
            "@unknown",
        )
        trace["marker"]["opacity"] = 0.55
        return lane_row("somebody waited and nobody was served", lanes, [trace])

    def level(self, title: str, records: Sequence[int]) -> Row | None:
        if not any(records):
            return None
        trace: dict[str, Any] = {
            "type": "scatter",
            "mode": "lines",
            "name": title,
            "showlegend": False,
            "x": self._middles,
            "y": list(records),
            "fill": "tozeroy",
            "fillcolor": "@level-fill",
            "line": {"color": "@level", "width": 1.4, "shape": "hvh"},
            "hovertemplate": "%{y:,} records<br>at %{x:.2f} s<extra></extra>",
        }
        return Row(title, 84, {"rangemode": "tozero", "nticks": 4}, [trace], [])

    def said(self, said: Sequence[Said]) -> Row | None:
        """Only what lies within the history: a node's first start is before it."""
        within = [one for one in said if self._account.began_ns <= one.time_ns <= self._account.ended_ns]
        if not within:
            return None
        nodes = sorted({one.node for one in within})
        width_ns = max(1, (self._account.ended_ns - self._account.began_ns) // _SAID_COLUMNS)
        traces: list[dict[str, Any]] = []
        for family, (symbol, colour) in _FAMILIES.items():
            marks = [
                (node, column, list(lines))
                for (node, column), lines in groupby(
                    sorted(
                        (one for one in within if one.family == family),
                        key=lambda one: (one.node, one.time_ns // width_ns),
                    ),
                    key=lambda one: (one.node, one.time_ns // width_ns),
                )
            ]
            if marks:
                traces.append(
                    {
                        "type": "scatter",
                        "mode": "markers",
                        "name": family,
                        "showlegend": False,
                        "x": [self._seconds(lines[0].time_ns) for _, _, lines in marks],
                        "y": [len(nodes) - 1 - nodes.index(node) for node, _, _ in marks],
                        "text": [self._lines(lines) for _, _, lines in marks],
                        "marker": {"symbol": symbol, "color": colour, "size": 8, "line": {"width": 1}},
                        "hovertemplate": "%{text}<extra></extra>",
                    }
                )
        return lane_row("what the nodes said", [f"node {node}" for node in nodes], traces)

    def shapes(self, marks: Sequence[Mark]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The shades of faults, and the lines of ``marks`` with their names."""
        shapes = [
            {
                "type": "rect",
                "layer": "below",
                "xref": "x",
                "yref": "paper",
                "x0": self._seconds(strike.fault.began_ns),
                "x1": self._seconds(strike.fault.ended_ns),
                "y0": 0,
                "y1": 1,
                "fillcolor": "@fault-shade",
                "line": {"width": 0.5, "color": "@fault-shade"},
            }
            for strike in self._account.faults
        ]
        names = []
        for i, mark in enumerate(marks):
            x = self._seconds(mark.time_ns)
            shapes.append(
                {
                    "type": "line",
                    "xref": "x",
                    "yref": "paper",
                    "x0": x,
                    "x1": x,
                    "y0": 0,
                    "y1": 1,
                    "line": {"width": 1, "dash": "dash", "color": "@muted"},
                }
            )
            names.append(
                {
                    "xref": "x",
                    "yref": "paper",
                    "x": x,
                    "y": 0,
                    "yanchor": "top",
                    # Below the axis and one below the other, for they may be close; and never beyond the edge.
                    "yshift": -(NAMES_PX + 12 * i),
                    "xanchor": "right" if x > sum(self.span_s) / 2 else "left",
                    "text": mark.name,
                    "showarrow": False,
                    "font": {"size": 10, "color": "@muted"},
                }
            )
        return shapes, names

    def _lines(self, lines: Sequence[Said]) -> str:
        told = [
            f"{moment(one.time_ns, self._origin_ns)} <b>{plain(one.what)}</b> {plain(one.details)[:90]}"
            for one in lines[:8]
        ]
        if len(lines) > 8:
            told.append(f"and {len(lines) - 8} more")
        return f"node {lines[0].node}<br>" + "<br>".join(told)

    def _seconds(self, time_ns: int) -> float:
        return round((time_ns - self._origin_ns) / 1e9, 3)


def _victims(told: Any) -> str:
    if not isinstance(told, dict):
        return ""
    return "".join(f"<br>{name}: {plain(str(what))}" for name, what in told.items())


def _counts(one: OperationSeries, kind: EventType) -> list[int]:
    return {EventType.OK: one.ok, EventType.INFO: one.info, EventType.FAIL: one.fail}[kind]


def _rate(number: int, width_s: float) -> float:
    return float(f"{number / width_s:.4g}")


def _rounded(latencies: Sequence[float | None]) -> list[float | None]:
    return [None if one is None else float(f"{one:.3g}") for one in latencies]
