"""One planted bug: what it breaks, what must be found, how it is looked for, and within how many seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quorumlog.sim.options import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

#: A node that notices its own broken invariant and stops is a catch as well, where a bug declares it.
CRASH = "node crashed"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug. ``where`` and ``what`` name the attribute that ``make`` (given the original) replaces; its
    docstring says what is wrong then. ``expected`` are names of violations, of which one must be found.

    It is looked for in seeds from 0 on, at most ``budget`` of them; ``options`` override what a seed draws, where
    chance alone would need many. Or, where random search does not find it in any reasonable budget, in the directed
    ``scenario`` of that name (``quorumlog.sim.directed``).
    """

    where: Any
    what: str
    make: Callable[[Any], Any]
    expected: frozenset[str]
    budget: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    workload: Workload = Workload.LOG
    scenario: str = ""
    also: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = ()
    """What else is replaced, where the node would notice the one bug by another of its parts."""

    @property
    def summary(self) -> str:
        """What is wrong with the system, in a sentence or two."""
        return " ".join((self.make.__doc__ or "").split())

    @property
    def place(self) -> str:
        """Where it is planted, as people look for it."""
        module = getattr(self.where, "__module__", None) or self.where.__name__
        owner = f"{module}.{self.where.__qualname__}" if isinstance(self.where, type) else module
        return f"{owner}.{self.what}"
