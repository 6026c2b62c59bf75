"""The consumer without asyncio: it runs on an event loop in a thread of its own, and the records come here in bulk.

That thread is also what makes a handler free to block: commits and signs of life leave while it works.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack

from quorumlog.client import consumer as aio_consumer
from quorumlog.client.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import FrameType, TracebackType

    from quorumlog.client.assignment import Callback
    from quorumlog.client.consumer import FallbackName, Place
    from quorumlog.client.consumer_events import Event
    from quorumlog.client.consumer_record import ConsumerRecord
    from quorumlog.client.consumer_stats import ConsumerStats
    from quorumlog.client.handing import Hand
    from quorumlog.client.offset_types import TopicPartition
    from quorumlog.client.policy.progress import Exposure
    from quorumlog.client.receipt import Receipt
    from quorumlog.client.start import Start
    from quorumlog.wire.record import Record

#: How often the loop looks how far the worker has come, while it works.
_LOOK_MS_MAX = 50.0
_DEFAULT_INTERVAL_MS = 1000.0


class ConsumerSettings(TypedDict, total=False):
    """The settings of ``quorumlog.client.Consumer``, which documents them. Callbacks and ``on_event`` run in the
    consumer's thread."""

    partitions: Iterable[int] | None
    start: str | Start
    force_start: bool
    on_out_of_range: FallbackName
    on_truncated: FallbackName
    exclusive: bool
    commit: Literal["after_processing", "manual", "each"]
    commit_interval_ms: float
    commit_count: int
    confirm: Literal["single", "double"]
    instance: str
    strategy: Literal["sticky", "range", "round_robin"]
    session_timeout_ms: int
    stop_at_end: bool
    prefetch_bytes: int
    timeout_ms: float
    on_assigned: Callback | None
    on_revoked: Callback | None
    on_lost: Callback | None
    on_event: Callable[[Event], None] | None


