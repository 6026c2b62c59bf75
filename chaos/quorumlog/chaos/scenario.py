"""A scenario: one workload over one cluster, and the plan of what happens to it.

A plan is a list of strikes on the time line of the workload: begin a fault at a time, let it last, perhaps again
and again. Strikes that overlap are faults at once. What a cell of ``quorumlog chaos list`` shows is one scenario in
the places that can run it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorumlog.chaos.faults import Fault
    from quorumlog.chaos.places import Ability


class Suite(StrEnum):
    """Which scenarios are run together; a scenario may be in several."""

    SMOKE = "smoke"
    FULL = "full"
    LONG = "long"


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault on the time line. Times in seconds from the beginning of the load."""

    fault: Fault
    at_s: float
    lasts_s: float
    """0: it has no duration (a kill that is followed by a start at once, a clock's jump)."""
    every_s: float = 0.0
    """Again after so long, counted from begin to begin; 0: once."""
    for_good: bool = False
    """Not undone before the liveness check: a permanent fault is no excuse outside a connected majority."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much of what. A workload takes the sizes it knows (``quorumlog.chaos.workloads``)."""

    workload: str = "mixed"
    partitions: int = 3
    producers: int = 2
    readers: int = 2
    registers: int = 4
    members: int = 3
    operations_per_s: int = 200
    """Paced over all clients together; 0: as fast as answers come."""
    record_bytes: int = 100
    compression: str = "none"
    settings: dict[str, int] = field(default_factory=dict)
    """Further sizes that only one workload knows, by name."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """See the module. ``name`` is lower case with dashes and unique."""

    name: str
    summary: str
    """What must hold although what happens; one line."""
    plan: tuple[Strike, ...]
    load: Load = Load()
    nodes: int = 3
    duration_s: float = 10.0
    suites: frozenset[Suite] = frozenset({Suite.FULL})
    serves: bool = True
    """Somebody must have been served while the faults lasted, or the run proves nothing; not asked where a fault
    takes a majority of the nodes."""
    failover: bool = False
    """At least one leader must have changed, or the run proves nothing."""
    elections_max: int | None = None
    """No more leaders may have been elected while load and faults lasted; None: not asked."""
    unserved_max_s: float | None = None
    """No partition and no register may have gone unserved for longer, also while faults lasted; None: not asked (a
    fault that takes a majority away takes the service with it)."""

    @property
    def needs(self) -> frozenset[Ability]:
        return frozenset().union(*(strike.fault.needs for strike in self.plan))

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(strike.fault.name for strike in self.plan))
