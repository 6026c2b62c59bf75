"""Simulated producers: the real client's batching, sequence numbers and retries (``quorumlog.client.policy``) over
simulated connections. What stands here is their shell, as ``quorumlog.client.producer`` is on gRPC; everything sent
and answered goes into the history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.check import EventType
from quorumlog.client.errors import NotDone, QuorumlogError
from quorumlog.client.policy.accumulator import Accumulator, ProducerSettings
from quorumlog.client.policy.backoff import LOOKUP
from quorumlog.client.policy.sender import Sender
from quorumlog.machine import ProducerOpened
from quorumlog.replica import Failure, Reason
from quorumlog.sim.calls import Lost
from quorumlog.sim.clients import (
    CALL_TIMEOUT_MS,
    Locator,
    Shared,
    address_of,
    client_error,
    node_at,
    partition_key,
)
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.client.policy.pending import PendingBatch
    from quorumlog.client.policy.sender import Send
    from quorumlog.replica import Appended


class Producer:
    """A producer with its Accumulator and Sender. ``stop`` ends it: what is on its way has an unknown outcome."""

    def __init__(self, shared: Shared, topics: Sequence[str], settings: ProducerSettings) -> None:
        self.acknowledged: dict[str, int] = {}
        """Partition -> records acknowledged."""
        self.under_way: dict[str, int] = {}
        """Partition -> records sent and not settled."""
        self._shared = shared
        self._client = shared.new_client()
        self._locator = Locator(shared, self._client)
        self._locator.watch(self._news)
        self._topics = tuple(topics)
        self._accumulator = Accumulator(settings, self._locator.random)
        self._sender = Sender(settings, self._accumulator, self._locator.router, self._locator.random)
        self._processes: dict[str, int] = {}
        self._opening = False
        self._open_failures = 0
        self._stopped = False
        self._poll_planned_us: int | None = None
        self._locator.look_up(self._topics)

    def knows(self, topic: str) -> bool:
        """``send`` is possible."""
        return self._accumulator.knows(topic)

    def send(self, topic: str, partition: int, size: int) -> int:
        """Sends one record; returns the index of its invocation in the history."""
        shared = self._shared
        number = shared.values.new(size)
        key = partition_key(topic, partition)
        process = self._processes.get(key) or self._processes.setdefault(key, shared.new_process())
        invocation = shared.recorder.invoke(shared.now_ns, process, "send", key, [number])
        try:
            batch = self._accumulator.append(
                topic, shared.values.encode(number), None, int(shared.now_ms), b"", partition
            )
        except QuorumlogError as error:
            shared.recorder.complete(shared.now_ns, invocation, EventType.FAIL, error=str(error))
            return invocation
        position = len(batch.values) - 1
        self.under_way[key] = self.under_way.get(key, 0) + 1
        batch.on_done.append(lambda: self._settled(batch, position, key, invocation))
        self._poll_soon(0)
        return invocation

    def stop(self) -> None:
        """The producer's process ends."""
        self._stopped = True

    def _settled(self, batch: PendingBatch, position: int, key: str, invocation: int) -> None:
        shared = self._shared
        error = batch.error
        self.under_way[key] -= 1
        node = node_at(batch.address) if batch.address else None
        if error is None:
            self.acknowledged[key] = self.acknowledged.get(key, 0) + 1
            shared.recorder.complete(
                shared.now_ns, invocation, EventType.OK, batch.base_offset + position, node=node
            )
            return
        kind = EventType.FAIL if isinstance(error, NotDone) else EventType.INFO
        if kind is EventType.INFO:
            self._processes.pop(key, None)
        shared.recorder.complete(shared.now_ns, invocation, kind, error=str(error), node=node)

    # --- the shell ---

    def _news(self) -> None:
        router = self._locator.router
        for topic in self._topics:
            view = router.topic(topic)
            if view is not None:
                self._accumulator.add_topic(topic, len(view.partitions), view.max_batch_bytes)
        if any(not self._accumulator.knows(topic) for topic in self._topics):
            self._locator.look_up([topic for topic in self._topics if not self._accumulator.knows(topic)])
        self._poll_soon(0)

    def _poll_soon(self, delay_us: int) -> None:
        at_us = self._shared.world.now_us + delay_us
        if self._poll_planned_us is None or at_us < self._poll_planned_us:
            self._poll_planned_us = at_us
            self._shared.world.after(delay_us, self._poll, at_us)

    def _poll(self, planned_us: int) -> None:
        if planned_us != self._poll_planned_us or self._stopped:
            return
        self._poll_planned_us = None
        work = self._sender.poll(self._shared.now_ms)
        for send in work.sends:
            self._attempt(send)
        if work.unrouted or work.doubtful:
            self._locator.look_up(sorted({*work.unrouted, *work.doubtful}))
        for address in work.overdue:
            self._broke(address, ())
        if work.wants_session:
            self._open_session()
        if work.wake_at_ms is not None:
            self._poll_soon(max(1, int((work.wake_at_ms - self._shared.now_ms) * MS) + 1))

    def _attempt(self, send: Send) -> None:
        def answered(result: Appended | Failure | Lost) -> None:
            if self._stopped:
                return
            if isinstance(result, Lost):
                self._broke(send.address, () if result.sent else (send.correlation,))
            elif isinstance(result, Failure):
                self._sender.refused(send.correlation, client_error(result), self._shared.now_ms)
            else:
                self._locator.answered()
                self._sender.appended(send.correlation, result.base_offset)
            self._poll_soon(0)

        self._shared.calls.call(
            self._client,
            node_at(send.address),
            lambda node, done: node.append(send.topic, send.partition, send.batch, send.timeout_ms, done),
            answered,
            send.timeout_ms + 500,
        )

    def _broke(self, address: str, unsent: Sequence[int]) -> None:
        self._locator.lost(address)
        self._sender.broken(address, unsent, self._shared.now_ms)
        self._poll_soon(0)

    def _open_session(self) -> None:
        if self._opening:
            return
        self._opening = True
        router = self._locator.router
        address = router.controller() or router.whom_to_ask()[0]

        def answered(result: ProducerOpened | Failure | Lost) -> None:
            self._opening = False
            if isinstance(result, ProducerOpened):
                self._open_failures = 0
                self._sender.session_opened(result.producer_id, result.epoch)
                self._poll_soon(0)
                return
            self._open_failures += 1
            if isinstance(result, Lost):
                self._locator.lost(address)
            elif result.reason in (Reason.NOT_LEADER, Reason.NO_QUORUM):
                router.controller_refused(address, address_of(result.leader_node) if result.leader_node else "")
            self._poll_soon(int(LOOKUP.delay_ms(self._open_failures, self._locator.random) * MS))

        self._shared.calls.call(
            self._client,
            node_at(address),
            lambda node, done: node.open_producer("", done),
            answered,
            CALL_TIMEOUT_MS,
        )