class Consumer:
    """See ``quorumlog.client.Consumer``; takes the same settings. One thread may iterate at a time.

    To ask for the next record says that the one before it is processed; to leave the loop says nothing.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        topics: str | Sequence[str],
        *,
        group: str,
        **settings: Unpack[ConsumerSettings],
    ) -> None:
        self._consumer = aio_consumer.Consumer(servers, topics, group=group, **settings)
        self._thread = LoopThread("quorumlog consumer")
        self._mode = settings.get("commit", "after_processing")
        self._look_ms = min(settings.get("commit_interval_ms", _DEFAULT_INTERVAL_MS) / 20, _LOOK_MS_MAX)
        self._hand: Hand = self._consumer.hand()
        self._looking = False

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception:
            if error is None:
                raise

    def open(self) -> None:
        """Join the group, or acquire the partitions named."""
        self._thread.run(self._consumer.open())

    # ---- records

    def __iter__(self) -> Iterator[ConsumerRecord]:
        each = self._mode == "each"
        while self._thread.run(self._take()) is not None:
            hand = self._hand
            for record in hand.records:
                if hand.blocked:
                    break
                yield record
                hand.finished += 1
                if each:
                    self._thread.run(self._committed())

    def batches(self) -> Iterator[list[ConsumerRecord]]:
        """Lists of records, each of one partition and never empty: to ask for the next says that all of the one
        before are processed."""
        each = self._mode == "each"
        while (records := self._thread.run(self._take())) is not None:
            yield list(records)
            self._hand.finished = len(records)
            if each:
                self._thread.run(self._committed())

    async def _take(self) -> list[ConsumerRecord] | None:
        await self._consumer.open()
        records = await self._hand.take()
        if records is not None and not self._looking:
            self._looking = True
            self._look()
        return records

    def _look(self) -> None:
        self._hand.absorb()
        self._looking = self._hand.out
        if self._looking:
            self._thread.loop.call_later(self._look_ms / 1000, self._look)

    async def _committed(self) -> None:
        self._hand.absorb()
        if self._hand.part is not None:
            await self._hand.part.commit_each()

    def done(self, record: Record) -> bool:
        """The record is processed. False if that was known, or its partition is not this consumer's any more."""

        async def done() -> bool:
            self._hand.absorb()
            return self._consumer.done(record)

        return self._thread.run(done())

    def stop(self) -> None:
        """End every iteration after the record in hand, and begin to commit; from any thread or signal handler."""
        if not self._thread.loop.is_closed():
            self._thread.loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self._hand.absorb()
        self._consumer.stop()

    def install_signal_handlers(self, signals: Iterable[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> None:
        """Have these signals ``stop`` this consumer; from the main thread."""

        def stop(number: int, frame: FrameType | None) -> None:
            # Not here: the handler may interrupt this very thread while it holds one of the loop's locks.
            threading.Thread(target=self.stop, name="quorumlog stop").start()

        for each in signals:
            signal.signal(each, stop)

    # ---- commits and positions

    def commit(
        self,
        offsets: Mapping[TopicPartition, int] | None = None,
        *,
        metadata: bytes | None = None,
        timeout_ms: float | None = None,
    ) -> list[Receipt]:
        """Commit what is processed (in manual mode with the record in hand), and return when it is durable."""
        return self._thread.run(self._commit(offsets, metadata, timeout_ms))

    async def _commit(
        self, offsets: Mapping[TopicPartition, int] | None, metadata: bytes | None, timeout_ms: float | None
    ) -> list[Receipt]:
        hand = self._hand
        hand.absorb()
        if self._mode == "manual" and offsets is None and hand.out and hand.part is not None:
            # The record in hand; the worker will count it, too, when it asks on.
            self._consumer.done(hand.records[hand.finished])
        return await self._consumer.commit(offsets, metadata=metadata, timeout_ms=timeout_ms)

    def pause(self, *places: Place) -> None:
        """Hand out nothing of these partitions (none named: of all)."""
        self._thread.run(self._call(lambda: self._consumer.pause(*places)))

    def resume(self, *places: Place) -> None:
        """Hand out again."""
        self._thread.run(self._call(lambda: self._consumer.resume(*places)))

    def seek(self, place: Place, offset: int) -> None:
        """Go on at ``offset`` in this partition."""
        self._thread.run(self._seek(place, offset))

    async def _seek(self, place: Place, offset: int) -> None:
        self._hand.absorb()
        await self._consumer.seek(place, offset)

    async def _call(self, call: Callable[[], None]) -> None:
        call()

    def assignment(self) -> tuple[TopicPartition, ...]:
        """The partitions this consumer has, sorted."""
        return self._consumer.assignment()

    def position(self, place: Place) -> int:
        """The offset of the next record to be handed out."""
        return self._consumer.position(place)

    def committed(self, place: Place) -> int | None:
        """The stored offset as last known here; None: nothing is stored."""
        return self._consumer.committed(place)

    def end(self, place: Place) -> int:
        """The log's committed end as last heard of."""
        return self._consumer.end(place)

    def lag(self, place: Place) -> int:
        """Records from the committed offset to the end, as last heard of."""
        return self._consumer.lag(place)

    @property
    def exposure(self) -> Exposure:
        """What a crash now would repeat although it is processed."""
        return self._consumer.exposure

    @property
    def events(self) -> list[Event]:
        """The last events, oldest first."""
        return list(self._consumer.events)

    def stats(self) -> ConsumerStats:
        """The figures of this moment."""
        return self._consumer.stats()

    # ---- the end

    def close(self, *, for_good: bool = False) -> None:
        """Commit what is processed and nothing else, give the partitions back and leave the group."""
        if self._thread.loop.is_closed():
            return
        try:
            self._thread.run(self._close(for_good))
        finally:
            self._thread.stop()

    async def _close(self, for_good: bool) -> None:
        self._hand.absorb()
        await self._consumer.close(for_good=for_good)
