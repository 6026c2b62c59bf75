"""Taking (group, partition) over: fence, read and resolve in one.

The order decides. The Acquire is applied first: from there on no earlier owner's commit is accepted, so what is
stored then is final for the new owner. Only after that is the start resolved, from the stored offset and the log as
they are. If nothing was stored, the start that the rule gives is stored *before* it is told: a group that began at
"latest" and crashed before its first commit must not begin at a later "latest" and jump over what came between.

A start below the stored offset (forced, or by a policy) is going back, and going back is a Reset with a reason
(guarantee G6): otherwise the new owner's first commits would be refused as regressions. The Reset fences whoever
owns the partition, so it is done under the caller's tenure and the caller acquires once more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from quorumlog.machine.offset_commands import Acquire, Release, Reset
from quorumlog.machine.offset_results import Acquired, OutOfRange, WasReset
from quorumlog.replica.api import AtTime, Done, OffsetFound
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.offset_api import AcquiredOffset, AcquireRequest, StartAt, StartRule
from quorumlog.replica.offset_refusals import refusal
from quorumlog.replica.starting import Bounds, FingerprintCheck, Start, resolve_start

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.machine.offset_results import Stored
    from quorumlog.replica.ground import Ground
    from quorumlog.replica.reads import PartitionReads

#: How often the log's start, or another owner, may come between while a start is being resolved.
_ATTEMPTS = 3
#: After which an application may ask once more.
_AGAIN_MS = 50


class Acquiring:
    """One Acquire on its way. ``begin`` once; ``done`` is called once."""

    __slots__ = (
        "_asked",
        "_attempts",
        "_bounds",
        "_deadline_ms",
        "_done",
        "_first",
        "_going_back",
        "_ground",
        "_owner_epoch",
        "_reads",
        "_reset_version",
    )

    def __init__(
        self,
        ground: Ground,
        reads: PartitionReads,
        asked: AcquireRequest,
        deadline_ms: int,
        done: Done[AcquiredOffset],
    ) -> None:
        self._ground = ground
        self._reads = reads
        self._asked = asked
        self._deadline_ms = deadline_ms
        self._done = done
        self._attempts = 0
        self._bounds = Bounds(0, 0)
        """The log's, when the start was resolved: told with it, because they explain it."""
        self._first: Acquired | None = None
        """What was found when it was first acquired."""
        self._owner_epoch = 0
        self._going_back: Start | None = None
        """The start below the stored offset, once that has been reset to it."""
        self._reset_version = 0
        """What that Reset stored."""

    def begin(self) -> None:
        asked, ground = self._asked, self._ground
        command = Acquire(
            ground.host.wall_ms(),
            ground.node_id,
            asked.group,
            asked.owner,
            asked.session,
            asked.generation,
            asked.exclusive,
            asked.lease_ms,
        )
        ground.run(command, self._deadline_ms, self._acquired)

    def _acquired(self, result: object) -> None:
        if not isinstance(result, Acquired):
            self._fail(refusal(self._asked.group, self._ground.refuse.name, result))
            return
        self._owner_epoch = result.owner_epoch
        first, start = self._first, self._going_back
        if first is not None and start is not None and _version(result) == self._reset_version:
            self._answer(first, start)
            return
        # The first time; or another owner has acquired and committed behind the Reset, and what is stored is its.
        self._first = result
        self._resolve(result)

    # --- the start ---

    def _resolve(self, first: Acquired) -> None:
        """Looks up what the rules compare, and then compares."""
        stored = first.stored
        if stored is None or self._asked.force_start:
            find_time(
                self._ground,
                self._reads,
                self._asked.start,
                lambda found: self._resolved(first, FingerprintCheck.UNCHECKED, found),
            )
        elif stored.offset > self._ground.machine.end_offset:
            self._resolved(first, FingerprintCheck.UNCHECKED, None)
        else:
            self._ground.finder.check(
                stored.offset, stored.fingerprint, lambda check: self._resolved(first, check, None)
            )

    def _resolved(self, first: Acquired, check: FingerprintCheck | Failure, found: int | Failure | None) -> None:
        if isinstance(check, Failure):
            self._refuse(first, check)
            return
        if isinstance(found, Failure):
            self._refuse(first, found)
            return
        machine, stored = self._ground.machine, first.stored
        self._bounds = Bounds(machine.start_offset, machine.end_offset)
        start = resolve_start(self._asked, stored, check, self._bounds, found)
        if isinstance(start, Failure):
            self._refuse(first, start)
        elif stored is None:
            self._pin(first, start)
        elif start.offset < stored.offset:
            self._go_back(start, stored)
        else:
            self._answer(first, start)

    def _pin(self, first: Acquired, start: Start) -> None:
        """Stores the first position. If something is stored by now, another owner has taken over, and this one
        will learn it from its first commit."""
        command = self._reset(start, pin=True, owner_epoch=self._owner_epoch)

        def pinned(result: object) -> None:
            if isinstance(result, Failure):
                self._fail(result)
            elif isinstance(result, OutOfRange):
                self._resolve_again(first)  # retention has moved the log's start meanwhile
            else:
                self._answer(first, start)

        self._ground.run(command, self._deadline_ms, pinned)

    def _resolve_again(self, first: Acquired) -> None:
        if self._may_try_again():
            self._resolve(first)

    def _may_try_again(self) -> bool:
        """False, and the request has failed, when what a start is resolved against has changed too often."""
        self._attempts += 1
        if self._attempts <= _ATTEMPTS:
            return True
        where = f"group {self._asked.group!r} in {self._ground.refuse.name}"
        why = f"the position of {where} was changed by others {_ATTEMPTS} times while its start was resolved"
        self._fail(Failure(Reason.OVERLOADED, why, retry_after_ms=_AGAIN_MS))
        return False

    def _go_back(self, start: Start, stored: Stored) -> None:
        if not self._may_try_again():
            return
        command = self._reset(start, expected_version=stored.version, force=True)

        def reset(result: object) -> None:
            if isinstance(result, WasReset):
                self._going_back = start
                self._reset_version = result.stored.version
                self.begin()
            else:
                self._fail(refusal(self._asked.group, self._ground.refuse.name, result))

        self._ground.run(command, self._deadline_ms, reset)

    def _reset(
        self,
        start: Start,
        *,
        pin: bool = False,
        owner_epoch: int = 0,
        expected_version: int = 0,
        force: bool = False,
    ) -> Reset:
        ground = self._ground
        reason = f"start of {self._asked.owner!r}: {start.explanation}"
        return Reset(
            ground.host.wall_ms(),
            ground.node_id,
            self._asked.group,
            start.offset,
            expected_version,
            force,
            reason,
            pin=pin,
            owner_epoch=owner_epoch,
        )

    # --- the answer ---

    def _refuse(self, first: Acquired, failure: Failure) -> None:
        """No start, so no owner: what was acquired for it is given back, whatever becomes of that."""
        ground, asked = self._ground, self._asked
        if not first.renewed:
            release = Release(ground.host.wall_ms(), ground.node_id, asked.group, asked.session, self._owner_epoch)
            ground.run(release, self._deadline_ms, _nothing)
        self._fail(failure)

    def _fail(self, failure: Failure) -> None:
        """However it fails once the stored offset has been reset: that it was moved stays."""
        if self._going_back is not None:
            failure = replace(failure, outcome=Outcome.UNKNOWN)
        self._done(failure)

    def _answer(self, first: Acquired, start: Start) -> None:
        bounds = self._bounds
        clean = first.released or first.renewed or first.stored is None
        self._done(
            AcquiredOffset(
                self._owner_epoch,
                start.offset,
                start.reason,
                start.explanation,
                first.stored,
                bounds.start,
                bounds.end,
                first.previous_owner,
                first.released,
                0 if clean else max(bounds.end - start.offset, 0),
            )
        )


def find_time(
    ground: Ground, reads: PartitionReads, start: StartAt, done: Callable[[int | Failure | None], None]
) -> None:
    """The offset of the rule's time in the log; None for a rule without one."""
    if start.rule not in (StartRule.TIMESTAMP_MS, StartRule.AGE_MS):
        done(None)
        return
    time_ms = start.value
    if start.rule is StartRule.AGE_MS:
        time_ms = max(ground.host.wall_ms() - start.value, 0)

    def found(result: OffsetFound | Failure) -> None:
        done(result if isinstance(result, Failure) else result.offset)

    reads.find_time(AtTime(time_ms), found)


def _version(acquired: Acquired) -> int:
    return 0 if acquired.stored is None else acquired.stored.version


def _nothing(result: object) -> None:
    """Whoever acquires next takes over anyway."""
