"""One partition in a consumer's hands: its claim, its read, and the records between the two."""

from __future__ import annotations

import asyncio
import contextlib
from operator import length_hint
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.client.consumer_record import ConsumerRecord, of_topic
from quorumlog.client.errors import QuorumlogError
from quorumlog.client.offset_types import TopicPartition
from quorumlog.client.policy.commits import CommitMode
from quorumlog.client.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quorumlog.client.claim import Claim
    from quorumlog.client.network import Network
    from quorumlog.client.policy.commits import CommitSettings
    from quorumlog.client.receipt import Receipt

_NEVER = 1 << 62


class Reading(NamedTuple):
    """How a consumer reads. ``prefetch_bytes``: for each partition."""

    prefetch_bytes: int
    timeout_ms: float
    stop_at_end: bool


class ConsumerPartition:
    """``records``: taken from the read and not handed out. ``blocked``: hand out nothing. ``on_ready(self)`` is
    called when there may be something to hand out."""

    __slots__ = (
        "_auto",
        "_count",
        "_drained",
        "_network",
        "_on_ready",
        "_paused",
        "_reading",
        "_silenced",
        "_stop",
        "_stopped",
        "blocked",
        "claim",
        "each",
        "name",
        "over",
        "progress",
        "queued",
        "records",
        "subscription",
    )

    def __init__(
        self,
        network: Network,
        claim: Claim,
        reading: Reading,
        settings: CommitSettings,
        on_ready: Callable[[ConsumerPartition], None],
    ) -> None:
        self.name = TopicPartition(claim.topic, claim.partition)
        self.claim = claim
        self.progress = claim.progress
        self.each = settings.mode is CommitMode.EACH
        self.records: Iterator[ConsumerRecord] = iter(())
        self.blocked = False
        self.over = False
        self.queued = False
        self._auto = settings.mode is not CommitMode.MANUAL
        self._count = settings.count or _NEVER
        self._network = network
        self._reading = reading
        self._on_ready = on_ready
        self._paused = self._silenced = self._stopped = False
        self._drained = asyncio.Event()
        self._stop = claim.acquired.log_end if reading.stop_at_end else None
        self.subscription = self._subscribe(claim.acquired.start_offset)

    def _subscribe(self, offset: int) -> Subscription:
        return Subscription(
            self._network,
            self.name.topic,
            self.name.partition,
            offset,
            self._stop,
            prefetch_bytes=self._reading.prefetch_bytes,
            timeout_ms=self._reading.timeout_ms,
            on_change=lambda _: self._on_ready(self),
            owner=(self.claim.group, self.claim.acquired.owner_epoch),
        )

    # ---- records out

    @property
    def waiting(self) -> bool:
        """There is something to hand out, or to raise."""
        return bool(length_hint(self.records)) or self.subscription.waiting

    @property
    def finished(self) -> bool:
        """With ``stop_at_end``: everything up to there has been handed out."""
        return self.subscription.finished and not length_hint(self.records)

    def fill(self) -> bool:
        """Have records ready; False if there are none yet. Raises what ended the read."""
        if length_hint(self.records):
            return True
        if not self.subscription.waiting:
            return False
        records, ranges = self.subscription.take_ranges()
        self.progress.arrived(ranges)
        self.records = iter(of_topic(records, self.name.topic))
        return bool(records)

    # ---- records finished

    def finish(self, offset: int, at_ms: float) -> bool:
        """The record is processed; False if that was known."""
        progress = self.progress
        if not progress.done(offset, at_ms):
            return False
        fresh = progress.processed - progress.sent
        if self._auto and fresh > 0 and (fresh >= self._count or not self.claim.armed):
            self.claim.pump()
        self._look_drained()
        return True

    def finish_all(self, records: list[ConsumerRecord], at_ms: float) -> None:
        """These records, which follow one another, are processed."""
        if self.progress.processed >= records[0].offset:
            self.progress.done_below(records[-1].offset + 1, at_ms)
        else:
            for record in records:
                self.progress.done(record.offset, at_ms)
        if self._auto:
            self.claim.pump()
        self._look_drained()

    def _look_drained(self) -> None:
        if self._stopped and self.progress.processed >= self.progress.delivered:
            self._drained.set()

    async def commit_each(self) -> None:
        """Return when what is processed is durable, or the partition is lost: that is told otherwise."""
        try:
            await self.commit(None, self._reading.timeout_ms)
        except QuorumlogError:
            if self.claim.lost is None:
                raise

    async def commit(self, metadata: bytes | None, timeout_ms: float) -> Receipt | None:
        """Commit what is processed, and wait until it is durable; None: nothing is to be committed."""
        progress, commits = self.progress, self.claim.commits
        if progress.fresh or metadata is not None:
            sequence = commits.ask(metadata)
        elif progress.processed > progress.durable:
            sequence = commits.sequence
        else:
            return None
        return await self.claim.settled(progress.processed, sequence, timeout_ms)

    async def drain(self, timeout_ms: float) -> bool:
        """Wait until what has been handed out is finished, but not for long; whether it is."""
        self._drained.clear()
        if self.progress.processed < self.progress.delivered:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_ms / 1000):
                    await self._drained.wait()
        return self.drained

    @property
    def drained(self) -> bool:
        """Whatever has been handed out is finished."""
        return self.progress.processed >= self.progress.delivered

    # ---- held back

    def pause(self, paused: bool) -> None:
        """The application does not want its records now."""
        self._paused = paused
        self._block()

    def silence(self, silenced: bool) -> None:
        """The member may have been given up."""
        self._silenced = silenced
        self._block()

    def stop(self) -> None:
        """It is being given back: nothing more is handed out."""
        self._stopped = True
        self._block()

    def _block(self) -> None:
        self.blocked = self._stopped or self._paused or self._silenced
        if not self.blocked and self.waiting:
            self._on_ready(self)

    @property
    def paused(self) -> bool:
        """By the application."""
        return self._paused

    # ---- elsewhere

    async def seek(self, offset: int) -> None:
        """Hand out from ``offset`` on."""
        before = self.subscription
        self.records = iter(())
        self.progress.seek(offset)
        self.subscription = self._subscribe(offset)
        await before.close()
        self.claim.pump()

    async def end(self) -> None:
        """Read no more."""
        self.over = True
        self.stop()
        self.records = iter(())
        await self.subscription.close()
