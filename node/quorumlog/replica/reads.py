"""Reading a partition on its leader: batches, the wait at the end of the log, offsets by position and time.

A reader that owns (group, partition) says so, and is refused once somebody else has acquired it: a zombie should
learn it from its next read and not only when it commits what it has done in vain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.machine.offset_results import Fenced
from quorumlog.replica.api import AtTime, Done, Earliest, OffsetFound, Position, ReadResult
from quorumlog.replica.failures import Failure
from quorumlog.replica.offset_refusals import refusal
from quorumlog.wire.batch import decode_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.machine import PartitionMachine
    from quorumlog.replica.refusals import Refusals
    from quorumlog.replica.replica import Replica


#: A group, and the epoch at which the reader owns it.
Owner = tuple[str, int]


class ReadWaiter:
    """A read at the end of the log that waits for something to be committed there."""

    __slots__ = ("deadline_ms", "done", "max_bytes", "offset", "owner")

    def __init__(
        self, offset: int, max_bytes: int, deadline_ms: int, done: Done[ReadResult], owner: Owner | None
    ) -> None:
        self.offset = offset
        self.owner = owner
        self.max_bytes = max_bytes
        self.deadline_ms = deadline_ms
        self.done = done


class PartitionReads:
    """See the module. Only what is committed and applied is ever shown."""

    __slots__ = ("_machine", "_now_ms", "_owners", "_refuse", "_replica", "_waiters")

    def __init__(
        self, replica: Replica, machine: PartitionMachine, refuse: Refusals, now_ms: Callable[[], int]
    ) -> None:
        self._replica = replica
        self._machine = machine
        self._refuse = refuse
        self._now_ms = now_ms
        self._waiters: list[ReadWaiter] = []
        self._owners: dict[str, int] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiters)

    # --- batches ---

    def read(
        self,
        offset: int,
        max_bytes: int,
        max_wait_ms: int,
        done: Done[ReadResult],
        owner: Owner | None = None,
    ) -> Callable[[], None]:
        """Committed batches from ``offset`` on; waits up to ``max_wait_ms`` at the end. Refused with FENCED once
        ``owner`` is not the owner any more. Returns what cancels the wait."""
        machine = self._machine
        if owner is not None:
            self._owners[owner[0]] = owner[1]
        if not self._replica.leading:
            done(self._refuse.not_leader())
        elif owner is not None and (fenced := self._fenced(owner)) is not None:
            done(fenced)
        elif not machine.start_offset <= offset <= machine.end_offset:
            done(self._refuse.out_of_range(offset, machine.start_offset, machine.end_offset))
        elif offset < machine.end_offset:
            self._read_now(offset, max_bytes, done)
        elif max_wait_ms <= 0:
            done(ReadResult([], machine.start_offset, machine.end_offset))
        else:
            waiter = ReadWaiter(offset, max_bytes, self._now_ms() + max_wait_ms, done, owner)
            self._waiters.append(waiter)
            self._replica.watch()
            return lambda: self._cancel(waiter)
        return _nothing

    def take_owners(self) -> dict[str, int]:
        """Groups on whose behalf somebody has read since this was last asked, and the epochs they claimed."""
        owners, self._owners = self._owners, {}
        return owners

    def _fenced(self, owner: Owner) -> Failure | None:
        name, epoch = owner
        offsets = self._machine.offsets
        group = offsets.get(name)
        # A group that is not here any more leaves its epochs behind: whoever owned it does not.
        current = offsets.epoch_floor + 1 if group is None else group.owner_epoch
        if current <= epoch:
            return None
        return refusal(name, self._refuse.name, Fenced(epoch, current, group.owner if group is not None else ""))

    def _cancel(self, waiter: ReadWaiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _read_now(self, offset: int, max_bytes: int, done: Done[ReadResult]) -> None:
        machine, log = self._machine, self._replica.log
        found = log.read_batches(offset, machine.end_offset, max_bytes)
        if not found.on_disk:
            done(ReadResult(found.batches, machine.start_offset, machine.end_offset, found.terms))
            return
        job = log.batches_job(offset, machine.end_offset, max_bytes)

        def loaded(error: BaseException | None) -> None:
            if offset < machine.start_offset:
                done(self._refuse.out_of_range(offset, machine.start_offset, machine.end_offset))
            elif error is not None or job.missing:
                done(self._refuse.unreadable(error))
            else:
                done(ReadResult(job.batches, machine.start_offset, machine.end_offset, job.terms))

        self._replica.run_read(job, loaded)

    # --- offsets ---

    def find_offset(self, position: Position, timeout_ms: int, done: Done[OffsetFound]) -> None:
        """Resolves a position, having confirmed with a majority that nothing newer is committed elsewhere."""
        if not self._replica.leading:
            done(self._refuse.not_leader())
            return

        def confirmed(current: bool) -> None:
            if not current:
                done(self._refuse.no_quorum())
            elif isinstance(position, AtTime):
                self.find_time(position, done)
            else:
                machine = self._machine
                offset = machine.start_offset if isinstance(position, Earliest) else machine.end_offset
                done(OffsetFound(offset, machine.start_offset, machine.end_offset))

        self._replica.barrier(self._now_ms() + timeout_ms, confirmed)

    def find_time(self, position: AtTime, done: Done[OffsetFound]) -> None:
        """The first batch that holds a record of this time or later, and within it the first such record; of what
        is applied here."""
        timestamp_ms = position.timestamp_ms
        machine, log = self._machine, self._replica.log
        job = log.offset_for_time(timestamp_ms, machine.end_offset)

        def answer(offset: int) -> None:
            offset = min(max(offset, machine.start_offset), machine.end_offset)
            done(OffsetFound(offset, machine.start_offset, machine.end_offset))

        if job is None:
            answer(machine.end_offset)
            return

        def found(error: BaseException | None) -> None:
            if error is not None or job.missing:
                done(self._refuse.unreadable(error))
            elif job.base_offset is None:
                answer(machine.end_offset)
            else:
                self._refine_time(timestamp_ms, job.base_offset, answer)

        self._replica.run_read(job, found)

    def _refine_time(self, timestamp_ms: int, base_offset: int, answer: Callable[[int], None]) -> None:
        def loaded(result: ReadResult | Failure) -> None:
            if isinstance(result, Failure) or not result.batches:
                answer(base_offset)
            else:
                answer(first_at_or_after(result.batches[0], timestamp_ms))

        self._read_now(base_offset, 1, loaded)

    # --- waiting ---

    def advanced(self) -> None:
        """Something more is committed: serves what waited for it."""
        end = self._machine.end_offset
        ready = [waiter for waiter in self._waiters if waiter.offset < end]
        if ready:
            self._waiters = [waiter for waiter in self._waiters if waiter.offset >= end]
            for waiter in ready:
                self.read(waiter.offset, waiter.max_bytes, 0, waiter.done, waiter.owner)

    def owners_changed(self) -> None:
        """Somebody has acquired a group: whoever it fences need not wait for records."""
        for waiter in tuple(self._waiters):
            fenced = self._fenced(waiter.owner) if waiter.owner is not None else None
            if fenced is not None:
                self._cancel(waiter)
                waiter.done(fenced)

    def expire(self, now_ms: int) -> None:
        """Answers those who have waited long enough with nothing."""
        due = [waiter for waiter in self._waiters if waiter.deadline_ms <= now_ms]
        if due:
            self._waiters = [waiter for waiter in self._waiters if waiter.deadline_ms > now_ms]
            for waiter in due:
                waiter.done(ReadResult([], self._machine.start_offset, self._machine.end_offset))

    def refuse_all(self, failure: Failure) -> None:
        """This replica serves no more: whoever waits is sent on."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.done(failure)


def first_at_or_after(batch: bytes, timestamp_ms: int) -> int:
    """The offset of the batch's first record whose time is ``timestamp_ms`` or later; its end if there is none."""
    records = decode_batch(batch)
    later = (record.offset for record in records if record.timestamp_ms >= timestamp_ms)
    return next(later, records[-1].offset + 1)


def _nothing() -> None:
    pass
