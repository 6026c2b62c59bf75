"""Producers: the real one (``quorumlog.client.Producer``), idempotent, with several records outstanding; each
record is one ``send`` of the history.

A record's fate is learned in the order of its partition, by one task for each partition that waits for the oldest
and finds those behind it settled as well: so writing down a record's fate costs microseconds, not a task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.chaos.workloads.telling import Teller
from quorumlog.chaos.workloads.values import HEAD_BYTES, encode
from quorumlog.client import Delivery, Producer, QuorumlogError
from quorumlog.client.policy.partitioner import partition_of_key

if TYPE_CHECKING:
    from quorumlog.chaos.workloads.ground import Ground, Pace, TopicPlan

#: So long a record is tried; shorter than a fault lasts, so that unknown outcomes are met.
DELIVERY_TIMEOUT_MS = 4_000.0
#: Records on their way, over all partitions of one producer.
WINDOW = 2_000
#: Different keys: enough for all partitions to be used alike.
_KEYS = 64


class Sizes(NamedTuple):
    """How large records are: up to twice ``usual_bytes``, and one in ``large_every`` up to ``large_bytes``."""

    usual_bytes: int
    large_bytes: int = 0
    large_every: int = 0


class _Sent(NamedTuple):
    invocation: int
    delivery: Delivery


class _Line:
    """The records of one producer to one partition, oldest first; successive sends of one process."""

    def __init__(self, ground: Ground, key: str) -> None:
        self.teller = Teller(ground, key)
        self.waiting: deque[_Sent] = deque()
        self.more = asyncio.Event()


class ProducerClient:
    """One producer of the load: sends until the ground stops, then flushes."""

    def __init__(
        self, ground: Ground, topic: TopicPlan, pace: Pace, sizes: Sizes, compression: str, name: str = ""
    ) -> None:
        self._ground = ground
        self._topic = topic
        self._pace = pace
        self._sizes = sizes
        self._compression = compression
        self._name = name
        self._lines = [_Line(ground, key) for key in topic.partition_keys()]
        self._outstanding = 0
        self._room = asyncio.Event()

    async def run(self) -> None:
        """The client's life. A producer that was fenced by another of its name is followed by a new one."""
        settling = [asyncio.create_task(self._settle(line)) for line in self._lines]
        try:
            while not self._ground.stopping.is_set():
                async with Producer(
                    self._ground.servers,
                    name=self._name,
                    compression=self._compression,
                    delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
                ) as producer:
                    await self._send_all(producer)
            while self._outstanding:
                self._room.clear()
                await self._room.wait()
        finally:
            for task in settling:
                task.cancel()
            await asyncio.gather(*settling, return_exceptions=True)

    async def _send_all(self, producer: Producer) -> None:
        ground = self._ground
        while not ground.stopping.is_set():
            while self._outstanding >= WINDOW:
                self._room.clear()
                await self._room.wait()
            await self._pace.turn()
            if not await self._send(producer):
                return

    async def _send(self, producer: Producer) -> bool:
        """Sends one record; False when this producer is of no more use."""
        ground, topic = self._ground, self._topic
        number = ground.new_number()
        key = b"key %d" % ground.random.randrange(_KEYS)
        partition = partition_of_key(key, topic.partitions)
        line = self._lines[partition]
        invocation = line.teller.begin("send", [number])
        try:
            delivery = await producer.send(topic.name, encode(number, self._size()), key)
        except QuorumlogError as error:
            # The record was not taken in, so nothing of it left.
            line.teller.unanswered(invocation, error)
            # Not at full speed into the next refusal.
            return not await ground.pause(0.02)
        self._outstanding += 1
        line.waiting.append(_Sent(invocation, delivery))
        line.more.set()
        return True

    def _size(self) -> int:
        sizes, random = self._sizes, self._ground.random
        if sizes.large_every and not random.randrange(sizes.large_every):
            # Now and then a little too large: the client must say so.
            return random.randrange(sizes.large_bytes // 2, sizes.large_bytes + HEAD_BYTES)
        return random.randrange(2 * sizes.usual_bytes + 1)

    async def _settle(self, line: _Line) -> None:
        """Writes down what became of each record of one partition."""
        waiting, teller = line.waiting, line.teller
        while True:
            while waiting:
                sent = waiting.popleft()
                try:
                    position = await sent.delivery
                except QuorumlogError as error:
                    teller.refused(sent.invocation, error)
                else:
                    teller.end(sent.invocation, value=position.offset)
                self._outstanding -= 1
                self._room.set()
            line.more.clear()
            await line.more.wait()


async def append_one(ground: Ground, producer: Producer, topic: TopicPlan, partition: int) -> str:
    """One acknowledged append, by a producer that stands for a fresh client; "" or what it ended with."""
    teller = Teller(ground, topic.key(partition))
    number = ground.new_number()
    invocation = teller.begin("send", [number])
    try:
        position = await producer.append(topic.name, encode(number, 16), partition=partition)
    except QuorumlogError as error:
        teller.refused(invocation, error)
        return f"an append to {topic.name}/{partition} ended with {error.reason.name}"
    teller.end(invocation, value=position.offset)
    return ""
