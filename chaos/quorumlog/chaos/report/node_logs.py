"""What the nodes said: the lines of their logs that matter, put on the history's time line.

Nodes stamp their lines with wall-clock time, histories carry monotonic time; ``RunRecord.utc_minus_monotonic_ns``
ties one to the other. A node whose clock a fault has moved says its lines at the wrong place, as it would in
production.

Three styles are understood: the node's own for people and as JSON (``quorumlog.server.logs``), and the simulator's
traces (``quorumlog.sim.run_directory``), which are on the history's time already.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: The normal life of a node that a reader of a run wants to see; of all else only warnings and errors.
_TELLING = frozenset(
    {
        "LeaderElected",
        "LeadershipLost",
        "CheckpointInstalled",
        "DiskFreed",
        "PeerHeard",
        "ready",
        "stopping",
        "stopped",
        # Of simulated nodes.
        "starts",
        "is paused",
        "is killed",
        "loses power",
        "goes on",
    }
)
#: What the suite itself has asked for is a warning to everybody else.
_EXPECTED = "fault door open"
#: Traces have no levels: these are as the node's log has them.
_LEVELS = {
    **dict.fromkeys(("CRASHED", "ReplicaDamaged", "DiskFull", "DiskStalled", "job failed"), "error"),
    **dict.fromkeys(("LogRepaired", "PeerSilent", "ReplicaReplaced", "GroupExpiring", "GroupExpired"), "warning"),
}
_TRACE = re.compile(r"^ *(\d+)\.(\d{6})  node \d+  ((?:is|goes|job|loses) \w+|\w+) ?(.*)$")
_LINE = re.compile(r"^(\d{4}-\d\d-\d\dT[\d:.]+Z) \[(\w+) *\] (.*)$")
_PAIR = re.compile(r" (\w+)=('[^']*'|\"[^\"]*\"|\S+)")
_FILE = re.compile(r"node-(\d+)\.log$")
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_LONGEST = 400


class Said(NamedTuple):
    """One line of a node's log. ``what`` is its event, ``details`` its fields as they were written."""

    time_ns: int
    """On the history's time line."""
    node: int
    level: str
    what: str
    details: str

    @property
    def family(self) -> str:
        """What kind of thing it is about: "harm", "trouble", "leadership", "peers" or "life"."""
        if self.level in ("error", "critical"):
            return "harm"
        if self.what.startswith("Peer") or self.what.startswith("peer"):
            return "peers"
        if self.what.startswith("Leader"):
            return "leadership"
        return "trouble" if self.level == "warning" else "life"


def read_logs(directory: Path, utc_minus_monotonic_ns: int) -> list[Said]:
    """What matters of all nodes' logs in ``directory``, in order of time. Lines in wall-clock time are left out as
    long as nobody knows (0) how that goes with the history's."""
    said: list[Said] = []
    for path in sorted(directory.glob("node-*.log")):
        found = _FILE.search(path.name)
        if found is not None:
            with path.open(encoding="utf-8", errors="replace") as lines:
                said += _parse(lines, int(found.group(1)), utc_minus_monotonic_ns)
    return sorted(said)


def _parse(lines: Iterable[str], node: int, utc_minus_monotonic_ns: int) -> Iterator[Said]:
    for line in lines:
        text = _COLOURS.sub("", line.rstrip()) if "\x1b" in line else line.rstrip()
        traced = _TRACE.match(text)
        if traced is not None:
            seconds, micros, what, details = traced.groups()
            time_ns, level = (int(seconds) * 1_000_000 + int(micros)) * 1000, _LEVELS.get(what, "info")
        else:
            parsed = _parse_json(text) if text.startswith("{") else _parse_text(text)
            if parsed is None or not utc_minus_monotonic_ns:
                continue
            stamp, level, what, details = parsed
            time_ns = round(datetime.fromisoformat(stamp).timestamp() * 1e6) * 1000 - utc_minus_monotonic_ns
        if _matters(level, what):
            yield Said(time_ns, node, level, what, details[:_LONGEST])


def _matters(level: str, what: str) -> bool:
    return what in _TELLING or (level not in ("info", "debug") and not what.startswith(_EXPECTED))


def _parse_text(text: str) -> tuple[str, str, str, str] | None:
    found = _LINE.match(text)
    if found is None:
        return None
    stamp, level, rest = found.groups()
    pair = _PAIR.search(rest)
    what, details = (rest, "") if pair is None else (rest[: pair.start()], rest[pair.start() :])
    return stamp, level, what.strip(), details.strip()


def _parse_json(text: str) -> tuple[str, str, str, str] | None:
    try:
        fields = json.loads(text)
        stamp, level, what = fields.pop("timestamp"), fields.pop("level"), fields.pop("event")
    except (ValueError, KeyError, AttributeError):
        return None
    return stamp, level, what, " ".join(f"{name}={value}" for name, value in sorted(fields.items()))
