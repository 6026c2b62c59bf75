"""Handing records out: whose turn it is, and what it means that the next one is asked for.

To ask for the next record says that the one before it is finished; to leave the loop, by ``break`` or by an
exception, says nothing. So a record in hand counts as unfinished until the same lane asks on, or ``done`` is called
for it: what was not finished is not committed, and comes again when iteration begins again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from quorumlog.client.assignment import LOST
from quorumlog.client.errors import QuorumlogError, RetentionGap
from quorumlog.client.network import now_ms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from quorumlog.client.consumer_partition import ConsumerPartition
    from quorumlog.client.consumer_record import ConsumerRecord

#: A loop that never suspends would keep commits and signs of life from leaving: it is made to, so often.
_BREATHE_MS = 5.0


class Turns:
    """The partitions with something to hand out, one after the other. ``on_lost(part, error)``: its read ended
    because it is somebody else's; ``at_end()``: nothing will come any more."""

    def __init__(
        self, on_lost: Callable[[ConsumerPartition, QuorumlogError], None], at_end: Callable[[], bool]
    ) -> None:
        self.stopping = False
        self.lanes: list[Lane | Hand] = []
        self._ready: deque[ConsumerPartition] = deque()
        self._errors: deque[Exception] = deque()
        self._changed = asyncio.Event()
        self._on_lost = on_lost
        self._at_end = at_end
        self._breathed_ms = now_ms()

    def ready(self, part: ConsumerPartition) -> None:
        """There may be something of this partition."""
        if not part.queued and not part.blocked:
            part.queued = True
            self._ready.append(part)
        self._changed.set()

    def error(self, error: Exception) -> None:
        """Raise it where records are awaited."""
        self._errors.append(error)
        self._changed.set()

    def raise_error(self) -> None:
        """Raise what has been told and not been raised yet, if anything."""
        if self._errors:
            raise self._errors.popleft()

    def stop(self) -> None:
        """Hand out nothing more: all loops end."""
        self.stopping = True
        self._changed.set()

    async def next(self) -> ConsumerPartition | None:
        """A partition with records ready; None at the end. Raises what reading or acquiring ended with."""
        while not self.stopping:
            self.raise_error()
            part = self._turn()
            if part is not None:
                return part
            if self._at_end():
                # Other lanes may be waiting; nothing else would wake them.
                self._changed.set()
                return None
            self._changed.clear()
            await self._changed.wait()
        return None

    def _turn(self) -> ConsumerPartition | None:
        while self._ready:
            part = self._ready.popleft()
            part.queued = False
            if part.over or part.blocked:
                continue
            try:
                filled = part.fill()
            except RetentionGap as gap:
                part.progress.gap(gap.from_offset, gap.to_offset, now_ms())
                part.claim.pump()
                self.ready(part)
                raise
            except QuorumlogError as error:
                if error.reason not in LOST:
                    self.ready(part)
                    raise
                self._on_lost(part, error)
                continue
            if filled:
                self.ready(part)
                return part
        return None

    async def breathe(self, at_ms: float) -> None:
        """Let the event loop run, if it has not for a while."""
        if at_ms - self._breathed_ms > _BREATHE_MS:
            await asyncio.sleep(0)
            self._breathed_ms = now_ms()

    def forget(self, part: ConsumerPartition) -> None:
        """What lanes have in hand of it is not to come again."""
        for lane in self.lanes:
            lane.forget(part)


