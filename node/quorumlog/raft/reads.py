"""Linearizable reads without writing to the log (§6.4 of the dissertation; §8 of the paper).

A leader may answer a read from its state machine if it was still the leader *after* the read was asked. It proves
that by a round: a numbered heartbeat to everyone, confirmed by a quorum. Reads are frequent and rounds cost
messages, so at most one round is out; what is asked meanwhile gathers for the next, however much it is.

Numbers are never reused within a term (and a term has one leader, which cannot return to it after a crash: its vote
for itself is durable). So a late response confirms only the round it was sent for, never a newer one.

A follower forwards its own clients' reads the same way: one request out, the rest gathering. *Its* numbers must not
return even after a restart within a term, when a response to its former self may still be under way: they start
from a random number.

A lease (off by default) lets a confirmed round vouch for later reads as well, for a while counted from when it was
*sent*: counted from its return, it would outlive the voters' promise by the round trip. It leans on bounded clock
drift, and so it ends at half the election timeout: right as long as no replica's clock runs twice as fast as
another's.

Prior art: etcd-io/raft ``read_only.go`` (contexts instead of numbers), hashicorp/raft ``verifyFuture``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .types import ReplicaId


class ConfirmedRound(NamedTuple):
    """The reads of one round: they may be served once ``read_index`` is applied."""

    read_index: int
    sent_tick: int
    local: list[int]
    remote: dict[ReplicaId, int]


class ReadRounds:
    """The leader's reads: those gathering, and the one round that is out."""

    __slots__ = (
        "_index",
        "_local",
        "_next_local",
        "_next_remote",
        "_remote",
        "_sent_tick",
        "confirmed_by",
        "number",
        "out",
    )

    def __init__(self) -> None:
        self.number = 0
        """Of the newest round; a heartbeat carries it even when nothing is out: it then confirms nothing."""
        self.out = False
        self.confirmed_by: set[ReplicaId] = set()
        self._index = 0
        self._sent_tick = 0
        self._local: list[int] = []
        self._remote: dict[ReplicaId, int] = {}
        self._next_local: list[int] = []
        self._next_remote: dict[ReplicaId, int] = {}

    @property
    def gathered(self) -> bool:
        return bool(self._next_local or self._next_remote)

    @property
    def busy(self) -> bool:
        return self.out or self.gathered

    def ask(self, context: int) -> None:
        self._next_local.append(context)

    def ask_for(self, replica: ReplicaId, context: int) -> None:
        """A follower asks. It has one request out at a time, so a newer one replaces what it asked before."""
        self._next_remote[replica] = context

    def begin(self, index: int, tick: int) -> None:
        """Everything gathered goes into a new round; ``index`` is the commit index now, *after* each was asked."""
        self.number += 1
        self.out = True
        self.confirmed_by = set()
        self._index = index
        self._sent_tick = tick
        self._local, self._next_local = self._next_local, []
        self._remote, self._next_remote = self._next_remote, {}

    def confirm(self, replica: ReplicaId, number: int) -> bool:
        """A follower answered heartbeat round ``number``. False if that is not the one that is out."""
        if not self.out or number != self.number:
            return False
        self.confirmed_by.add(replica)
        return True

    def finish(self) -> ConfirmedRound:
        """A quorum has confirmed the round."""
        done = ConfirmedRound(self._index, self._sent_tick, self._local, self._remote)
        self.out = False
        self._local, self._remote = [], {}
        return done

    def abandon(self) -> list[int]:
        """Leadership is lost: the local reads that nobody can confirm any more. Followers find out by
        themselves."""
        contexts = self._local + self._next_local
        self._local, self._next_local = [], []
        self._remote, self._next_remote = {}, {}
        self.out = False
        return contexts


class ForwardedReads:
    """A follower's reads: those gathering, and the one request that is out to the leader."""

    __slots__ = ("_next", "_out", "_sent_tick", "number")

    def __init__(self, first_number: int) -> None:
        self.number = first_number
        self._sent_tick = 0
        self._out: list[int] = []
        self._next: list[int] = []

    def ask(self, context: int) -> None:
        self._next.append(context)

    @property
    def due(self) -> bool:
        return bool(self._next) and not self._out

    @property
    def busy(self) -> bool:
        return bool(self._next or self._out)

    def begin(self, tick: int) -> int:
        """The number under which everything gathered is asked for."""
        self.number += 1
        self._sent_tick = tick
        self._out, self._next = self._next, []
        return self.number

    def overdue(self, tick: int, patience_ticks: int) -> bool:
        """Whether the request or its answer was probably lost. Asking again under the same number is harmless."""
        return bool(self._out) and tick - self._sent_tick >= patience_ticks

    def asked_again(self, tick: int) -> int:
        self._sent_tick = tick
        return self.number

    def answer(self, number: int) -> list[int]:
        """The contexts that the answer under ``number`` serves: none if it is late or doubled."""
        if number != self.number:
            return []
        served, self._out = self._out, []
        return served

    def abandon(self) -> list[int]:
        """The leader they were asked of is gone."""
        contexts = self._out + self._next
        self._out, self._next = [], []
        return contexts
