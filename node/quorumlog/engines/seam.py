"""What a replica, and the node around it, need of whoever replicates the group's log.

``Core`` is one replica of one group: requests, messages and ticks go in, ``Ready`` batches come out; it does no
input or output that a reader, a checkpoint or a state machine could notice. It is the surface of
``quorumlog.raft.Raft`` as far as anything in a node touches it, and that is deliberate: our own engine loses
nothing by standing behind it, and another one has to say of each thing whether it can do it.

What every engine owes: entries come out of ``ready`` with consecutive indices, each index once in the life of a
replica's log; ``committed_entries`` are those entries in that order; an entry proposed on a leader gets the index
that ``propose`` returned or none. What an engine does not hold beyond that, it declares (``Engine.lacks``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from quorumlog.raft import ChangeRefused

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from quorumlog.raft import Status
    from quorumlog.raft.types import (
        Configuration,
        ConfigurationChange,
        EntryKind,
        Ready,
        ReplicaId,
        Role,
        Storage,
    )
    from quorumlog.storage import Files

ENGINE_NAMES = ("raft", "pysyncobj")


class UnsupportedChange(ChangeRefused):
    """The engine cannot change who its members are: it definitely did not happen, and trying again is no use."""


@dataclass(frozen=True, slots=True)
class EngineMessage:
    """A message of an engine that is not our own Raft: the engine's own words, carried in our frames.

    ``body`` is never changed once it is here: it may be handed to a receiver in the same process as it is.
    """

    sender: ReplicaId
    to: ReplicaId
    term: int
    """The sender's term, where the message has one; 0 otherwise."""
    body: Mapping[str, object]
    size_bytes: int = 0
    """Of the entries it carries."""


@dataclass(frozen=True, slots=True)
class Lack:
    """One guarantee of DESIGN.md §1 (or one ability) that an engine does not hold, in words for an operator."""

    guarantee: str
    """G1 to G13, or the ability's name."""
    why: str


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """One replica's core: who it is, where it lives, how it learns of time and of others."""

    group_id: int
    replica: ReplicaId
    directory: str
    """The directory of the replica's log; an engine may keep files of its own in it."""
    files: Files
    log: Storage
    applied: int
    """The index that the state machine holds at start: 0, or that of the checkpoint it was loaded from."""
    rng: random.Random
    tick_ms: int
    election_ticks: int
    heartbeat_ticks: int
    now_ms: Callable[[], int]
    reachable: Callable[[int], bool]
    """Whether the node of that id is heard, and can be sent to."""


class Engine(Protocol):
    """A way to replicate: makes the cores of a node's replicas."""

    @property
    def name(self) -> str: ...

    @property
    def lacks(self) -> tuple[Lack, ...]:
        """What of DESIGN.md §1 does not hold with it; empty for our own."""

    @property
    def replaces_replicas(self) -> bool:
        """A replica that lost its data can come back under a fresh identity and be given everything again."""

    def core(self, settings: CoreSettings) -> Core:
        """Raises InvariantViolated or StorageError when what is on the disk cannot be trusted."""


class Core(Protocol):
    """See the module, and ``quorumlog.raft.Raft`` for what each of these means there."""

    # --- questions ---

    @property
    def role(self) -> Role: ...

    @property
    def term(self) -> int: ...

    @property
    def leader(self) -> ReplicaId | None: ...

    @property
    def is_leader(self) -> bool: ...

    @property
    def can_serve(self) -> bool:
        """It leads, and everything that any earlier leader had acknowledged has been applied here, as far as the
        engine keeps it."""

    @property
    def commit(self) -> int: ...

    @property
    def applied(self) -> int: ...

    @property
    def configuration(self) -> Configuration: ...

    def configuration_at(self, index: int) -> Configuration: ...

    @property
    def idle(self) -> bool:
        """It leads and may ``become_quiet``. Always False for an engine without a quiet mode."""

    @property
    def quiet(self) -> bool: ...

    def status(self) -> Status: ...

    # --- inputs ---

    def tick(self) -> None: ...

    def step(self, message: Any) -> None:
        """Takes a message of its own engine: all nodes run the same one, and refuse each other otherwise."""

    def propose(self, kind: EntryKind, data: bytes) -> int:
        """The index that the entry will have if it is committed. Raises NotLeader, Overloaded, Transferring."""

    def propose_configuration(self, change: ConfigurationChange) -> int:
        """Raises ChangeRefused, of which UnsupportedChange is one, or NotLeader."""

    def read_index(self, context: int) -> None:
        """Raises NoLeader."""

    def transfer_leadership(self, to: ReplicaId) -> None:
        """Raises NotLeader, NotVoter."""

    def campaign(self) -> None: ...

    def leader_lost(self) -> None: ...

    def resign(self) -> None:
        """Lead no more, without a successor; nothing where an engine cannot."""

    def wake(self) -> None: ...

    def become_quiet(self, absent: frozenset[ReplicaId] = frozenset()) -> bool: ...

    def report_unreachable(self, peer: ReplicaId) -> None: ...

    def report_checkpoint(self, peer: ReplicaId, installed: bool) -> None: ...

    def on_entries_loaded(self) -> None: ...

    # --- outputs ---

    def has_ready(self) -> bool: ...

    def ready(self) -> Ready: ...

    def on_persisted(self, number: int) -> None: ...

    def on_applied(self, index: int) -> None: ...

    def close(self) -> None:
        """Out of service: gives back what the core has open. Nothing may be called afterwards but questions."""