class Lane:
    """One worker's way through the records: iterate, or ``batches()``. Lanes of one consumer share its records:
    each goes to one of them, and records of one partition may be finished in any order."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._part: ConsumerPartition | None = None
        self._in_hand: list[ConsumerRecord] = []
        turns.lanes.append(self)

    def forget(self, part: ConsumerPartition) -> None:
        """What is in hand of the partition is not to come again."""
        if self._part is part:
            self._part, self._in_hand = None, []

    def finish(self) -> None:
        """What is in hand is processed."""
        part, records = self._part, self._in_hand
        self._part, self._in_hand = None, []
        if part is not None:
            at_ms = now_ms()
            for record in records:
                part.finish(record.offset, at_ms)

    def _again(self) -> tuple[ConsumerPartition, list[ConsumerRecord]] | None:
        part = self._part
        if part is None or part.over or part.blocked:
            return None
        left = [record for record in self._in_hand if not part.progress.is_done(record.offset)]
        return (part, left) if left else None

    async def __aiter__(self) -> AsyncIterator[ConsumerRecord]:
        turns = self._turns
        again = self._again()
        if again is not None:
            part, records = again
            for record in records:
                self._part, self._in_hand = part, [record]
                yield record
                await self._finished(part, record)
        while (turn := await turns.next()) is not None:
            progress = turn.progress
            while not turn.blocked and not turns.stopping and (taken := next(turn.records, None)) is not None:
                self._part, self._in_hand = turn, [taken]
                progress.deliver(taken.offset + 1)
                yield taken
                at_ms = now_ms()
                turn.finish(taken.offset, at_ms)
                if turn.each:
                    await turn.commit_each()
                await turns.breathe(at_ms)
        self._part, self._in_hand = None, []

    async def _finished(self, part: ConsumerPartition, record: ConsumerRecord) -> None:
        part.finish(record.offset, now_ms())
        if part.each:
            await part.commit_each()

    async def batches(self) -> AsyncIterator[list[ConsumerRecord]]:
        """Lists of records, each of one partition and never empty; to ask for the next finishes the one before."""
        turns = self._turns
        again = self._again()
        if again is not None:
            self._part, self._in_hand = again
            yield self._in_hand
            await self._finished_all(*again)
        while (part := await turns.next()) is not None:
            records = list(part.records)
            if not records:
                continue
            part.progress.deliver(records[-1].offset + 1)
            self._part, self._in_hand = part, records
            yield records
            await self._finished_all(part, records)
            await turns.breathe(now_ms())
        self._part, self._in_hand = None, []

    async def _finished_all(self, part: ConsumerPartition, records: list[ConsumerRecord]) -> None:
        part.finish_all(records, now_ms())
        if part.each:
            await part.commit_each()


class Hand:
    """Records handed over in one piece, to be finished one by one by another thread.

    The worker goes through ``records``, asks ``blocked`` before each, and counts in ``finished``; the event loop
    takes in how far it has come whenever ``absorb`` is called. So nothing crosses the threads for each record.
    """

    def __init__(self, turns: Turns) -> None:
        self.records: list[ConsumerRecord] = []
        self.finished = 0
        self._turns = turns
        self._part: ConsumerPartition | None = None
        self._absorbed = 0
        turns.lanes.append(self)

    def forget(self, part: ConsumerPartition) -> None:
        """The records, if they are of this partition, are not wanted any more."""
        if self._part is part:
            self._part, self.records, self._absorbed = None, [], 0

    @property
    def blocked(self) -> bool:
        """Hand out nothing more of these records now."""
        return self._turns.stopping or self._part is None or self._part.blocked

    @property
    def out(self) -> bool:
        """Some of the records are not finished, as far as has been absorbed."""
        return self._absorbed < len(self.records)

    @property
    def part(self) -> ConsumerPartition | None:
        """Whose records they are."""
        return self._part

    def absorb(self) -> None:
        """Take in what the worker has finished, and that it has the next record in hand."""
        part, finished = self._part, self.finished
        if part is None:
            return
        if finished > self._absorbed:
            done = self.records[self._absorbed : finished]
            part.progress.deliver(done[-1].offset + 1)
            part.finish_all(done, now_ms())
            self._absorbed = finished
        if finished < len(self.records):
            part.progress.deliver(self.records[finished].offset + 1)

    async def take(self) -> list[ConsumerRecord] | None:
        """The records that are the worker's now: those it left unfinished, or the next; None at the end."""
        self.absorb()
        rest = [
            record
            for record in self.records[self.finished :]
            if self._part is not None and not self._part.progress.is_done(record.offset)
        ]
        part, self._part = self._part, None
        self.records, self.finished, self._absorbed = [], 0, 0
        if rest and part is not None and not part.over:
            part.records = iter([*rest, *part.records])
            self._turns.ready(part)
        while (part := await self._turns.next()) is not None:
            self.records = list(part.records)
            if self.records:
                self._part = part
                part.progress.deliver(self.records[0].offset + 1)
                return self.records
        return None
