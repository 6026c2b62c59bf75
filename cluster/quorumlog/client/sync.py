"""The same client without asyncio: each object runs the asynchronous one on an event loop in a thread of its own.

Thin on purpose: decisions, retries and batching are the asynchronous objects'. What crosses the threads crosses
in bulk where it must be fast: records to send wait in a box that the loop empties at once, and a reader hands
batches over. Objects may be used from several threads; a Reader or a Consumer by one at a time.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from quorumlog.client import admin as aio_admin
from quorumlog.client import producer as aio_producer
from quorumlog.client import reader as aio_reader
from quorumlog.client.errors import BufferFull, Closed, QuorumlogError, TopicNotReady
from quorumlog.client.loop_thread import LoopThread, Threaded
from quorumlog.client.sync_consumer import Consumer
from quorumlog.client.sync_groups import GroupAdmin, OffsetAdmin

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from quorumlog.client.delivery import Delivery as AioDelivery
    from quorumlog.client.delivery import RecordPosition
    from quorumlog.client.policy.partitioner import Partitioner
    from quorumlog.client.start import Start
    from quorumlog.client.types import Cluster, NodeDescription, Offsets, Topic
    from quorumlog.wire.record import Record

__all__ = ["Admin", "Consumer", "Delivery", "GroupAdmin", "OffsetAdmin", "Producer", "Reader"]

#: Records that may wait for the loop to take them in; a sender beyond that waits.
_BOX_RECORDS = 10_000


class ProducerSettings(TypedDict, total=False):
    """The settings of ``quorumlog.client.Producer``, which documents them."""

    name: str
    compression: str
    idempotent: bool
    linger_ms: float
    batch_bytes: int
    max_buffer_bytes: int
    delivery_timeout_ms: float
    partitioner: Partitioner


class ReaderSettings(TypedDict, total=False):
    """The settings of ``quorumlog.client.Reader``, which documents them."""

    partitions: Iterable[int] | None
    start: str | Start
    stop_at_end: bool
    prefetch_bytes: int
    timeout_ms: float


class TopicSettings(TypedDict, total=False):
    """The settings of a topic that may be altered; see ``TopicConfig`` in admin.proto."""

    retention_ms: int
    retention_bytes: int
    segment_bytes: int
    max_batch_bytes: int


class Delivery:
    """The promise for one record: ``result()`` waits for it."""

    __slots__ = ("_arguments", "_error", "_inner", "_producer", "_taken")

    def __init__(self, producer: Producer, arguments: tuple[Any, ...]) -> None:
        self._producer = producer
        self._arguments = arguments
        self._inner: AioDelivery | None = None
        self._error: QuorumlogError | None = None
        self._taken = False

    def result(self, timeout_ms: float | None = None) -> RecordPosition:
        """Where the record stands. Raises why it is not delivered, or TimeoutError (it is still on its way)."""
        inner = self._inner
        if inner is not None and inner.done:
            return inner.position
        return self._producer._thread.run(self._settled(), timeout_ms)

    async def _settled(self) -> RecordPosition:
        if not self._taken:
            await self._producer._empty_box()
        if self._error is not None:
            raise self._error
        if self._inner is None:
            raise Closed("the producer was closed before it took the record")
        return await self._inner


class Producer:
    """See ``quorumlog.client.Producer``; takes the same settings."""

    def __init__(self, servers: str | Sequence[str], **settings: Unpack[ProducerSettings]) -> None:
        self._producer = aio_producer.Producer(servers, **settings)
        self._thread = LoopThread("quorumlog producer")
        self._box: deque[Delivery] = deque()
        self._room = threading.Condition()
        self._emptying: asyncio.Task[None] | None = None
        self._told = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        timestamp_ms: int | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> Delivery:
        """Take a record in, waiting only for room. What is wrong with it is told by the delivery."""
        delivery = Delivery(self, (topic, value, key, timestamp_ms, headers, partition))
        with self._room:
            while len(self._box) >= _BOX_RECORDS and not self._closed:
                self._room.wait()
            if self._closed:
                raise Closed("the producer is closed")
            self._box.append(delivery)
            if self._told:
                return delivery
            self._told = True
        self._thread.loop.call_soon_threadsafe(self._begin)
        return delivery

    def append(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        timestamp_ms: int | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> RecordPosition:
        """Send a record and wait until it is durable on a majority."""
        return self.send(topic, value, key, timestamp_ms, headers, partition).result()

    def flush(self) -> None:
        """Wait until every record taken in so far is delivered or given up."""
        self._thread.run(self._flush())

    def close(self) -> None:
        """Flush, then end everything."""
        with self._room:
            if self._closed:
                return
            self._closed = True
            self._room.notify_all()
        try:
            self._thread.run(self._flush())
        finally:
            self._thread.run(self._producer.close())
            self._thread.stop()

    async def _flush(self) -> None:
        await self._empty_box()
        await self._producer.flush()

    def _begin(self) -> None:
        if self._emptying is None or self._emptying.done():
            self._emptying = self._thread.loop.create_task(self._empty())

    async def _empty_box(self) -> None:
        while self._box or (self._emptying is not None and not self._emptying.done()):
            self._begin()
            if self._emptying is not None:
                await self._emptying

    async def _empty(self) -> None:
        while True:
            with self._room:
                box, self._box = self._box, deque()
                self._told = bool(box)
                self._room.notify_all()
            if not box:
                return
            for delivery in box:
                await self._take(delivery)

    async def _take(self, delivery: Delivery) -> None:
        try:
            try:
                delivery._inner = self._producer.send_nowait(*delivery._arguments)
            except (BufferFull, TopicNotReady):
                delivery._inner = await self._producer.send(*delivery._arguments)
        except QuorumlogError as error:
            delivery._error = error
        delivery._taken = True
        delivery._arguments = ()


class Reader:
    """See ``quorumlog.client.Reader``; takes the same settings. Iterate for records, or ``batches()`` for lists."""

    def __init__(self, servers: str | Sequence[str], topic: str, **settings: Unpack[ReaderSettings]) -> None:
        self._reader = aio_reader.Reader(servers, topic, **settings)
        self._thread = LoopThread("quorumlog reader")
        self._current: Iterator[Record] = iter(())

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Find the partitions and where to begin in each."""
        self._thread.run(self._reader.open())

    def batches(self) -> Iterator[list[Record]]:
        """Lists of records, each of one partition and never empty."""
        rest = list(self._current)
        if rest:
            yield rest
        while True:
            batch = self._thread.run(self._reader.next_batch())
            if batch is None:
                return
            yield batch

    def __iter__(self) -> Iterator[Record]:
        yield from self._current
        for batch in self.batches():
            self._current = iter(batch)
            yield from self._current

    def end_offsets(self) -> dict[int, int]:
        """By partition, the committed end as last heard of."""
        return self._reader.end_offsets()

    def close(self) -> None:
        """End the reads and the connections."""
        if not self._thread.loop.is_closed():
            self._thread.run(self._reader.close())
            self._thread.stop()


