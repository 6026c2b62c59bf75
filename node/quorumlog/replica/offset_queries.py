"""Questions about committed offsets, on any replica: linearizable by a read barrier, or as of a version.

A replica answers from its own machine, and only once it has applied all that was committed when it was asked. That
is what makes commit and fetch one register (guarantee G4): a deposed leader that has not noticed, a follower that
lags, a leader that has not caught up with its own log would each answer with an offset of yesterday.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from quorumlog.machine.offset_commands import Settle
from quorumlog.machine.offset_results import Expired, FateForgotten, FateKnown, SettleResult
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.offset_api import AttemptAt, FetchedOffset, OffsetHistory, ReceiptAt
from quorumlog.replica.offset_refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.replica.api import Done
    from quorumlog.replica.ground import Ground


class AppliedWaiter:
    """Somebody who waits until an index is applied here."""

    __slots__ = ("deadline_ms", "index", "refuse", "serve")

    def __init__(
        self, index: int, deadline_ms: int, serve: Callable[[], None], refuse: Callable[[Failure], object]
    ) -> None:
        self.index = index
        self.deadline_ms = deadline_ms
        self.serve = serve
        self.refuse = refuse


class AppliedWait:
    """Those who wait for this replica to have applied some index."""

    __slots__ = ("_ground", "_waiters")

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._waiters: list[AppliedWaiter] = []

    def __len__(self) -> int:
        return len(self._waiters)

    def until(
        self, index: int, deadline_ms: int, serve: Callable[[], None], refuse: Callable[[Failure], object]
    ) -> None:
        """Calls ``serve`` once ``index`` is applied here, at once if it is."""
        if self._ground.machine.applied_index >= index:
            serve()
        else:
            self._waiters.append(AppliedWaiter(index, deadline_ms, serve, refuse))
            self._ground.replica.watch()

    def advanced(self) -> None:
        """More is applied."""
        if not self._waiters:
            return
        applied = self._ground.machine.applied_index
        ready = [waiter for waiter in self._waiters if waiter.index <= applied]
        self._waiters = [waiter for waiter in self._waiters if waiter.index > applied]
        for waiter in ready:
            waiter.serve()

    def expire(self, now_ms: int) -> None:
        """Ends what has waited too long: for lack of a quorum, as far as this node can tell, or just too long."""
        late = [waiter for waiter in self._waiters if waiter.deadline_ms <= now_ms]
        if late:
            self._waiters = [waiter for waiter in self._waiters if waiter.deadline_ms > now_ms]
            refuse, applied = self._ground.refuse, self._ground.machine.applied_index
            for waiter in late:
                why = f"{refuse.name} has been applied up to {applied} on this node, not yet to {waiter.index}"
                reason = Reason.DEADLINE if refuse.leader_node else Reason.NO_QUORUM
                waiter.refuse(Failure(reason, why, fields={"applied_index": str(applied)}))

    def refuse_all(self, failure: Failure) -> None:
        """The replica goes out of service."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.refuse(failure)


class OffsetQueries:
    """See the module."""

    __slots__ = ("_ground", "applied")

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.applied = AppliedWait(ground)

    def fetch(self, group: str, min_version: int, deadline_ms: int, done: Done[FetchedOffset]) -> None:
        """The stored offset: as of now, or (``min_version``) as of that version or later."""

        def answer() -> None:
            done(self._fetched(group))

        if min_version:
            self.applied.until(min_version, deadline_ms, answer, done)
        else:
            self._ground.wait.confirm(deadline_ms, answer, done)

    def _fetched(self, name: str) -> FetchedOffset | Failure:
        machine = self._ground.machine
        group = machine.offsets.get(name)
        if group is None:
            return FetchedOffset(None, "", 0, machine.applied_index)
        if group.expired_wall_ms is not None and group.stored is not None:
            return self._refusal(name, Expired(group.stored, group.expired_wall_ms))
        return FetchedOffset(group.stored, group.owner, group.owner_epoch, machine.applied_index)

    def history(self, name: str, deadline_ms: int, done: Done[OffsetHistory]) -> None:
        """What is remembered of the group here; UNKNOWN_GROUP if it has nothing."""

        def answer() -> None:
            group = self._ground.machine.offsets.get(name)
            if group is None:
                why = f"group {name!r} has nothing in {self._ground.refuse.name}"
                done(Failure(Reason.UNKNOWN_GROUP, why, fields={"group": name}))
            else:
                done(OffsetHistory(group.history(), group.forgotten_version))

        self._ground.wait.confirm(deadline_ms, answer, done)

    def resolve(self, what: ReceiptAt | AttemptAt, deadline_ms: int, done: Done[FateKnown]) -> None:
        """What became of a commit, for good. If it may still arrive, the leader sees to it that it does not."""
        self._ground.wait.confirm(deadline_ms, lambda: self._resolve(what, deadline_ms, done), done)

    def _resolve(self, what: ReceiptAt | AttemptAt, deadline_ms: int, done: Done[FateKnown]) -> None:
        offsets = self._ground.machine.offsets

        def known(result: object) -> None:
            if isinstance(result, FateKnown):
                done(result)
            elif isinstance(result, FateForgotten):
                done(replace(self._refusal(what.group, result), outcome=Outcome.NOT_DONE))  # asking changed nothing
            else:
                done(self._refusal(what.group, result))

        fate: SettleResult | None
        if isinstance(what, ReceiptAt):
            fate = offsets.fate_of_receipt(what.group, what.offset, what.version, what.term)
        else:
            fate = offsets.fate_of_attempt(what.group, what.owner_epoch, what.session, what.sequence)
            if fate is None:
                settle = Settle(what.group, what.owner_epoch, what.session, what.sequence)
                self._ground.run(settle, deadline_ms, known)
                return
        known(fate)

    def _refusal(self, group: str, result: object) -> Failure:
        return refusal(group, self._ground.refuse.name, result)
