"""Owning a consumer group's offset in one partition: taken over, committed to, given back.

A consumer holds one claim for each partition it reads. It can be had without reading, for an application that gets
its records elsewhere:

    async with await Claim.open(servers, "group", "topic", 0) as claim:
        receipt = await claim.commit(claim.acquired.start_offset + 1)

What is decided is decided in ``quorumlog.client.policy.commits``; here are the timers and whoever waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Self

from quorumlog.client.commit_link import CommitLink
from quorumlog.client.errors import Closed, NotDone, QuorumlogError, Reason, as_outcome, make_error
from quorumlog.client.network import now_ms
from quorumlog.client.offset_calls import StartPolicy, StartReason, acquire, fetch, release, resolve
from quorumlog.client.policy.commits import CommitMode, CommitSettings, PartitionCommits, Resolve, checked_metadata
from quorumlog.client.policy.committer import Attempt
from quorumlog.client.policy.progress import Progress
from quorumlog.client.start import parse_start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from quorumlog.client.consumer_observer import ConsumerObserver
    from quorumlog.client.offset_calls import Acquired
    from quorumlog.client.policy.commits import ReadBack
    from quorumlog.client.receipt import Receipt
    from quorumlog.client.start import Start

DEFAULT_TIMEOUT_MS = 30_000.0
_NEVER_MS = float("inf")


class _Waiter(NamedTuple):
    """Somebody waits until ``offset`` is durable by an attempt of this sequence or a later one."""

    sequence: int
    offset: int
    future: asyncio.Future[Receipt]
    deadline_ms: float


class Claim:
    """Made by ``open`` or ``acquire``. ``lost``: why it is somebody else's, if it is; ``on_turn()`` is called when
    that becomes so and after every commit."""

    def __init__(
        self,
        link: CommitLink,
        key: tuple[str, str, int],
        session: int,
        acquired: Acquired,
        policy: StartPolicy,
        settings: CommitSettings,
        on_turn: Callable[[Claim], None] = lambda _: None,
        observer: ConsumerObserver | None = None,
    ) -> None:
        self.group, self.topic, self.partition = key
        self.acquired = acquired
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._lease_ms = policy.lease_ms if policy.exclusive else 0
        self._renewed_ms = now_ms()
        self._on_turn = on_turn
        self._observer = observer
        stored = acquired.stored
        if stored is None and acquired.reason is StartReason.RULE:
            # The start has been committed as the first position.
            committed: int | None = acquired.start_offset
        else:
            committed = None if stored is None else stored.offset
        self.committed = committed
        """The stored offset as last known here; None: nothing is stored."""
        self.progress = Progress(acquired.start_offset, committed)
        self.commits = PartitionCommits(
            key,
            acquired.owner_epoch,
            session,
            self.progress,
            settings,
            link.network.random,
            None if stored is None else stored.fingerprint,
            self._settled,
        )
        self._waiters: list[_Waiter] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._deadline_ms = _NEVER_MS
        self._questions: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Event()
        self._ended = False
        self._owns_link = False
        self._resolved = 0
        if self._lease_ms:
            self._arm()

    @classmethod
    async def open(
        cls,
        servers: str | Sequence[str],
        group: str,
        topic: str,
        partition: int,
        *,
        start: str | Start = "earliest",
        exclusive: bool = False,
        confirm: str = "single",
        timeout_ms: float = DEFAULT_TIMEOUT_MS,
    ) -> Claim:
        """Take (group, partition) over, for committing by hand. ``confirm="double"``: each commit is read back."""
        link = CommitLink.shared(servers)
        try:
            policy = StartPolicy(parse_start(start), exclusive=exclusive)
            settings = CommitSettings(CommitMode.MANUAL, double=is_double(confirm))
            claim = await cls.acquire(link, (group, topic, partition), policy, settings, timeout_ms=timeout_ms)
        except BaseException:
            await link.release()
            raise
        claim._owns_link = True
        return claim

    @classmethod
    async def acquire(
        cls,
        link: CommitLink,
        key: tuple[str, str, int],
        policy: StartPolicy,
        settings: CommitSettings,
        *,
        generation: int = 0,
        timeout_ms: float = DEFAULT_TIMEOUT_MS,
        on_turn: Callable[[Claim], None] = lambda _: None,
        observer: ConsumerObserver | None = None,
    ) -> Claim:
        """Take (group, partition) over: every earlier owner is fenced.

        Raises Owned, StaleGeneration, OffsetOutOfRange or FingerprintMismatch (where the policy is to fail),
        OffsetsExpired, InvalidGroup, GroupFull, and what any call to a leader may raise.
        """
        # Of each claim its own: the partition tells a repeated Acquire from a second one by it.
        session = link.network.random.getrandbits(64) or 1
        acquired = await acquire(link.network, key, session, policy, generation, timeout_ms)
        return cls(link, key, session, acquired, policy, settings, on_turn, observer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def lost(self) -> QuorumlogError | None:
        """Why this claim is over although it was not given back."""
        return self.commits.lost

    def take_resolved(self) -> bool:
        """A commit's fate has been learned by asking since this was last called."""
        before, self._resolved = self._resolved, self.commits.resolved_count
        return self._resolved > before

    # ---- committing

    async def commit(
        self, offset: int, metadata: bytes | None = None, *, timeout_ms: float = DEFAULT_TIMEOUT_MS
    ) -> Receipt:
        """Commit ``offset`` (of the next record to be processed) and return when it is durable, and with double
        confirmation has been read back.

        Raises Fenced or NotOwner when the claim is lost, OffsetRegressed, OffsetBeyondEnd, MetadataTooLarge. An
        OutcomeUnknown after ``timeout_ms``: the commit goes on being asked about.
        """
        progress = self.progress
        if offset < progress.durable:
            raise make_error(
                Reason.OFFSET_REGRESSED,
                f"{offset} lies below {progress.durable}, which is committed",
                not_done=True,
                fields={"offset": str(offset), "stored": str(progress.durable)},
            )
        progress.deliver(offset)
        progress.done_below(offset, now_ms())
        return await self.settled(offset, self.commits.ask(metadata, offset), timeout_ms)

    async def settled(self, offset: int, sequence: int, timeout_ms: float) -> Receipt:
        """The receipt, once ``offset`` is durable by the attempt of that sequence or a later one."""
        if self.lost is not None:
            raise self.lost
        if self._ended:
            raise Closed("this partition has been given back")
        future: asyncio.Future[Receipt] = self._loop.create_future()
        deadline_ms = now_ms() + timeout_ms
        self._waiters.append(_Waiter(sequence, offset, future, deadline_ms))
        if deadline_ms < self._deadline_ms:
            self._arm_deadline(deadline_ms)
        self.pump()
        return await future

    def _arm_deadline(self, deadline_ms: float) -> None:
        """One timer for all who wait, left alone when one of them is answered: a timer for each commit would cost
        more than the rest of it."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline_ms = deadline_ms
        self._deadline = self._loop.call_later(max(deadline_ms - now_ms(), 0.5) / 1000, self._late)

    def _late(self) -> None:
        self._deadline, self._deadline_ms = None, _NEVER_MS
        at_ms, waiters = now_ms(), self._waiters
        self._waiters = [each for each in waiters if each.deadline_ms > at_ms]
        for waiter in waiters:
            if waiter.deadline_ms > at_ms or waiter.future.done():
                continue
            words = f"commit of {waiter.offset} to {self.topic}/{self.partition} is not durable yet"
            last = self.commits.last_error
            if last is None:
                waiter.future.set_exception(make_error(Reason.DEADLINE, words, not_done=False))
            else:
                waiter.future.set_exception(as_outcome(last, f"{words}; last: {last.message}", not_done=False))
        if self._waiters:
            self._arm_deadline(min(each.deadline_ms for each in self._waiters))

    def pump(self) -> None:
        """Do what is due; call it after anything that may make something due."""
        if self._ended:
            return
        action = self.commits.poll(now_ms())
        if action is not None:
            if isinstance(action, Attempt):
                if self._observer is not None:
                    action.metadata = checked_metadata(self._observer.committing(action))
                self._link.submit(action)
            else:
                task = self._loop.create_task(self._ask(action))
                self._questions.add(task)
                task.add_done_callback(self._questions.discard)
        self._arm()

    def _arm(self) -> None:
        """Wake when something is due next; not when only an answer can change anything."""
        wake_at_ms = self.commits.wake_at_ms()
        if self._lease_ms and self.lost is None:
            renew_at_ms = self._renewed_ms + self._lease_ms / 3
            wake_at_ms = renew_at_ms if wake_at_ms is None else min(wake_at_ms, renew_at_ms)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if wake_at_ms is not None:
            self._alarm = self._loop.call_later(max(wake_at_ms - now_ms(), 0.5) / 1000, self._woken)

    @property
    def armed(self) -> bool:
        """Something is under way or has its time: what is finished now will be committed without a further word."""
        return self._alarm is not None

    def _woken(self) -> None:
        self._alarm = None
        if self._lease_ms and now_ms() >= self._renewed_ms + self._lease_ms / 3:
            # A commit of the stored offset renews the lease. Another Acquire would too, but one that comes late
            # would take the partition back from whoever has it by then; a late commit is merely fenced.
            self._renewed_ms = now_ms()
            self.commits.ask()
        self.pump()

    def _settled(self, attempt: Attempt) -> None:
        at_ms = now_ms()
        if self._observer is not None:
            self._observer.committed(attempt)
        self.commits.settle(attempt, at_ms)
        if attempt.receipt is not None:
            self._renewed_ms = at_ms
            self.committed = max(attempt.offset, self.committed or 0)
        self._tell(attempt.sequence, attempt.error)
        self._turned()

    def _turned(self) -> None:
        self.pump()
        self._turn.set()
        self._on_turn(self)

    def _tell(self, sequence: int = 0, error: QuorumlogError | None = None) -> None:
        """Answer those who wait, as far as there is an answer; ``error``: how the attempt of ``sequence`` ended."""
        if not self._waiters:
            return
        commits = self.commits
        receipt = None if commits.confirming else commits.receipt
        left = []
        for waiter in self._waiters:
            if waiter.future.done():
                continue
            if (
                receipt is not None
                and commits.stored_sequence >= waiter.sequence
                and receipt.offset >= waiter.offset
            ):
                self._answer(waiter, receipt)
            elif commits.lost is not None and commits.settled:
                waiter.future.set_exception(commits.lost)
            elif (
                sequence >= waiter.sequence
                and isinstance(error, NotDone)
                and self._settings.mode is CommitMode.MANUAL
            ):
                # It will not be tried again: whoever wants that may do it.
                waiter.future.set_exception(error)
            else:
                left.append(waiter)
        self._waiters = left

    def _answer(self, waiter: _Waiter, receipt: Receipt) -> None:
        for unconfirmed in self.commits.unconfirmed:
            if unconfirmed.receipt == receipt:
                waiter.future.set_exception(unconfirmed.error)
                return
        waiter.future.set_result(receipt)

    def _fail(self, error: QuorumlogError) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.future.done():
                waiter.future.set_exception(error)

    # ---- questions

    async def _ask(self, question: Resolve | ReadBack) -> None:
        commits, network = self.commits, self._link.network
        try:
            if isinstance(question, Resolve):
                attempt = question.attempt
                found = await resolve(network, attempt)
                commits.resolved(found.fate, found.receipt, now_ms())
                if found.receipt is not None:
                    self.committed = max(attempt.offset, self.committed or 0)
                    self._tell()
                elif attempt.error is not None:
                    words = f"{attempt.error.message}; it never happened"
                    self._tell(attempt.sequence, as_outcome(attempt.error, words, not_done=True))
            else:
                stored = await fetch(network, self.commits.key)
                commits.read_back(0 if stored is None else stored.version, now_ms())
                self._tell()
        except QuorumlogError as failed:
            commits.ask_failed(failed, now_ms())
            self._tell()
        self._turned()

    # ---- the end

    def lose(self, error: QuorumlogError) -> None:
        """It is somebody else's, as a read or the coordinator told."""
        self.commits.lose(error)
        if self.commits.settled:
            self._fail(error)

    async def flush(self, timeout_ms: float) -> bool:
        """Commit what is processed; True once that is durable, False if the claim was lost or time ran out."""
        self.commits.flush()
        self.pump()
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while not self.commits.settled and not self._ended:
                    self._turn.clear()
                    await self._turn.wait()
        except TimeoutError:
            return False
        return self.lost is None and self.commits.settled

    async def release(self, timeout_ms: float) -> None:
        """Give it back, so that the next owner need not wait; failing that, the next owner fences this one."""
        await self.end()
        if self.lost is None:
            try:
                await release(self._link.network, self.commits, timeout_ms)
            except QuorumlogError:
                return

    async def end(self) -> None:
        """Commit and ask nothing any more."""
        if self._ended:
            return
        self._ended = True
        for timer in (self._alarm, self._deadline):
            if timer is not None:
                timer.cancel()
        self._alarm = self._deadline = None
        over: QuorumlogError = Closed("this partition has been given back")
        attempt = self.commits.under_way
        if attempt is not None:
            self._link.give_up(attempt, over)
            if attempt.may_have_happened:
                over = make_error(Reason.CLOSED, "given back before the commit's answer came", not_done=False)
        for question in list(self._questions):
            question.cancel()
        await asyncio.gather(*self._questions, return_exceptions=True)
        self._fail(over)

    async def close(self, timeout_ms: float = 5_000.0) -> None:
        """Wait for what is under way, then give the partition back; unless that did not become known, for a release
        says that nothing is missing."""
        if await self.flush(timeout_ms):
            await self.release(timeout_ms)
        else:
            await self.end()
        if self._owns_link:
            self._owns_link = False
            await self._link.release()


def is_double(confirm: str) -> bool:
    """``confirm`` as a setting. Raises ValueError."""
    if confirm not in ("single", "double"):
        raise ValueError(f'confirm must be "single" or "double", not {confirm!r}')
    return confirm == "double"
