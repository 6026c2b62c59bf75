"""One world on disk, in the form of a run of the chaos suite, so that the same report shows both.

The form is that of ``quorumlog.chaos.outcome``, which may import the simulator and not the other way round; a test
reads what is written here with what is there.
"""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any

from quorumlog.check import EventType, Verdict
from quorumlog.check.history import write_history
from quorumlog.sim.replaying import replay_command
from quorumlog.sim.world import format_event

if TYPE_CHECKING:
    from pathlib import Path

    from quorumlog.sim.run import Result, Run

_FORMAT = 1
_NS_PER_US = 1000


def write_run(directory: Path, run: Run, result: Result) -> None:
    """Writes ``run.json``, ``history.jsonl`` and each node's events. The directory is made. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    record = json.dumps(_record(run, result), indent=1, ensure_ascii=False)
    (directory / "run.json").write_text(record + "\n", encoding="utf-8")
    write_history(directory / "history.jsonl", run.cluster.recorder.events)
    for node in (0, *run.cluster.nodes):
        lines = [format_event(event) for event in run.cluster.world.trace.events if event[1] == node]
        name = f"node-{node}.log" if node else "world.log"
        (directory / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _record(run: Run, result: Result) -> dict[str, Any]:
    options, report = run.options, run.report
    found = bool(result.violations)
    statistics = result.statistics
    return {
        "scenario": f"sim-{options.workload.value}-{result.seed}",
        "summary": f"simulated world {result.seed}: {', '.join(dict.fromkeys(options.faults)) or 'no faults'}",
        "place": "simulation",
        "engine": options.engine,
        "nodes": options.nodes,
        "seed": result.seed,
        "verdict": Verdict.FALSE.value if found else report.verdict.value if report else Verdict.UNKNOWN.value,
        "why": [f"{one.name}: {one.message}" for one in result.violations],
        "verdicts": {kind.value: verdict.value for kind, verdict in report.verdicts.items()} if report else {},
        "duration_s": result.virtual_ms / 1000,
        "load_began_ns": run.load_began_us * _NS_PER_US,
        "healed_ns": run.healed_us * _NS_PER_US,
        "alive_ns": run.alive_us * _NS_PER_US,
        "operations": _operations(run),
        "fault_effects": {
            name.removeprefix("effect "): count for name, count in statistics.items() if name.startswith("effect ")
        },
        "failovers": statistics["failovers"],
        "checks": sum(report.examined.values()) if report else 0,
        "replay": replay_command(options),
        "expectations": run.expectations.to_json(),
        "versions": {"python": platform.python_version(), "trace": result.trace_hash},
        "format": _FORMAT,
    }


def _operations(run: Run) -> dict[str, dict[str, int]]:
    """operation -> ok, fail, info -> how many."""
    found: dict[str, dict[str, int]] = {}
    for event in run.cluster.recorder.events:
        if event.type is not EventType.INVOKE:
            counts = found.setdefault(event.operation, {"ok": 0, "fail": 0, "info": 0})
            counts[event.type.value] += 1
    return found
