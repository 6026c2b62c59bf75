"""Reading a partition on its leader: batches, the wait at the end of the log, offsets by position and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.replica.api import AtTime, Done, Earliest, OffsetFound, Position, ReadResult
from quorumlog.replica.failures import Failure
from quorumlog.wire.batch import decode_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.machine import PartitionMachine
    from quorumlog.replica.refusals import Refusals
    from quorumlog.replica.replica import Replica


class ReadWaiter:
    """A read at the end of the log that waits for something to be committed there."""

    __slots__ = ("deadline_ms", "done", "max_bytes", "offset")

    def __init__(self, offset: int, max_bytes: int, deadline_ms: int, done: Done[ReadResult]) -> None:
        self.offset = offset
        self.max_bytes = max_bytes
        self.deadline_ms = deadline_ms
        self.done = done


class PartitionReads:
    """See the module. Only what is committed and applied is ever shown."""

    __slots__ = ("_machine", "_now_ms", "_refuse", "_replica", "_waiters")

    def __init__(
        self, replica: Replica, machine: PartitionMachine, refuse: Refusals, now_ms: Callable[[], int]
    ) -> None:
        self._replica = replica
        self._machine = machine
        self._refuse = refuse
        self._now_ms = now_ms
        self._waiters: list[ReadWaiter] = []

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiters)

    # --- batches ---

    def read(self, offset: int, max_bytes: int, max_wait_ms: int, done: Done[ReadResult]) -> Callable[[], None]:
        """Committed batches from ``offset`` on; waits up to ``max_wait_ms`` at the end. Returns what cancels the
        wait."""
        machine = self._machine
        if not self._replica.leading:
            done(self._refuse.not_leader())
        elif not machine.start_offset <= offset <= machine.end_offset:
            done(self._refuse.out_of_range(offset))
        elif offset < machine.end_offset:
            self._read_now(offset, max_bytes, done)
        elif max_wait_ms <= 0:
            done(ReadResult([], machine.start_offset, machine.end_offset))
        else:
            waiter = ReadWaiter(offset, max_bytes, self._now_ms() + max_wait_ms, done)
            self._waiters.append(waiter)
            self._replica.watch()
            return lambda: self._cancel(waiter)
        return _nothing

    def _cancel(self, waiter: ReadWaiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _read_now(self, offset: int, max_bytes: int, done: Done[ReadResult]) -> None:
        machine, log = self._machine, self._replica.log
        found = log.read_batches(offset, machine.end_offset, max_bytes)
        if not found.on_disk:
            done(ReadResult(found.batches, machine.start_offset, machine.end_offset))
            return
        job = log.batches_job(offset, machine.end_offset, max_bytes)

        def loaded(error: BaseException | None) -> None:
            if offset < machine.start_offset:
                done(self._refuse.out_of_range(offset))
            elif error is not None or job.missing:
                done(self._refuse.unreadable(error))
            else:
                done(ReadResult(job.batches, machine.start_offset, machine.end_offset))

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
                self._find_time(position.timestamp_ms, done)
            else:
                machine = self._machine
                offset = machine.start_offset if isinstance(position, Earliest) else machine.end_offset
                done(OffsetFound(offset, machine.start_offset, machine.end_offset))

        self._replica.barrier(self._now_ms() + timeout_ms, confirmed)

    def _find_time(self, timestamp_ms: int, done: Done[OffsetFound]) -> None:
        """The first batch that holds a record of this time or later, and within it the first such record."""
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
                self.read(waiter.offset, waiter.max_bytes, 0, waiter.done)

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
