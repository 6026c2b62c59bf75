"""One planted bug: what it breaks, what must be found, and within how many seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quorumlog.sim.options import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

#: A node that notices its own broken invariant and stops is a catch as well.
CRASH = "node crashed"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug. ``where`` and ``what`` name the attribute that ``make`` (given the original) replaces;
    ``expected`` are names of violations; ``options`` override what a seed draws, where chance alone would need many
    seeds."""

    where: Any
    what: str
    make: Callable[[Any], Any]
    expected: frozenset[str]
    budget: int
    options: dict[str, Any] = field(default_factory=dict)
    workload: Workload = Workload.LOG
