"""The partitions a consumer has, and how each comes and goes.

A partition is *gained* (acquired, then read), *revoked* (stopped, its last work awaited for a moment, committed,
given back) or *lost* (somebody else has it). Without a group protocol all named ones are gained once; with one, the
coordinator's answers decide.

A partition whose stored offset cannot be learned is not read: it is tried again for as long as it is wanted, or its
error is told where the policy is to fail. It never begins as though nothing were stored.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.client.claim import Claim
from quorumlog.client.consumer_events import (
    AcquireWaiting,
    CommitResolved,
    CommitUnconfirmed,
    PartitionAcquired,
    PartitionLost,
    PartitionRevoked,
)
from quorumlog.client.consumer_partition import ConsumerPartition
from quorumlog.client.errors import PositionMoved, QuorumlogError, Reason
from quorumlog.client.network import now_ms
from quorumlog.client.policy.backoff import RESEND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from quorumlog.client.commit_link import CommitLink
    from quorumlog.client.consumer_events import Event
    from quorumlog.client.consumer_observer import ConsumerObserver
    from quorumlog.client.consumer_partition import Reading
    from quorumlog.client.offset_calls import StartPolicy
    from quorumlog.client.offset_types import TopicPartition
    from quorumlog.client.policy.commits import CommitSettings

    Callback = Callable[[Sequence[TopicPartition]], Awaitable[None] | None]

#: Troubles that pass: a partition that cannot be acquired for one of these is tried again.
_PASSING = frozenset(
    {
        Reason.NOT_LEADER,
        Reason.NO_QUORUM,
        Reason.OVERLOADED,
        Reason.DISK_FULL,
        Reason.REPLICA_DAMAGED,
        Reason.SHUTTING_DOWN,
        Reason.DEADLINE,
        Reason.UNREACHABLE,
        Reason.STALE_GENERATION,
    }
)
#: How a read learns that somebody else has the partition.
LOST = frozenset({Reason.FENCED, Reason.NOT_OWNER})
_ATTEMPT_MS = 5_000.0
_RELEASE_MS = 2_000.0


class Callbacks(NamedTuple):
    """The application's; each may be a plain function or a coroutine function."""

    on_assigned: Callback | None
    on_revoked: Callback | None
    on_lost: Callback | None


class Plan(NamedTuple):
    """How partitions are taken, read and committed."""

    group: str
    start: StartPolicy
    commits: CommitSettings
    reading: Reading
    callbacks: Callbacks
    #: How long a revoked partition waits for what is in work, and then for its last commit.
    drain_ms: float
    flush_ms: float
    observer: ConsumerObserver | None = None


