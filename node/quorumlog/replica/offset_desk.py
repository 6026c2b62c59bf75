"""``node.offsets``: requests about committed offsets, on their way to the partition's replica on this node.

What is wrong with a request itself is told here; the partition's service knows the rest (``replica.offsets``). The
calls are those of ``quorumlog.v1.Offsets``, one partition each. ``done`` is called exactly once, with the result or
a Failure; ``timeout_ms`` 0 is the configured one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from quorumlog.machine.offset_commands import MAX_OWNER, MAX_REASON, CommitItem
from quorumlog.replica.failures import Failure, Reason
from quorumlog.replica.group_ids import group_fault
from quorumlog.replica.offset_api import AttemptAt

if TYPE_CHECKING:
    from quorumlog.machine.offset_results import FateKnown
    from quorumlog.replica.api import Clock, Done, NodeConfig
    from quorumlog.replica.groups import Groups
    from quorumlog.replica.offset_api import (
        AcquiredOffset,
        AcquireRequest,
        AuditBegun,
        CommittedOffset,
        FetchedOffset,
        GroupForgotten,
        GroupLag,
        GroupMarked,
        Inspection,
        OffsetHistory,
        ReceiptAt,
        ReleasedOffset,
        ResetOffset,
        ResetRequest,
    )
    from quorumlog.replica.offsets import PartitionOffsets
    from quorumlog.replica.partition import PartitionService

#: Group ids found to be good: the same few come thousands of times a second.
_KNOWN_GOOD = 10_000

Serving = Callable[[str, int, Callable[[Failure], None], int], "PartitionService | None"]


class OffsetDesk:
    """See the module."""

    __slots__ = ("_clock", "_config", "_good", "_groups", "_serving")

    def __init__(self, config: NodeConfig, clock: Clock, groups: Groups, serving: Serving) -> None:
        self._config = config
        self._clock = clock
        self._groups = groups
        self._serving = serving
        self._good: set[str] = set()

    # --- owners ---

    def acquire(
        self, topic: str, partition: int, asked: AcquireRequest, timeout_ms: int, done: Done[AcquiredOffset]
    ) -> None:
        """Takes (group, partition) over, fences every earlier owner and resolves where to begin."""
        offsets = self._ask(topic, partition, asked.group, timeout_ms, done)
        if offsets is None:
            return
        fault = acquire_fault(asked)
        if fault is not None:
            done(fault)
        else:
            offsets.acquire(asked, self._deadline_ms(timeout_ms), done)

    def release(
        self,
        topic: str,
        partition: int,
        group: str,
        session: int,
        owner_epoch: int,
        timeout_ms: int,
        done: Done[ReleasedOffset],
    ) -> None:
        """The owner gives back, after its last commit."""
        offsets = self._ask(topic, partition, group, timeout_ms, done)
        if offsets is not None:
            offsets.changes.release(group, session, owner_epoch, self._deadline_ms(timeout_ms), done)

    def commit(
        self, topic: str, partition: int, item: CommitItem, timeout_ms: int, done: Done[CommittedOffset]
    ) -> None:
        """Commits; ``done`` gets the receipt's numbers once the commit is durable on a majority."""
        offsets = self._ask(topic, partition, item.group, timeout_ms, done)
        if offsets is None:
            return
        if item.sequence < 1:
            done(_invalid("sequence", "an owner's commits are numbered from 1"))
        elif item.owner_epoch < 1:
            why = "a commit needs an owner epoch, which Acquire gives"
            done(Failure(Reason.NOT_OWNER, why, fields={"owner_epoch": "0"}))
        else:
            offsets.commits.commit(item, self._deadline_ms(timeout_ms), done)

    # --- readers, on any replica ---

    def fetch(
        self,
        topic: str,
        partition: int,
        group: str,
        min_version: int,
        timeout_ms: int,
        done: Done[FetchedOffset],
    ) -> None:
        """The stored offset; linearizable, or as of ``min_version`` or later."""
        offsets = self._ask(topic, partition, group, timeout_ms, done)
        if offsets is not None:
            offsets.queries.fetch(group, min_version, self._deadline_ms(timeout_ms), done)

    def history(self, topic: str, partition: int, group: str, timeout_ms: int, done: Done[OffsetHistory]) -> None:
        """What is remembered of (group, partition)."""
        offsets = self._ask(topic, partition, group, timeout_ms, done)
        if offsets is not None:
            offsets.queries.history(group, self._deadline_ms(timeout_ms), done)

    def resolve(
        self, topic: str, partition: int, what: ReceiptAt | AttemptAt, timeout_ms: int, done: Done[FateKnown]
    ) -> None:
        """What became of a commit, for good."""
        offsets = self._ask(topic, partition, what.group, timeout_ms, done)
        if offsets is None:
            return
        fault = attempt_fault(what) if isinstance(what, AttemptAt) else None
        if fault is not None:
            done(fault)
        else:
            offsets.queries.resolve(what, self._deadline_ms(timeout_ms), done)

    # --- operators ---

    def reset(
        self, topic: str, partition: int, asked: ResetRequest, timeout_ms: int, done: Done[ResetOffset]
    ) -> None:
        """Moves the stored offset, with a reason; or says what that would come to."""
        offsets = self._ask(topic, partition, asked.group, timeout_ms, done)
        if offsets is None:
            return
        fault = reset_fault(asked)
        if fault is not None:
            done(fault)
        else:
            offsets.changes.reset(asked, self._deadline_ms(timeout_ms), done)

    def mark(
        self,
        topic: str,
        partition: int,
        group: str,
        critical: bool,
        hold_bytes: int,
        timeout_ms: int,
        done: Done[GroupMarked],
    ) -> None:
        """How the group is treated."""
        if hold_bytes and not critical:
            done(
                Failure(
                    Reason.INVALID_REQUEST,
                    "only a critical group holds retention back",
                    fields={"field": "hold_bytes"},
                )
            )
            return
        offsets = self._ask(topic, partition, group, timeout_ms, done)
        if offsets is not None:
            offsets.changes.mark(group, critical, hold_bytes, self._deadline_ms(timeout_ms), done)

    def forget(
        self, topic: str, partition: int, group: str, force: bool, timeout_ms: int, done: Done[GroupForgotten]
    ) -> None:
        """Nothing of the group is left here."""
        offsets = self._ask(topic, partition, group, timeout_ms, done)
        if offsets is not None:
            offsets.changes.forget(group, force, self._deadline_ms(timeout_ms), done)

    def audit(self, topic: str, partition: int, timeout_ms: int, done: Done[AuditBegun]) -> None:
        """Has every replica note its offsets at the index told."""
        service = self._serving(topic, partition, done, timeout_ms)
        if service is not None:
            service.offsets.audits.audit(self._deadline_ms(timeout_ms), done)

    def inspect(self, topic: str, partition: int, index: int, timeout_ms: int, done: Done[Inspection]) -> None:
        """What this node's replica noted there, checked against its own log."""
        service = self._serving(topic, partition, done, timeout_ms)
        if service is not None:
            service.offsets.audits.inspect(index, self._deadline_ms(timeout_ms), done)

    def lag(
        self,
        topic: str,
        partition: int,
        groups: tuple[str, ...],
        timeout_ms: int,
        done: Done[tuple[GroupLag, ...]],
    ) -> None:
        """How far ``groups`` (none: all) are behind; on the leader."""
        service = self._serving(topic, partition, done, timeout_ms)
        if service is not None:
            service.offsets.lags.lag(groups, self._deadline_ms(timeout_ms), done)

    def led(self) -> list[tuple[str, int]]:
        """The partitions that this node leads, sorted."""
        services = self._groups.partitions.values()
        return sorted((service.topic, service.partition) for service in services if service.replica.leading)

    # --- the way there ---

    def _ask(
        self, topic: str, partition: int, group: str, timeout_ms: int, done: Callable[[Failure], None]
    ) -> PartitionOffsets | None:
        """The partition's offsets on this node; otherwise ``done`` is, or will be, told why not."""
        good = self._good
        if group not in good:
            fault = group_fault(group)
            if fault is not None:
                done(fault)
                return None
            if len(good) >= _KNOWN_GOOD:
                good.clear()
            good.add(group)
        service = self._serving(topic, partition, done, timeout_ms)
        return service.offsets if service is not None else None

    def _deadline_ms(self, timeout_ms: int) -> int:
        return self._clock.now_ms() + (timeout_ms or self._config.append_timeout_ms)


