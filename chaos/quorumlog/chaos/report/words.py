"""Numbers, times and operations as the pages say them: short, with units, and the same everywhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from quorumlog.check import EventType

if TYPE_CHECKING:
    from quorumlog.check import Operation

#: What an outcome is called on the pages, and the name of its colour and shape.
OUTCOMES = {EventType.OK: "ok", EventType.INFO: "unknown", EventType.FAIL: "failed"}

_LONGEST_VALUE = 160


def count(number: int) -> str:
    return f"{number:,}"


def duration(ns: float) -> str:
    """The length of time with three digits that matter: ``3.21 ms``, ``41 s``, ``1 h 02 min``."""
    seconds = ns / 1e9
    if seconds >= 3600:
        minutes = round(seconds / 60)
        return f"{minutes // 60} h {minutes % 60:02} min"
    if seconds >= 120:
        whole = round(seconds)
        return f"{whole // 60} min {whole % 60:02} s"
    if seconds >= 1:
        return f"{_three_digits(seconds)} s"
    if seconds >= 1e-3:
        return f"{_three_digits(seconds * 1e3)} ms"
    return f"{_three_digits(seconds * 1e6)} µs"


def moment(ns: int, origin_ns: int) -> str:
    """A point of the time line, in seconds after its origin."""
    return f"{(ns - origin_ns) / 1e9:.3f} s".replace("-", "−")


def operation_in_words(operation: Operation, origin_ns: int) -> str:
    """One operation with all that a reader of a tooltip wants: who, when, what was asked and what came back."""
    invoked, completed = operation.invoked, operation.completed
    node = invoked.node if completed is None or completed.node is None else completed.node
    lines = [
        f"{invoked.operation} {invoked.key}".rstrip(),
        f"by process {invoked.process} at {moment(invoked.time_ns, origin_ns)}"
        + ("" if node is None else f", node {node}"),
    ]
    if invoked.value is not None:
        lines.append(f"asked {value(invoked.value)}")
    lines.append(answer(operation))
    return "\n".join(lines)


def answer(operation: Operation) -> str:
    """How the operation ended."""
    completed = operation.completed
    if completed is None:
        return "unknown: no answer ever came"
    after = duration(completed.time_ns - operation.invoked.time_ns)
    told = "" if completed.value is None else f" {value(completed.value)}"
    why = "" if completed.error is None else f" ({completed.error})"
    return f"{OUTCOMES[completed.type]} after {after}:{told}{why}".removesuffix(":")


def value(anything: Any) -> str:
    """A value of the history on one line, long ones cut; of a read's batches only their extent."""
    if isinstance(anything, dict) and isinstance(anything.get("batches"), list):
        return _extent(anything)
    text = json.dumps(anything, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


def plain(text: str) -> str:
    """For the figure: plotly.js takes some tags for its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _extent(read: dict[str, Any]) -> str:
    batches = read["batches"]
    log = f"log {read.get('start')}…{read.get('end')}"
    if not batches:
        return f"nothing, {log}"
    records = sum(len(values) for _, values in batches)
    last = batches[-1][0] + len(batches[-1][1]) - 1
    return f"{count(records)} records at offsets {batches[0][0]}…{last}, {log}"


def _three_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
