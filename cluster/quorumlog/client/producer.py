"""The producer: the shell that carries the accumulator's batches over the network.

Three ways to send, from the simplest to the fastest:

- ``await producer.append(topic, value)`` waits until the record is durable on a majority and returns where it
  stands. Called from many tasks, records share batches.
- ``delivery = await producer.send(topic, value)`` waits only for room in the buffer; ``await delivery`` later.
- ``delivery = producer.send_nowait(topic, value)`` never waits: about a microsecond, or BufferFull. Such a loop
  must let the event loop run now and then (any ``await`` that suspends), or nothing is sent meanwhile.

Order is kept per partition. By default the producer is idempotent: what it sends again after an unheard-of
attempt has one effect, so an error is rare and definite unless the delivery timeout strikes while an attempt is
unaccounted for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import time_ns
from typing import TYPE_CHECKING, Self

from quorumlog.client.delivery import Delivery, RecordPosition
from quorumlog.client.errors import (
    BufferFull,
    InvalidRequest,
    QuorumlogError,
    UnknownTopic,
)
from quorumlog.client.network import Network, now_ms
from quorumlog.client.policy.accumulator import Accumulator, ProducerSettings, checked_bytes
from quorumlog.client.policy.backoff import RESEND
from quorumlog.client.policy.partitioner import partition_of_key
from quorumlog.client.policy.sender import Sender, closed
from quorumlog.client.stream import AppendStream
from quorumlog.v1 import log_pb2
from quorumlog.wire.header import Codec
from quorumlog.wire.record import encode_headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from quorumlog.client.channel import NodeChannel
    from quorumlog.client.policy.partitioner import Partitioner
    from quorumlog.client.policy.sender import Work

#: How long a topic may be unknown to every node asked before ``prepare`` believes it: one just made needs a moment.
_TOPIC_GRACE_MS = 1000.0


class Producer:
    """Sends records; an asynchronous context manager, which flushes at its end.

    ``servers``: host:port of one or more nodes, a list or separated by commas. ``name``: a stable name makes
    this instance fence earlier ones of the same name. ``compression``: none, gzip, zstd or lz4. ``linger_ms``:
    how long a record may wait for others when its partition has nothing in flight. ``batch_bytes``: the size,
    before compression, at which a batch is full. ``max_buffer_bytes``: records accepted and not yet settled may
    take so much. ``delivery_timeout_ms``: after so long a record is given up. Raises ValueError for settings
    that make no sense.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        name: str = "",
        compression: str = "none",
        idempotent: bool = True,
        linger_ms: float = 0.0,
        batch_bytes: int = 256 << 10,
        max_buffer_bytes: int = 32 << 20,
        delivery_timeout_ms: float = 30_000.0,
        partitioner: Partitioner = partition_of_key,
    ) -> None:
        codecs = {codec.name.lower(): codec for codec in Codec}
        if compression not in codecs:
            raise ValueError(f"compression must be one of {', '.join(codecs)}, not {compression!r}")
        self._settings = ProducerSettings(
            idempotent=idempotent,
            codec=codecs[compression],
            batch_bytes=batch_bytes,
            linger_ms=linger_ms,
            max_buffer_bytes=max_buffer_bytes,
            delivery_timeout_ms=delivery_timeout_ms,
        )
        self._name = name
        self._network = Network(servers)
        self._accumulator = Accumulator(self._settings, self._network.random, partitioner)
        self._sender = Sender(self._settings, self._accumulator, self._network.router, self._network.random)
        self._network.listen(self._schedule)
        self._streams: dict[str, AppendStream] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._opening: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._alarm: asyncio.TimerHandle | None = None
        self._waiting_for_room: deque[asyncio.Future[None]] = deque()
        self._yielded_at = 0
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- records in

    async def prepare(self, topic: str) -> None:
        """Look a topic up, so that ``send_nowait`` can be used for it. Raises UnknownTopic, NoQuorum or
        Unreachable."""
        self._ready()
        if self._accumulator.knows(topic):
            return
        view = await self._network.topic(
            topic, timeout_ms=self._settings.delivery_timeout_ms, grace_ms=_TOPIC_GRACE_MS
        )
        if not view.partitions:
            raise UnknownTopic(f"topic {topic!r} has no partitions")
        self._accumulator.add_topic(topic, len(view.partitions), view.max_batch_bytes)

    def send_nowait(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        timestamp_ms: int | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> Delivery:
        """Take a record in, or refuse it at once. ``timestamp_ms`` counts from the Unix epoch; None means now.

        Raises BufferFull, TopicNotReady (see ``prepare``), TooLarge, UnknownPartition, InvalidRequest,
        ProducerFenced or Closed; the record is then not sent.
        """
        if type(value) is not bytes and value is not None:
            value = checked_bytes(value, "value")
        if type(key) is not bytes and key is not None:
            key = checked_bytes(key, "key")
        if timestamp_ms is None:
            timestamp_ms = time_ns() // 1_000_000
        elif not 0 <= timestamp_ms < 1 << 63:
            raise InvalidRequest(f"timestamp of {timestamp_ms} ms")
        batch = self._accumulator.append(
            topic, value, key, timestamp_ms, encode_headers(headers) if headers else b"", partition
        )
        if not self._scheduled:
            self._schedule()
        return Delivery(batch, len(batch.values) - 1)

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        timestamp_ms: int | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> Delivery:
        """The same, after looking the topic up and waiting for room in the buffer.

        Raises what ``send_nowait`` raises, but BufferFull only when no room comes within the delivery timeout.
        """
        if not self._accumulator.knows(topic) or self._closed:
            await self.prepare(topic)
        if self._accumulator.batches_filled != self._yielded_at:
            # Without this, a loop of sends would never suspend before the buffer is full, and nothing would be
            # sent.
            self._yielded_at = self._accumulator.batches_filled
            await asyncio.sleep(0)
        while True:
            try:
                return self.send_nowait(topic, value, key, timestamp_ms, headers, partition)
            except BufferFull as full:
                await self._room(full)

    async def append(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        timestamp_ms: int | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> RecordPosition:
        """Send a record and wait until it is durable on a majority."""
        return await (await self.send(topic, value, key, timestamp_ms, headers, partition))

    @property
    def buffered_bytes(self) -> int:
        """Bytes of records on their way, of at most ``max_buffer_bytes``."""
        return self._accumulator.buffered_bytes

    async def _room(self, full: BufferFull) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting_for_room.append(future)
        try:
            async with asyncio.timeout(self._settings.delivery_timeout_ms / 1000):
                await future
        except TimeoutError:
            raise full from None

    def _ready(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise closed()
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    # ---- batches out

    def _schedule(self) -> None:
        """Poll once the tasks that run now have had their say, so that what they send goes together."""
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            self._loop.call_soon(self._poll)

    def _poll(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        work = self._sender.poll(now_ms())
        self._carry_out(work)
        waiting = self._waiting_for_room
        if waiting and self._accumulator.buffered_bytes < self._settings.max_buffer_bytes:
            # All of them: those for whom there is no room after all wait again.
            self._waiting_for_room = deque()
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def _carry_out(self, work: Work) -> None:
        for send in work.sends:
            stream = self._streams.get(send.address)
            if stream is None:
                channel = self._network.channel(send.address)
                stream = self._streams[send.address] = AppendStream(channel, self._answered, self._ended)
            stream.put(send)
        if work.unrouted:
            self._network.seek(work.unrouted)
        if work.doubtful:
            self._network.ask_again(work.doubtful)
        for address in work.overdue:
            late = self._streams.get(address)
            if late is not None:
                task = asyncio.create_task(late.cancel())
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
        if work.wants_session and self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="open producer")
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if work.wake_at_ms is not None and self._loop is not None:
            self._alarm = self._loop.call_later(max(work.wake_at_ms - now_ms(), 0.5) / 1000, self._poll)

    def _answered(self, correlation: int, result: int | QuorumlogError) -> None:
        if isinstance(result, QuorumlogError):
            self._sender.refused(correlation, result, now_ms())
        else:
            self._sender.appended(correlation, result)
        self._schedule()

    def _ended(self, stream: AppendStream, unsent: frozenset[int]) -> None:
        if self._streams.get(stream.address) is stream:
            del self._streams[stream.address]
        self._sender.broken(stream.address, unsent, now_ms())
        self._schedule()

    async def _open(self) -> None:
        async def call(channel: NodeChannel, seconds: float) -> log_pb2.OpenProducerResponse:
            return await channel.log.OpenProducer(log_pb2.OpenProducerRequest(name=self._name), timeout=seconds)

        failures = 0
        while True:
            try:
                # Asked for twice, only a number is wasted: the later answer is the newer epoch, and it is the
                # one used.
                opened = await self._network.call_controller(call, timeout_ms=self._settings.attempt_timeout_ms)
            except QuorumlogError as error:
                failures += 1
                if not self._sender.session_refused(error):
                    break
                await asyncio.sleep(RESEND.delay_ms(failures, self._network.random) / 1000)
            else:
                self._sender.session_opened(opened.producer_id, opened.epoch)
                break
        self._opening = None
        self._schedule()

    # ---- the end

    async def flush(self) -> None:
        """Wait until every record taken in so far is delivered or given up. Errors are the deliveries' to tell."""
        self._ready()
        left = 0
        done = asyncio.Event()

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        for batch in self._sender.flush():
            left += 1
            batch.on_done.append(one_less)
        self._schedule()
        if left:
            await done.wait()

    async def close(self) -> None:
        """Flush, then end everything. What is still on its way when this is cancelled is given up."""
        if self._closed:
            return
        try:
            if self._loop is not None:
                await self.flush()
        finally:
            self._closed = True
            self._sender.end(closed())
            if self._alarm is not None:
                self._alarm.cancel()
            for future in self._waiting_for_room:
                if not future.done():
                    future.set_result(None)
            if self._opening is not None:
                self._opening.cancel()
            await asyncio.gather(*(stream.cancel() for stream in list(self._streams.values())))
            await self._network.close()