def acquire_fault(asked: AcquireRequest) -> Failure | None:
    """What is wrong with an Acquire, if anything."""
    if not asked.session:
        return _invalid("session", "a session is a random number other than 0")
    if len(asked.owner.encode()) > MAX_OWNER:
        return _invalid("owner", f"an owner's name has at most {MAX_OWNER} bytes")
    if asked.start.value < 0:
        return _invalid("start", f"a start of {asked.start.value}")
    if asked.exclusive and asked.lease_ms <= 0:
        return _invalid("lease_ms", "an exclusive owner needs a lease")
    return None


def reset_fault(asked: ResetRequest) -> Failure | None:
    """What is wrong with a Reset, if anything."""
    if not asked.reason:
        return _invalid("reason", "a reset needs a reason: it is kept in the history")
    if len(asked.reason.encode()) > MAX_REASON:
        return _invalid("reason", f"a reason has at most {MAX_REASON} bytes")
    to = asked.to
    if (to.start is not None) + bool(to.version) + to.restore != 1:
        return _invalid("to", "a reset leads to one of: a position, an earlier version, the expired offset")
    if to.start is not None and to.start.value < 0:
        return _invalid("to", f"a position of {to.start.value}")
    return None


def attempt_fault(what: AttemptAt) -> Failure | None:
    """What is wrong with the name of an attempt, if anything: it is named in full, or it is another one's name."""
    if what.owner_epoch < 1:
        return _invalid("owner_epoch", "an attempt is named by the owner epoch that it was sent under, from 1")
    if what.sequence < 1:
        return _invalid("sequence", "commits are numbered from 1")
    return None


def _invalid(field: str, why: str) -> Failure:
    return Failure(Reason.INVALID_REQUEST, why, fields={"field": field})
