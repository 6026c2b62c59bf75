"""A smaller world that shows the same: what is left when everything that is not needed has been taken away.

Greedy (delta debugging at its plainest): each variation that still violates the same property becomes the new
world, until none does or the budget of runs is spent. What remains is told as a schedule: the faults, who led
when, and what the nodes said of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.sim.control import variations
from quorumlog.sim.run import Result, Run
from quorumlog.sim.world import format_event

if TYPE_CHECKING:
    from quorumlog.sim.options import Options

#: Events of the trace that make up a schedule.
_TOLD = frozenset(
    {
        *("fault", "fault ends", "lags", "crashes", "heals", "heals all", "starts", "is killed"),
        *("LeaderElected", "LeadershipLost", "ReplicaDamaged"),
    }
)


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest world found, its outcome and its schedule. ``runs`` were needed."""

    options: Options
    result: Result
    schedule: tuple[str, ...]
    runs: int


def shrink(options: Options, violation: str, budget: int = 16) -> Shrunk:
    """A world that violates ``violation``, no larger than ``options``, which does, in at most ``budget`` + 1
    runs."""
    run = Run(options)
    result = run.result()
    runs = 1
    progress = True
    while progress and runs <= budget:
        progress = False
        for smaller in variations(options):
            if runs > budget:
                break
            runs += 1
            tried = Run(smaller)
            outcome = tried.result()
            if any(found.name == violation for found in outcome.violations):
                options, run, result, progress = smaller, tried, outcome, True
                break
    return Shrunk(options, result, _schedule(run), runs)


def _schedule(run: Run) -> tuple[str, ...]:
    return tuple(format_event(event) for event in run.cluster.world.trace.events if event[2] in _TOLD)


def shrunk_report(shrunk: Shrunk, violation: str) -> str:
    """The schedule for people, and the property's minimal witness."""
    found = next(found for found in shrunk.result.violations if found.name == violation)
    lines = [f"the smallest world found that shows {violation!r} ({shrunk.runs} runs): {shrunk.options}"]
    lines += [f"  {line}" for line in shrunk.schedule]
    lines.append(f"  {found.name}: {found.message}")
    lines += [f"      {line}" for line in found.witness]
    return "\n".join(lines)
