"""The load generators: records as fast as the producer takes them, records awaited one by one, records at a steady
rate.
"""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quorumlog.client.errors import BufferFull, QuorumlogError
from quorumlog.cluster.bench.ledger import numbered_value, padding_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.client import Delivery, Producer

#: Records sent between two looks at the clock and turns of the event loop.
SLICE = 256


@dataclass(slots=True)
class Sent:
    """What became of numbered records; ``elapsed_s`` from the first sending to the last acknowledgement."""

    acknowledged: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    elapsed_s: float = 0.0


async def settle(deliveries: Sequence[Delivery], first_number: int, into: Sent) -> None:
    """Waits for each delivery and writes down its outcome."""
    for number, delivery in enumerate(deliveries, first_number):
        try:
            await delivery
        except QuorumlogError:
            into.unknown.append(number)
        else:
            into.acknowledged.append(number)


async def flood(producer: Producer, topic: str, value_bytes: int, seconds: float) -> Sent:
    """Records of ``value_bytes``, as fast as the producer takes them for ``seconds``, then all awaited.

    The cycle collector rests meanwhile: this generator keeps every delivery to check it afterwards, which no
    application does, and each full collection would walk through all of them.
    """
    await producer.prepare(topic)
    gc.disable()
    try:
        return await _flood(producer, topic, value_bytes, seconds)
    finally:
        gc.enable()


async def _flood(producer: Producer, topic: str, value_bytes: int, seconds: float) -> Sent:
    padding = padding_for(value_bytes)
    deliveries: list[Delivery] = []
    keep = deliveries.append
    send = producer.send_nowait
    sent = Sent()
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for _ in range(SLICE):
            value = numbered_value(len(deliveries), padding)
            try:
                keep(send(topic, value))
            except BufferFull:
                keep(await producer.send(topic, value))
        await asyncio.sleep(0)
    await producer.flush()
    sent.elapsed_s = time.perf_counter() - begin
    await settle(deliveries, 0, sent)
    return sent


async def awaited_one_by_one(
    producer: Producer, topic: str, value_bytes: int, tasks: int, seconds: float
) -> tuple[Sent, list[float]]:
    """``tasks`` tasks that each await a record's acknowledgement before they send the next; with every wait in
    seconds.
    """
    await producer.prepare(topic)
    padding = padding_for(value_bytes)
    waits: list[float] = []
    sent = Sent()
    numbers = iter(range(1 << 62))
    begin = time.perf_counter()

    async def write() -> None:
        while (start := time.perf_counter()) - begin < seconds:
            number = next(numbers)
            try:
                await (await producer.send(topic, numbered_value(number, padding)))
            except QuorumlogError:
                sent.unknown.append(number)
            else:
                sent.acknowledged.append(number)
                waits.append(time.perf_counter() - start)

    await asyncio.gather(*(write() for _ in range(tasks)))
    sent.elapsed_s = time.perf_counter() - begin
    return sent, waits


class SteadyLoad:
    """Numbered records to partition 0 at a steady rate, whatever becomes of them; each acknowledgement's moment
    kept.

    Sends do not wait for one another: while no leader answers, records keep coming, as they would.
    """

    def __init__(self, producer: Producer, topic: str, per_second: float, value_bytes: int = 100) -> None:
        self._producer = producer
        self._topic = topic
        self._interval_s = 1 / per_second
        self._padding = padding_for(value_bytes)
        self._tasks: set[asyncio.Task[None]] = set()
        self._generator: asyncio.Task[None] | None = None
        self._stopping = False
        self.sent = Sent()
        #: (sent at, acknowledged at), in order of the acknowledgements; ``time.perf_counter`` seconds.
        self.acknowledgements: list[tuple[float, float]] = []
        self._acknowledged = asyncio.Condition()

    def start(self) -> None:
        self._generator = asyncio.create_task(self._generate())

    async def stop(self) -> None:
        """Sends no more; waits for the outcome of all that were sent."""
        self._stopping = True
        if self._generator is not None:
            await self._generator
        await asyncio.gather(*self._tasks)

    async def first_acknowledged_of_those_sent_after(self, moment: float) -> float:
        """When the first record that was sent at ``moment`` or later was acknowledged; waits for it."""
        place = 0
        async with self._acknowledged:
            while True:
                for sent_at, acknowledged_at in self.acknowledgements[place:]:
                    if sent_at >= moment:
                        return acknowledged_at
                place = len(self.acknowledgements)
                await self._acknowledged.wait()

    async def _generate(self) -> None:
        await self._producer.prepare(self._topic)
        due = time.perf_counter()
        number = 0
        while not self._stopping:
            # Handed over here and not by a task each: tasks that are late together may overtake one another, and
            # the numbers would not ascend.
            sent_at = time.perf_counter()
            delivery = self._producer.send_nowait(self._topic, numbered_value(number, self._padding), partition=0)
            task = asyncio.create_task(self._settle(number, sent_at, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            number += 1
            due += self._interval_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))

    async def _settle(self, number: int, sent_at: float, delivery: Delivery) -> None:
        try:
            await delivery
        except QuorumlogError:
            self.sent.unknown.append(number)
            return
        self.sent.acknowledged.append(number)
        async with self._acknowledged:
            self.acknowledgements.append((sent_at, time.perf_counter()))
            self._acknowledged.notify_all()
