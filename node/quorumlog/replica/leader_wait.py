"""Requests that come while nobody leads: they wait a moment instead of being sent away.

A leader that has just been elected serves nothing before it has applied the first entry of its term; a group whose
leader died has the next one in a tenth of a second. Sending callers away meanwhile only makes them come back. But
the wait is bounded twice: by the request's own deadline, and by the group's patience, after which "nobody leads" is
no transition any more, but the loss of the quorum, and must be said (guarantee G11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quorumlog.replica.failures import Failure, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.replica.refusals import Refusals
    from quorumlog.replica.replica import Replica

#: Requests that may wait for a leader, per partition.
MAX_HELD = 10_000


class Held(NamedTuple):
    """A request that waits. One of the two is called, once."""

    deadline_ms: int
    serve: Callable[[], None]
    refuse: Callable[[Failure], object]


class LeaderWait:
    """The waiting requests of one partition: for this replica to lead, or for any leader to be known."""

    __slots__ = ("_for_any", "_for_this", "_now_ms", "_refuse", "_replica")

    def __init__(self, replica: Replica, refuse: Refusals, now_ms: Callable[[], int]) -> None:
        self._replica = replica
        self._refuse = refuse
        self._now_ms = now_ms
        self._for_this: list[Held] = []
        self._for_any: list[Held] = []

    def __len__(self) -> int:
        return len(self._for_this) + len(self._for_any)

    def lead(self, deadline_ms: int, serve: Callable[[], None], refuse: Callable[[Failure], object]) -> None:
        """Calls ``serve`` once this replica leads and may serve, at once if it does; ``refuse`` if another one
        leads, or if time runs out."""
        if self._replica.leading:
            serve()
        elif self._undecided() and len(self) < MAX_HELD:
            self.hold(deadline_ms, serve, refuse)
        else:
            refuse(self._refuse.not_leader())

    def hold(self, deadline_ms: int, serve: Callable[[], None], refuse: Callable[[Failure], object]) -> None:
        """The same, of a request that this replica would serve but cannot just now."""
        self._for_this.append(Held(deadline_ms, serve, refuse))
        self._replica.watch()

    def confirm(self, deadline_ms: int, serve: Callable[[], None], refuse: Callable[[Failure], object]) -> None:
        """Calls ``serve`` once this replica, leader or not, has applied all that was committed anywhere when this
        was asked (``Replica.barrier``); asks again of the next leader if one is lost over it."""

        def confirmed(current: bool) -> None:
            if current:
                serve()
            elif self._now_ms() < deadline_ms and not self._refuse.lost_quorum and len(self) < MAX_HELD:
                self._for_any.append(Held(deadline_ms, ask, refuse))
                self._replica.watch()
            else:
                refuse(self._refuse.unreached())

        def ask() -> None:
            self._replica.barrier(deadline_ms, confirmed)

        ask()

    def _undecided(self) -> bool:
        """Whether this replica may yet turn out to be the leader."""
        raft = self._replica.raft
        return raft.is_leader or (raft.leader is None and not self._refuse.lost_quorum)

    def leading(self) -> None:
        """This replica may serve."""
        held, self._for_this = self._for_this, []
        for one in held:
            one.serve()

    def look(self, now_ms: int) -> None:
        """Now and then: ends what has waited too long, and takes up again what can be served."""
        self._for_this = self._without_late(self._for_this, now_ms)
        self._for_any = self._without_late(self._for_any, now_ms)
        if self._for_this and self._replica.leading:
            self.leading()
        elif self._for_this and not self._undecided():
            self._for_this = self._refused(self._for_this, self._refuse.not_leader())
        if self._for_any and self._replica.raft.leader is not None:
            held, self._for_any = self._for_any, []
            for one in held:
                one.serve()
        elif self._for_any and self._refuse.lost_quorum:
            self._for_any = self._refused(self._for_any, self._refuse.not_leader())

    def _without_late(self, held: list[Held], now_ms: int) -> list[Held]:
        """What may wait longer; the rest is refused."""
        late = [one for one in held if one.deadline_ms <= now_ms]
        if not late:
            return held
        kept = [one for one in held if one.deadline_ms > now_ms]
        self._refused(late, Failure(Reason.NO_QUORUM, f"{self._refuse.name} had no leader in time"))
        return kept

    def _refused(self, held: list[Held], failure: Failure) -> list[Held]:
        for one in held:
            one.refuse(failure)
        return []

    def refuse_all(self, failure: Failure) -> None:
        """The replica goes out of service."""
        held = self._for_this + self._for_any
        self._for_this, self._for_any = [], []
        self._refused(held, failure)
