"""What every place offers: a cluster's life, and the harm that can be done to it.

Faults know this protocol and nothing else, so that one fault serves in every place that has the ability it needs. A
place says what it can do before it starts anything (``abilities``), and why it cannot do the rest: a scenario that
needs more is skipped by name, never run without its fault.

All methods may take real time; none may block the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from quorumlog.cluster.links.condition import GOOD, LinkCondition, LinkCounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


__all__ = [
    "GOOD",
    "Ability",
    "DiskOrder",
    "LinkCondition",
    "LinkCounts",
    "NotPossible",
    "Place",
    "PlaceKind",
    "describe_lacks",
]


class PlaceKind(StrEnum):
    """Where a cluster's nodes run."""

    LOCAL = "local"
    NETNS = "netns"
    CONTAINERS = "containers"
    ATTACHED = "attached"
    """A cluster of the user's own, which was there before and stays."""


class Ability(StrEnum):
    """What a place can do to a node or to what lies between nodes."""

    KILL = "kill"
    """End a process without warning and start it again."""
    STOP = "stop"
    """End it in good order and start it again."""
    PAUSE = "pause"
    CUT = "cut"
    """Make one directed link swallow everything (a black hole); with both directions, a partition."""
    REJECT = "reject"
    """Make a directed link refuse instead of swallow."""
    SHAPE = "shape"
    """Latency, jitter, bandwidth, stalls of one directed link."""
    RESET = "reset"
    """Break the connections of a link; they may be made again at once."""
    DISCONNECT = "disconnect"
    """Take a node off the nodes' network altogether, as pulling a plug does."""
    DISK = "disk"
    """Order faults of a node's disk: errors, a full disk, slowness, lying fsync, power loss."""
    FILES = "files"
    """Change the files of a node that does not run."""
    CLOCK = "clock"
    """Make a node's wall clock jump, or its clocks drift."""
    SMALL_DISK = "small disk"
    """Give a node a file system that really is too small."""


class NotPossible(Exception):
    """This place cannot do that here; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class DiskOrder:
    """One order to a node's disk shim, as it goes over the wire to the node (``quorumlog.server``'s fault door).

    ``what``: ``fail`` (the next ``times`` operations of kind ``operation`` on files that match ``files`` raise
    ``error``), ``full`` (``bytes`` may still be written), ``slow`` (each sync takes ``slow_ms`` longer), ``lie`` (a
    sync says yes and does nothing), ``misdirect`` and ``stale`` (the next matching write lands elsewhere, or is
    dropped after it was acknowledged), ``power`` (what is not synced is lost, torn as ``seed`` has it, and the
    process ends), ``heal`` (undoes all but what is written), ``counts`` (tells what happened so far).
    """

    what: str
    operation: str = ""
    error: str = ""
    files: str = "*"
    times: int = 1
    bytes: int = 0
    slow_ms: int = 0
    seed: int = 0


class Place(Protocol):
    """One cluster in one place."""

    kind: PlaceKind
    abilities: frozenset[Ability]
    lacks: Mapping[Ability, str]
    """Why it has not the other abilities."""
    engine: str

    @property
    def nodes(self) -> tuple[int, ...]:
        """All node ids, ascending."""

    @property
    def servers(self) -> list[str]:
        """Where clients reach the nodes, host:port, in the order of ``nodes``."""

    async def start(self) -> None:
        """Starts everything and returns when the cluster takes requests. Raises NotPossible, NodeFailed."""

    async def close(self) -> None:
        """Ends what ``start`` began and removes it. Once more does nothing."""

    async def keep_logs(self, directory: Path) -> None:
        """Copies what the nodes have said into ``directory``, a file a node (``node-1.log``)."""

    def said(self, node: int, word: str) -> int:
        """How many lines with ``word`` the node has logged so far, in all its lives: an observable effect."""

    # --- processes

    def running(self, node: int) -> bool:
        """Its process lives and is not paused."""

    async def kill(self, node: int) -> None:
        """SIGKILL; returns when it is gone."""

    async def stop(self, node: int) -> None:
        """SIGTERM, and waits for it to leave in good order."""

    async def start_node(self, node: int) -> None:
        """Starts it if it does not live; does not wait for it to serve."""

    async def pause(self, node: int) -> None: ...

    async def resume(self, node: int) -> None: ...

    # --- links; ``source`` and ``target`` are nodes, and only what flows from source to target is meant

    async def set_link(self, source: int, target: int, condition: LinkCondition) -> None:
        """Raises NotPossible for a condition that this place cannot make."""

    async def reset_link(self, source: int, target: int) -> None:
        """Breaks the connections that source has made to target."""

    async def link_counts(self, source: int, target: int) -> LinkCounts: ...

    async def disconnect(self, node: int) -> None: ...

    async def reconnect(self, node: int) -> None: ...

    # --- disks, files, clocks

    async def order_disk(self, node: int, order: DiskOrder) -> Mapping[str, Any]:
        """Has the node's disk do that; what it answers, among it the counts of what it did."""

    async def order_clock(self, node: int, *, jump_ms: int = 0, drift: float = 0.0) -> None:
        """Adds to the wall clock, and makes all clocks run fast by the share ``drift`` from here on."""

    def data_directory(self, node: int) -> Path:
        """Where its files are; to be changed only while it does not run. Raises NotPossible."""


def describe_lacks(place: Place, needs: Sequence[Ability]) -> str:
    """Why a scenario that needs these cannot run here; "" if it can."""
    return "; ".join(
        f"{need}: {place.lacks.get(need, 'not offered here')}" for need in needs if need not in place.abilities
    )