class Assignment:
    """``generation(partition)``: in which it may be acquired now, None: not any more (0 without a group protocol).
    ``tell_error``: raise this where records are awaited."""

    def __init__(
        self,
        link: CommitLink,
        plan: Plan,
        generation: Callable[[TopicPartition], int | None],
        on_ready: Callable[[ConsumerPartition], None],
        tell: Callable[[Event], None],
        tell_error: Callable[[Exception], None],
    ) -> None:
        self.parts: dict[TopicPartition, ConsumerPartition] = {}
        self.fenced = 0
        self.resolved = 0
        self.silenced = False
        self._link = link
        self._plan = plan
        self._generation = generation
        self._on_ready = on_ready
        self._tell = tell
        self._tell_error = tell_error
        self._gaining: dict[TopicPartition, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._revoking: set[TopicPartition] = set()
        #: Lost by fencing while still ours to have: how far it was processed, and what was durable.
        self._moved: dict[TopicPartition, tuple[int, int]] = {}
        self._told_unconfirmed: dict[TopicPartition, int] = {}

    @property
    def settled(self) -> bool:
        """Nothing is being gained."""
        return not self._gaining

    # ---- gained

    def gain(self, partition: TopicPartition) -> asyncio.Task[None]:
        """Acquire it and begin to read it, for as long as it is wanted."""
        task = self._gaining.get(partition)
        if task is None:
            task = self._gaining[partition] = asyncio.create_task(
                self._gain(partition), name=f"acquire {partition}"
            )
        return task

    async def _gain(self, partition: TopicPartition) -> None:
        try:
            await self._gain_at_last(partition)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._tell_error(error)
        finally:
            self._gaining.pop(partition, None)

    async def _gain_at_last(self, partition: TopicPartition) -> None:
        failures = 0
        told: Reason | None = None
        while (generation := self._generation(partition)) is not None:
            if partition in self.parts:
                # Its revocation is not over yet; it has come back meanwhile.
                await asyncio.sleep(RESEND.first_ms / 1000)
                continue
            observer = self._plan.observer
            if observer is not None:
                observer.acquiring(partition, generation)
            try:
                claim = await Claim.acquire(
                    self._link,
                    (self._plan.group, partition.topic, partition.partition),
                    self._plan.start,
                    self._plan.commits,
                    generation=generation,
                    timeout_ms=_ATTEMPT_MS,
                    on_turn=self._turned,
                    observer=observer,
                )
            except QuorumlogError as error:
                if observer is not None:
                    observer.not_acquired(partition, error)
                if error.reason not in _PASSING and not generation:
                    raise
                failures += 1
                if error.reason in _PASSING or error.reason is Reason.OWNED:
                    self._tell(AcquireWaiting(partition, error))
                elif error.reason is not told:
                    # The application hears it once; the partition is this member's, and only an operator (or the
                    # application, with another policy) can mend what is wrong with its offset.
                    told = error.reason
                    self._tell_error(error)
                await asyncio.sleep(max(RESEND.delay_ms(failures, self._link.network.random), 20.0) / 1000)
                continue
            await self._begin(partition, claim)
            return

    async def _begin(self, partition: TopicPartition, claim: Claim) -> None:
        if self._generation(partition) is None:
            await claim.release(_RELEASE_MS)
            return
        plan = self._plan
        part = ConsumerPartition(self._link.network, claim, plan.reading, plan.commits, self._on_ready)
        part.silence(self.silenced)
        self.parts[partition] = part
        self._tell(PartitionAcquired(partition, claim.acquired))
        moved = self._moved.pop(partition, None)
        await self._call(plan.callbacks.on_assigned, [partition])
        start = claim.acquired.start_offset
        if moved is not None and start not in moved:
            self._tell_error(
                PositionMoved(partition.topic, partition.partition, moved[0], start, claim.acquired.explanation)
            )
        self._on_ready(part)

    def _turned(self, claim: Claim) -> None:
        """A commit came to its end, or the claim to its."""
        name = next((each for each, part in self.parts.items() if part.claim is claim), None)
        if name is None:
            return
        commits = claim.commits
        told = self._told_unconfirmed.get(name, 0)
        for each in commits.unconfirmed[told:]:
            self._tell(CommitUnconfirmed(name, each))
        self._told_unconfirmed[name] = len(commits.unconfirmed)
        if claim.take_resolved():
            self.resolved += 1
            self._tell(CommitResolved(name))
        if commits.lost is not None and commits.settled:
            self.lose(self.parts[name], commits.lost)

    # ---- lost

    def lose(self, part: ConsumerPartition, error: QuorumlogError) -> None:
        """Somebody else has it. With a group protocol it may have been a reset, and the partition still ours: then
        it is acquired again. Without one, the error is the application's to hear."""
        if self.parts.get(part.name) is not part or part.over:
            return
        part.over = True
        part.stop()
        part.claim.lose(error)
        del self.parts[part.name]
        if error.reason is Reason.FENCED:
            self.fenced += 1
        self._spawn(self._lost(part, error))

    async def _lost(self, part: ConsumerPartition, error: QuorumlogError) -> None:
        exposed = part.progress.exposure(now_ms()).records
        self._tell(PartitionLost(part.name, error, exposed))
        generation = self._generation(part.name)
        if generation and part.name not in self._revoking and error.reason in LOST:
            self._moved[part.name] = (part.progress.processed, part.progress.durable)
            self.gain(part.name)
        elif generation is not None:
            self._tell_error(error)
        await part.end()
        # A commit that is under way comes to its end, or is asked about: whoever waits for it is told the truth.
        await part.claim.flush(_RELEASE_MS)
        await part.claim.end()
        await self._call(self._plan.callbacks.on_lost, [part.name])

    async def drop(self, partitions: Iterable[TopicPartition], error: QuorumlogError) -> None:
        """The group has given this member up: commit what can still be committed, and let all of them go."""
        names = list(partitions)
        await self._stop_gaining(names)
        parts = [self.parts[name] for name in names if name in self.parts]
        for part in parts:
            part.stop()
        flushed = await asyncio.gather(*(part.claim.flush(min(self._plan.flush_ms, 1_000.0)) for part in parts))
        for part, committed in zip(parts, flushed, strict=True):
            if self.parts.pop(part.name, None) is not None:
                self._tell(PartitionLost(part.name, error, part.progress.exposure(now_ms()).records))
                await part.end()
                await _let_go(part, clean=committed and part.drained)
        if parts:
            await self._call(self._plan.callbacks.on_lost, [part.name for part in parts])

    # ---- revoked

    def revoke(self, partition: TopicPartition, on_done: Callable[[TopicPartition], None]) -> None:
        """Stop it, commit what is processed, give it back; then ``on_done``. Repeating it is harmless."""
        if partition not in self._revoking:
            self._revoking.add(partition)
            self._spawn(self._revoke(partition, on_done))

    async def _revoke(self, partition: TopicPartition, on_done: Callable[[TopicPartition], None]) -> None:
        try:
            await self._stop_gaining([partition])
            part = self.parts.get(partition)
            if part is not None:
                part.stop()
                # Whoever works on its last record finishes it now, or it is worked on twice.
                drained = await part.drain(self._plan.drain_ms)
                await self._call(self._plan.callbacks.on_revoked, [partition])
                await self._give_back(part, drained=drained)
        finally:
            self._revoking.discard(partition)
            on_done(partition)

    async def _give_back(self, part: ConsumerPartition, *, drained: bool = True) -> None:
        committed = await part.claim.flush(self._plan.flush_ms)
        await part.end()
        await _let_go(part, clean=committed and drained)
        self.parts.pop(part.name, None)
        self._tell(PartitionRevoked(part.name, committed, part.progress.exposure(now_ms()).records))

    async def _stop_gaining(self, partitions: Iterable[TopicPartition]) -> None:
        tasks = [task for name in partitions if (task := self._gaining.pop(name, None)) is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- the end

    async def close(self) -> QuorumlogError | None:
        """Commit what is processed and nothing else, and give everything back; why some of it could not be
        committed, if so."""
        await self._stop_gaining(list(self._gaining))
        parts = list(self.parts.values())
        for part in parts:
            part.stop()
        if parts:
            await self._call(self._plan.callbacks.on_revoked, [part.name for part in parts])
        await asyncio.gather(*(self._give_back(part) for part in parts))
        for task in list(self._others):
            task.cancel()
        await asyncio.gather(*self._others, return_exceptions=True)
        for part in parts:
            commits = part.claim.commits
            if not commits.settled and part.progress.processed > part.progress.durable:
                return commits.last_error
        return None

    def _spawn(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._tell_error(error)

        task = asyncio.create_task(run())
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def _call(self, callback: Callback | None, partitions: list[TopicPartition]) -> None:
        if callback is not None and partitions:
            result = callback(partitions)
            if inspect.isawaitable(result):
                await result


async def _let_go(part: ConsumerPartition, *, clean: bool) -> None:
    """Give the partition back if all that was done in it is durable; else only end.

    A release tells the next owner that nothing will be processed twice. Said with a commit missing (no quorum when
    the consumer was closed) or a record still in work, it would be a lie; not said, the next owner fences this one
    and knows what may repeat.
    """
    if clean:
        await part.claim.release(_RELEASE_MS)
    else:
        await part.claim.end()
