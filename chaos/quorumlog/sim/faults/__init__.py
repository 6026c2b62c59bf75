"""Every fault that a seed may draw (CHAOS.md §3), by name.

A fault is a function of the nemesis: it does something to the cluster and returns how to undo it, or None if there
was nothing to do it to. The undoing returns the size of the effect that was observed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from quorumlog.sim.faults import administration, disks, links, processes

if TYPE_CHECKING:
    from quorumlog.sim.nemesis import Nemesis

Undo: TypeAlias = Callable[[], int]
Fault: TypeAlias = "Callable[[Nemesis], Undo | None]"

FAULTS: dict[str, Fault] = {
    **processes.FAULTS,
    **links.FAULTS,
    **disks.FAULTS,
    **administration.FAULTS,
}

#: Faults that last this many times as long as others.
LONGER = {"long pause": 4, "rolling restart": 2, "flapping": 2}

__all__ = ["FAULTS", "LONGER", "Fault", "Undo"]