class Admin(Threaded):
    """See ``quorumlog.client.Admin``."""

    def __init__(self, servers: str | Sequence[str], *, timeout_ms: float = 10_000.0) -> None:
        self._admin = aio_admin.Admin(servers, timeout_ms=timeout_ms)
        super().__init__(self._admin, "quorumlog admin")

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        replication_factor: int = 0,
        *,
        wait: bool = True,
        **settings: Unpack[TopicSettings],
    ) -> tuple[Topic, bool]:
        """Make a topic; the topic, and whether it is new."""
        return self._thread.run(
            self._admin.create_topic(name, partitions, replication_factor, wait=wait, **settings)
        )

    def alter_topic(self, name: str, **settings: Unpack[TopicSettings]) -> Topic:
        """Change settings of a topic."""
        return self._thread.run(self._admin.alter_topic(name, **settings))

    def delete_topic(self, name: str) -> None:
        """Remove a topic and its records for good."""
        self._thread.run(self._admin.delete_topic(name))

    def list_topics(self) -> list[Topic]:
        """All topics, by name."""
        return self._thread.run(self._admin.list_topics())

    def describe_topic(self, name: str) -> Topic:
        """One topic."""
        return self._thread.run(self._admin.describe_topic(name))

    def metadata(self, topics: Sequence[str] = ()) -> Cluster:
        """The cluster as some node knows it now."""
        return self._thread.run(self._admin.metadata(topics))

    def describe_node(self, node: int | str) -> NodeDescription:
        """One node from within."""
        return self._thread.run(self._admin.describe_node(node))

    def describe_nodes(self) -> dict[int, NodeDescription | QuorumlogError]:
        """All configured nodes, each with its description or with why it gave none."""
        return self._thread.run(self._admin.describe_nodes())

    def list_offsets(
        self, topic: str, position: str | Start = "latest", partitions: Sequence[int] | None = None
    ) -> dict[int, Offsets]:
        """By partition, where ``position`` lies now."""
        return self._thread.run(self._admin.list_offsets(topic, position, partitions))

    def transfer_leadership(self, topic: str, partition: int, node_id: int = 0) -> None:
        """Begin to hand the partition's leadership to a node; 0: to the preferred one."""
        self._thread.run(self._admin.transfer_leadership(topic, partition, node_id))
