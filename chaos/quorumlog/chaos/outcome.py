"""A run on disk: what was done, what came of it, and everything a checker or a reader needs later.

A run is a directory: ``run.json`` (``RunRecord``), ``history.jsonl`` (``quorumlog.check.history``), ``node-N.log``
for every node, and ``report.html`` once somebody has made it. Runs of simulator seeds that failed are written in
the same form, so that one report shows both.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from quorumlog.check import Anomaly

RUN_FILE = "run.json"
HISTORY_FILE = "history.jsonl"
REPORT_FILE = "report.html"
FORMAT = 1
#: Lines of a verdict's reasons that are alike, before they are only counted.
_LIKE_REASONS = 2
#: Operations of a history that no client did.
MARKS = frozenset({"elections", "fault", "healed", "members_stop"})


class NoRun(Exception):
    """There is no readable run in the directory; the message is one line."""


@dataclass(slots=True)
class RunRecord:
    """What ``run.json`` holds. Times of the time line are monotonic ns, as in the history."""

    scenario: str
    summary: str
    place: str
    engine: str
    nodes: int
    seed: int
    verdict: str = "unknown"
    """"true", "false" or "unknown" (``quorumlog.check.Verdict``)."""
    why: list[str] = field(default_factory=list)
    """Why it is not true, a line each: anomalies, what was missing at the liveness bound, why it proves nothing."""
    verdicts: dict[str, str] = field(default_factory=dict)
    """Of each anomaly by name."""
    found: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of each anomaly that was found: ``times``, and after how many seconds of load it was first shown
    (``first_s``; nothing without a witness)."""
    skipped: str = ""
    """Why it was not run; then all else is empty."""
    left_harmed: str = ""
    """What could not be undone in a cluster that stays: nothing more must be done to it."""
    began_utc: str = ""
    utc_minus_monotonic_ns: int = 0
    """What to add to a time of the history to get UTC: nodes' logs have that. 0: not known."""
    duration_s: float = 0.0
    load_began_ns: int = 0
    patience_s: float = 0.0
    """How soon after healing everything had to serve; 0: not asked."""
    healed_ns: int = 0
    alive_ns: int = 0
    """When everything served again after healing; 0: it did not in time."""
    operations: dict[str, dict[str, int]] = field(default_factory=dict)
    """operation -> ok, fail, info -> how many."""
    fault_effects: dict[str, int] = field(default_factory=dict)
    failovers: int = 0
    """Changes of leader seen during the load, in all partitions and coordinators."""
    checks: int = 0
    """Records, commits and groups looked at by the checkers."""
    replay: str = ""
    """The command that does it again."""
    expectations: dict[str, Any] = field(default_factory=dict)
    """What the run had to show (``quorumlog.check.Expectations``), for checking the history again later."""
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def operation_count(self) -> int:
        """What clients did, however it ended."""
        return sum(sum(kinds.values()) for name, kinds in self.operations.items() if name not in MARKS)

    @property
    def fault_count(self) -> int:
        """Strikes that were made and undone."""
        return self.operations.get("fault", {}).get("ok", 0)


def summary(anomalies: Sequence[Anomaly], load_began_ns: int) -> dict[str, dict[str, float]]:
    """What was found, as ``RunRecord.found`` has it, in the order of what was shown first."""
    found: dict[str, dict[str, float]] = {}
    for anomaly in sorted(anomalies, key=lambda one: one.shown_ns or 0):
        kind = found.setdefault(anomaly.kind.value, {"times": 0})
        kind["times"] += 1
        if anomaly.shown_ns is not None:
            kind.setdefault("first_s", round((anomaly.shown_ns - load_began_ns) / 1e9, 3))
    return found


def reasons(why: Iterable[str]) -> list[tuple[str, int]]:
    """The lines with how many more like each were left out: lines are alike that begin with the same words before a
    colon."""
    groups: dict[str, list[str]] = {}
    for line in why:
        groups.setdefault(line.partition(": ")[0], []).append(line)
    return [
        (line, len(lines) - _LIKE_REASONS if i == _LIKE_REASONS - 1 else 0)
        for lines in groups.values()
        for i, line in enumerate(lines[:_LIKE_REASONS])
    ]


def save(directory: Path, record: RunRecord) -> None:
    text = json.dumps(asdict(record), indent=1, ensure_ascii=False)
    (directory / RUN_FILE).write_text(text + "\n", encoding="utf-8")


def load(directory: Path) -> RunRecord:
    """Raises NoRun."""
    path = directory / RUN_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("format") != FORMAT:
            raise NoRun(f"{path} has format {found.get('format')}; this quorumlog knows format {FORMAT}")
        return RunRecord(**found)
    except FileNotFoundError:
        raise NoRun(f"no run in {directory}") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise NoRun(f"{path} is not a run: {error}") from None
