"""The plain reader: records of a topic from a position on, without a group and without committing anything.

    async with Reader("127.0.0.1:7401", "lines", start="end-100") as reader:
        async for record in reader:
            ...

It reads on through changes of leaders at exactly the next offset. What it cannot read on through is raised,
never skipped: RetentionGap when records were removed before they were read (iterating again goes on behind
them), HoleInLog and DamagedOnTheWay when a node sends what cannot be right, NoQuorum or Unreachable when nothing
came for ``timeout_ms``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from operator import length_hint
from typing import TYPE_CHECKING, Self

from quorumlog.client.errors import Closed, UnknownPartition
from quorumlog.client.network import Network
from quorumlog.client.offsets import find_offset
from quorumlog.client.start import Latest, parse_start
from quorumlog.client.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from types import TracebackType

    from quorumlog.client.start import Start
    from quorumlog.wire.record import Record


class Reader:
    """Reads partitions of one topic: iterate for records, or ``batches()`` for lists of them, which is faster.

    ``partitions``: which (None: all), merged fairly; order holds within each. ``start``: see ``parse_start``.
    ``stop_at_end``: end where the log ended (committed) when reading began. ``prefetch_bytes``: how much may lie
    ready, over all partitions. ``timeout_ms``: how long the cluster may stay without answering. One task may
    iterate at a time.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        topic: str,
        *,
        partitions: Iterable[int] | None = None,
        start: str | Start = "earliest",
        stop_at_end: bool = False,
        prefetch_bytes: int = 16 << 20,
        timeout_ms: float = 30_000.0,
    ) -> None:
        self._start = parse_start(start)
        self._topic = topic
        self._wanted = None if partitions is None else sorted(set(partitions))
        self._stop_at_end = stop_at_end
        self._prefetch_bytes = prefetch_bytes
        self._timeout_ms = timeout_ms
        self._network = Network(servers)
        self._subscriptions: dict[int, Subscription] = {}
        self._ready: deque[Subscription] = deque()
        self._changed = asyncio.Event()
        self._opened = False
        self._closed = False
        #: The batch being handed out record by record; kept here, so that breaking out of a loop loses nothing.
        self._current: Iterator[Record] = iter(())
        self._current_partition = -1

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Find the partitions and where to begin in each; done by itself when iteration begins.

        Raises UnknownTopic, UnknownPartition, OffsetOutOfRange, NoQuorum or Unreachable.
        """
        if self._closed:
            raise Closed("the reader is closed")
        if self._opened:
            return
        topic = await self._network.topic(self._topic, timeout_ms=self._timeout_ms)
        count = len(topic.partitions)
        wanted = list(range(count)) if self._wanted is None else self._wanted
        for number in wanted:
            if not 0 <= number < count:
                raise UnknownPartition(f"{self._topic} has {count} partitions; {number} is none of them")
        found = await asyncio.gather(*(self._find(number) for number in wanted))
        for number, (offset, stop) in zip(wanted, found, strict=True):
            self._subscriptions[number] = Subscription(
                self._network,
                self._topic,
                number,
                offset,
                stop,
                prefetch_bytes=max(self._prefetch_bytes // len(wanted), 1),
                timeout_ms=self._timeout_ms,
                on_change=self._arrived,
            )
        self._opened = True

    async def _find(self, partition: int) -> tuple[int, int | None]:
        at = await find_offset(self._network, self._topic, partition, self._start, timeout_ms=self._timeout_ms)
        if not self._stop_at_end:
            return at.offset, None
        if isinstance(self._start, Latest):
            return at.offset, at.offset
        return at.offset, at.end_offset

    def _arrived(self, subscription: Subscription) -> None:
        if subscription not in self._ready:
            self._ready.append(subscription)
        self._changed.set()

    async def next_batch(self) -> list[Record] | None:
        """The next records of one partition, partitions in turn; None when all of them have been read to their end.

        Raises what reading can end with; called again, it reads on where that is possible.
        """
        await self.open()
        rest = list(self._current)
        if rest:
            return rest
        while not self._closed:
            if self._ready:
                subscription = self._ready.popleft()
                try:
                    records = subscription.take()
                finally:
                    if subscription.waiting:
                        self._ready.append(subscription)
                if records:
                    return records
            elif all(each.finished for each in self._subscriptions.values()):
                return None
            else:
                self._changed.clear()
                await self._changed.wait()
        raise Closed("the reader is closed")

    async def batches(self) -> AsyncIterator[list[Record]]:
        """Lists of records, each of one partition and never empty, partitions in turn."""
        while (batch := await self.next_batch()) is not None:
            yield batch

    async def __aiter__(self) -> AsyncIterator[Record]:
        for record in self._current:
            yield record
        async for batch in self.batches():
            self._current = iter(batch)
            self._current_partition = batch[0].partition
            for record in self._current:
                yield record

    def positions(self) -> dict[int, int]:
        """By partition, the offset of the next record to be handed out: reading from there later loses nothing."""
        positions = {number: each.position for number, each in self._subscriptions.items()}
        if self._current_partition >= 0:
            positions[self._current_partition] -= length_hint(self._current)
        return positions

    def end_offsets(self) -> dict[int, int]:
        """By partition, the committed end as last heard of; what lies between it and the position is the lag."""
        return {number: each.end_offset for number, each in self._subscriptions.items()}

    async def close(self) -> None:
        """End the reads and the connections."""
        self._closed = True
        self._changed.set()
        await asyncio.gather(*(each.close() for each in self._subscriptions.values()))
        await self._network.close()
