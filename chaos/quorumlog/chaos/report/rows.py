"""Rows of a figure, one below the other on one time axis: what plotly.js wants to know so that they stand so.

Heights are pixels, whatever the width: a row on a telephone is as high as on a wide screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Figure = dict[str, Any]

_LANE_PX = 27
_ROW_GAP_PX = 46
#: Of the gap, what is below a row; the rest is for the next one's title.
_BELOW_PX = 18
_TOP_PX, _BOTTOM_PX = 36, 62
#: How far below the figure the names of moments begin: under the time axis's own.
NAMES_PX = 24


@dataclass(slots=True)
class Row:
    """One part of the figure, above the others."""

    title: str
    height_px: int
    axis: dict[str, Any]
    traces: list[dict[str, Any]]
    labels: list[tuple[float, str]]
    """Names of lanes, at their upper left corner."""


def stacked(
    rows: Sequence[Row], decoration: tuple[list[dict[str, Any]], list[dict[str, Any]]], span_s: tuple[float, float]
) -> Figure:
    """The rows below one another, on one time axis."""
    shapes, annotations = decoration
    total_px = sum(row.height_px + _ROW_GAP_PX for row in rows) - _BELOW_PX
    layout: dict[str, Any] = {
        "height": total_px + _TOP_PX + _BOTTOM_PX,
        "margin": {"l": 58, "r": 14, "t": _TOP_PX, "b": _BOTTOM_PX},
        "barmode": "stack",
        "bargap": 0,
        "paper_bgcolor": "@paper",
        "plot_bgcolor": "@paper",
        "font": {"family": "@font", "size": 12, "color": "@ink"},
        "hovermode": "closest",
        "hoverlabel": {
            "align": "left",
            "bgcolor": "@raised",
            "bordercolor": "@line",
            "font": {"color": "@ink", "size": 12, "family": "@font"},
        },
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "itemsizing": "constant"},
        "dragmode": "zoom",
        "shapes": shapes,
        "xaxis": {
            "range": list(span_s),
            "ticksuffix": " s",
            "gridcolor": "@line",
            "zeroline": False,
            "linecolor": "@line",
            "anchor": "y" if len(rows) == 1 else f"y{len(rows)}",
            "showspikes": True,
            "spikemode": "across",
            "spikethickness": 1,
            "spikecolor": "@muted",
            "spikedash": "solid",
            "spikesnap": "cursor",
        },
    }
    data: list[dict[str, Any]] = []
    top_px = float(total_px)
    for number, row in enumerate(rows, 1):
        axis = "y" if number == 1 else f"y{number}"
        top_px -= _ROW_GAP_PX - _BELOW_PX
        domain = [(top_px - row.height_px) / total_px, top_px / total_px]
        layout["yaxis" + axis[1:]] = {
            "domain": domain,
            "gridcolor": "@line",
            "zeroline": False,
            "linecolor": "@line",
            "fixedrange": True,
            **row.axis,
        }
        annotations.append(_heading(row.title, domain[1]))
        for y, text in row.labels:
            annotations.append(_lane_name(text, axis, y))
        data += [{**trace, "xaxis": "x", "yaxis": axis} for trace in row.traces]
        top_px -= row.height_px + _BELOW_PX
    layout["annotations"] = annotations
    return {"data": data, "layout": layout}


def lane_row(title: str, names: Sequence[str], traces: list[dict[str, Any]]) -> Row:
    """Names stand inside, above their lanes: as labels of the axis they would take a telephone's whole width."""
    axis = {"range": [-0.55, len(names) - 0.45], "showticklabels": False, "showgrid": False}
    labels = [(len(names) - 1 - i + 0.2, name) for i, name in enumerate(names)]
    return Row(title, len(names) * _LANE_PX + 8, axis, traces, labels)


def bar_trace(
    begins: list[float], lengths: list[float], lanes: list[int], texts: list[str], colour: str
) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "showlegend": False,
        "base": begins,
        "x": [round(length, 3) for length in lengths],
        "y": [lane - 0.24 for lane in lanes],
        "width": 0.32,
        "offset": -0.16,
        "text": "",
        "hovertext": texts,
        "hovertemplate": "%{hovertext}<extra></extra>",
        "marker": {"color": colour, "line": {"width": 0}},
    }


def _heading(title: str, y: float) -> dict[str, Any]:
    return {
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": y,
        "xanchor": "left",
        "yanchor": "bottom",
        "text": f"<b>{title}</b>",
        "showarrow": False,
        "font": {"size": 12, "color": "@ink"},
    }


def _lane_name(text: str, axis: str, y: float) -> dict[str, Any]:
    return {
        "xref": "paper",
        "yref": axis,
        "x": 0.004,
        "y": y,
        "xanchor": "left",
        "yanchor": "middle",
        "text": text,
        "showarrow": False,
        "font": {"size": 10.5, "color": "@muted"},
    }
