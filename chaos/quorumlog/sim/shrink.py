"""A smaller world that shows the same: what is left when everything that is not needed has been left out.

First the faults go, strike by strike, then clients and what single clients do, then the deviations of the network,
then the sizes. Each is left out by its number (``schedule.Without``), so that everything else stays what it was;
what still violates the same property becomes the new world. Chunks are halved until single parts are tried (delta
debugging, Zeller and Hildebrandt's ddmin without its complements). What remains is told as a schedule, with the one
command that runs it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quorumlog.sim.control import variations
from quorumlog.sim.replaying import replay_command
from quorumlog.sim.run import Result, Run
from quorumlog.sim.schedule import strikes
from quorumlog.sim.world import MS, SLICE_US, World, format_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.sim.options import Options

#: Events of the trace that make up a schedule.
_TOLD = frozenset(
    {
        *("fault", "fault ends", "lags", "crashes", "heals", "heals all", "left broken", "starts", "is killed"),
        *("loses power", "is paused", "goes on", "is harmed", "rots", "is told of lost writes", "member"),
        *("LeaderElected", "LeadershipLost", "ReplicaDamaged", "ReplicaReplaced"),
    }
)
#: More client operations than this are counted and not listed.
_LISTED = 40
_RATES = ("loss", "duplicate", "reorder", "slow_frames", "resets", "lost_answers", "drift")


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest world found, its outcome and its schedule. ``runs`` were needed; ``strikes`` and ``operations``
    are how many faults and client operations it still has, of how many there were."""

    options: Options
    result: Result
    schedule: tuple[str, ...]
    runs: int
    strikes: tuple[int, int]
    operations: tuple[int, int]


def shrink(options: Options, violation: str, budget: int = 120) -> Shrunk:
    """A world that violates ``violation``, no larger than ``options``, which does, in at most ``budget`` + 1
    runs."""
    return _Shrinker(options, violation, budget).shrunk()


class _Shrinker:
    def __init__(self, options: Options, violation: str, budget: int) -> None:
        self._violation = violation
        self._left = budget
        self._runs = 1
        self.options = options
        self.run = Run(options)
        self.result = self.run.result()
        self._strikes_before = len(_strikes(options))
        self._operations_before = len(_operations(self.run))

    def shrunk(self) -> Shrunk:
        self._leave_out("strikes", _strikes(self.options))
        self._leave_out("blows", list(range(self.run.groups.blows)))
        self._leave_out("clients", [turns.number for turns in self.run.turns if turns.present])
        self._leave_out("operations", _operations(self.run))
        for rate in _RATES:
            if getattr(self.options, rate):
                self._try(replace(self.options, **{rate: 0.0}))  # type: ignore[arg-type]
        if any(getattr(self.options, rate) for rate in _RATES):
            self._leave_out("slices", list(range(self.result.virtual_ms * MS // SLICE_US + 1)))
        while any(self._try(smaller) for smaller in variations(self.options)):
            pass
        # A shorter run may need even less.
        self._leave_out("strikes", _strikes(self.options))
        return Shrunk(
            self.options,
            self.result,
            _schedule(self.run),
            self._runs,
            (len(_strikes(self.options)), self._strikes_before),
            (len(_operations(self.run)), self._operations_before),
        )

    def _leave_out(self, kind: str, numbers: Sequence[int]) -> None:
        """Leaves out as many of ``numbers`` as can be, in ever smaller chunks."""
        needed = list(numbers)
        size = len(needed)
        while size and self._left:
            start = 0
            while start < len(needed) and self._left:
                chunk = needed[start : start + size]
                if self._try(replace(self.options, without=self.options.without.and_without(kind, chunk))):
                    del needed[start : start + size]
                else:
                    start += size
            size = min(size, len(needed) + 1) // 2

    def _try(self, options: Options) -> bool:
        """Whether this world shows the same; then it is the one to go on with."""
        if not self._left:
            return False
        self._left -= 1
        self._runs += 1
        run = Run(options)
        result = run.result()
        if all(found.name != self._violation for found in result.violations):
            return False
        self.options, self.run, self.result = options, run, result
        return True


def _strikes(options: Options) -> list[int]:
    """The numbers of those that happen."""
    drawn = strikes(World(options.seed), options)
    return [strike.number for strike in drawn if strike.number not in options.without.strikes]


def _operations(run: Run) -> list[int]:
    """The numbers of what clients set out to do, and did."""
    left_out = run.options.without.operations
    return [number for turns in run.turns for number in turns.operations if number not in left_out]


def _schedule(run: Run) -> tuple[str, ...]:
    told = _TOLD if len(_operations(run)) > _LISTED else _TOLD | {"sets out"}
    return tuple(format_event(event) for event in run.cluster.world.trace.events if event[2] in told)


def shrunk_report(shrunk: Shrunk, violation: str) -> str:
    """The schedule for people, the property's minimal witness, and the command that shows it again."""
    found = next(found for found in shrunk.result.violations if found.name == violation)
    faults, operations = shrunk.strikes, shrunk.operations
    lines = [
        f"the smallest world found that shows {violation!r}, after {shrunk.runs} runs:"
        f" {faults[0]} of {faults[1]} faults, {operations[0]} of {operations[1]} client operations,"
        f" {shrunk.result.virtual_ms / 1000:.1f} s",
        f"  replay:  {replay_command(shrunk.options)}",
    ]
    lines += [f"  {line}" for line in shrunk.schedule]
    lines.append(f"  {found.name}: {found.message}")
    lines += [f"      {line}" for line in found.witness]
    return "\n".join(lines)
