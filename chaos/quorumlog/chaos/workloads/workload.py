"""What every workload offers the run: load while faults last, and proof of life afterwards.

A workload talks to the cluster with the real client (``quorumlog.client``) as an application would, and writes
every operation into the history (``quorumlog.check.history`` says how each looks). It never gives an unknown
outcome out for a failure: what may have happened ends as ``info``, and the process that did it gets a new id.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from random import Random

    from quorumlog.chaos.places import PlaceKind
    from quorumlog.chaos.scenario import Load
    from quorumlog.check import Expectations, Recorder


@dataclass(slots=True)
class Setting:
    """What a workload is given. One event loop, one recorder: the order of its calls is the history's order."""

    servers: list[str]
    load: Load
    recorder: Recorder
    random: Random
    node_count: int = 3
    remove: bool = False
    """Topics and groups are deleted in the end: the cluster stays, and is somebody's."""
    first_process: int = 0
    """Above other writers' process ids, where several processes write one history."""
    _processes: int = field(default=0, init=False)

    @staticmethod
    def now_ns() -> int:
        return time.monotonic_ns()

    def new_process(self) -> int:
        """A process id for the history, never used before."""
        self._processes += 1
        return self.first_process + self._processes


class Workload(Protocol):
    """The parts of a run, called in this order: ``set_up``, ``run`` (a task that is told to end by ``stop``),
    ``prove_alive``, ``finish``, ``close``."""

    topics: list[str]
    groups: list[str]

    async def set_up(self) -> None:
        """Makes topics and groups; no fault happens yet."""

    async def run(self) -> None:
        """Loads until ``stop``; returns when everything that was begun has ended. Failed operations do not end
        it."""

    def stop(self) -> None: ...

    async def prove_alive(self, served: set[int]) -> str:
        """Whether everything serves again: an append acknowledged in every partition, a commit accepted of every
        group and register, by fresh clients. ``served`` are the nodes that live and are connected. Returns what is
        still missing, "" if nothing: it is called again until then, or until the place's time is up."""

    async def finish(self) -> None:
        """Final reads and fetches by fresh clients up to the linearizable ends, members drained and closed."""

    async def close(self) -> None:
        """Frees what is left, also after a failure in between."""

    def expectations(self) -> Expectations:
        """What must have succeeded for the run to mean anything."""


def patience_s(kind: PlaceKind) -> float:
    """Within so long after healing everything must serve (CHAOS.md §3)."""
    return 30.0 if kind == "containers" else 15.0
