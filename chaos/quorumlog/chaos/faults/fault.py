"""One fault: it strikes, and what it did can be undone and was seen to have an effect.

``strike`` chooses its victim when it is called, by role (``quorumlog.chaos.targets``): "the leader" is whoever
leads then. It returns what it did, for the history and for people, and how to undo it. The undoing returns the size
of the effect that was *observed* (bytes that a cut link held back, elections, lines of a node's log, errors of a
disk): a scenario whose fault had none has proved nothing and fails (``quorumlog.check.Expectations.effects``).

Faults compose: two may last at once, and the plan (``quorumlog.chaos.scenario``) says when each begins and ends. So
a fault undoes its own doing only: it never resets a link that another one has cut as well (``Scene.links`` counts
them).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from quorumlog.chaos.faults.links import Links
    from quorumlog.chaos.places import Ability, Place
    from quorumlog.client import Admin


#: What a node logs when it serves (``quorumlog.server.main``).
READY = "] ready "


@dataclass(slots=True)
class Scene:
    """What a fault acts upon."""

    place: Place
    admin: Admin
    """For who leads what; its calls may fail while faults last."""
    random: Random
    links: Links
    """The links' conditions as all faults together want them."""
    topics: list[str] = field(default_factory=list)
    """Of the workload, in the order they were made; the first keeps all that is written to it."""
    groups: list[str] = field(default_factory=list)
    """Consumer groups of the workload."""
    damaged: set[int] = field(default_factory=set)
    """Nodes whose files or disks no longer hold all they acknowledged: never a majority of them."""
    _returning: dict[int, int] = field(default_factory=dict)
    """node -> how often it has to have said that it serves to be back."""

    async def start_again(self, node: int) -> None:
        """Starts a node that a fault has ended; does not wait for it to serve."""
        self._returning[node] = self.place.said(node, READY) + 1
        await self.place.start_node(node)

    def all_back(self) -> bool:
        """Whether every node that was started again serves. One that is still opening its files is as good as dead:
        who ends another one meanwhile has taken a majority, and the plan did not say so."""
        return all(self.place.said(node, READY) >= count for node, count in self._returning.items())


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault under way. ``told`` goes into the history as the invocation's value (JSON: victims by node id or
    pair); ``undo`` ends it and returns the observed effect."""

    told: dict[str, Any]
    undo: Callable[[], Awaitable[int]]


class Fault(Protocol):
    """See the module. ``name`` is the history's key and the report's word; ``needs`` what the place must be able
    to."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> frozenset[Ability]: ...

    async def strike(self, scene: Scene) -> Struck | None:
        """None when there is nobody to do it to just now (no leader, say); then the plan tries again shortly."""
