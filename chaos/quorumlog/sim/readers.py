"""Simulated readers: they follow a partition, read it whole in the end, or ask for its linearizable end; everything
asked and answered goes into the history.
"""

from __future__ import annotations

from typing import Any

from quorumlog.check import EventType
from quorumlog.client.policy.backoff import LOOKUP
from quorumlog.replica import Earliest, End, Failure, OffsetFound, ReadResult, Reason
from quorumlog.sim.calls import Lost
from quorumlog.sim.clients import CALL_TIMEOUT_MS, Locator, Shared, address_of, node_at, partition_key
from quorumlog.sim.world import MS
from quorumlog.wire.batch import decode_batch


class Reader:
    """Follows one partition from its start. With ``final`` it is the fresh client at a run's end: it reads to the
    end and stops, and ``finished`` says so."""

    def __init__(self, shared: Shared, topic: str, partition: int, *, max_bytes: int, final: bool = False) -> None:
        self.finished = False
        self.position = 0
        self.end: int | None = None
        """With ``final``: the linearizable end that must be reached."""
        self._shared = shared
        self._client = shared.new_client()
        self._process = shared.new_process()
        self._locator = Locator(shared, self._client)
        self._topic = topic
        self._partition = partition
        self._key = partition_key(topic, partition)
        self._max_bytes = max_bytes
        self._final = final
        self._stopped = False
        self._failures = 0
        self._locator.look_up([topic])
        if final:
            self._find_end()
        else:
            self._assign(0)
            self._go_on(0)

    def stop(self) -> None:
        self._stopped = True

    def _assign(self, offset: int) -> None:
        shared = self._shared
        self.position = offset
        if not self._final:
            invocation = shared.recorder.invoke(shared.now_ns, self._process, "assign", self._key, offset)
            shared.recorder.complete(shared.now_ns, invocation, EventType.OK, offset)

    def _go_on(self, delay_us: int) -> None:
        self._shared.world.after(delay_us, self._read)

    def _retry(self) -> None:
        self._failures += 1
        self._locator.look_up([self._topic])
        self._go_on(int(LOOKUP.delay_ms(self._failures, self._locator.random) * MS))

    def _leader(self) -> str | None:
        return self._locator.router.leader(self._topic, self._partition)

    def _failed(self, address: str, result: Failure | Lost) -> None:
        if isinstance(result, Lost):
            self._locator.lost(address)
            return
        if result.reason is Reason.NOT_LEADER:
            hint = address_of(result.leader_node) if result.leader_node else ""
            self._locator.router.refused(self._topic, self._partition, address, hint)

    # --- reading ---

    def _read(self) -> None:
        if self._stopped:
            return
        address = self._leader()
        if address is None:
            self._retry()
            return
        shared = self._shared
        operation = "final_read" if self._final else "read"
        invocation = shared.recorder.invoke(shared.now_ns, self._process, operation, self._key, self.position)
        offset = self.position
        wait_ms = 0 if self._final else self._locator.random.randrange(300)

        def answered(result: ReadResult | Failure | Lost) -> None:
            if isinstance(result, ReadResult):
                self._failures = 0
                self._locator.answered()
                self._took(invocation, offset, result, node_at(address))
                return
            error = "lost" if isinstance(result, Lost) else result.reason.name
            shared.recorder.complete(shared.now_ns, invocation, EventType.FAIL, error=error)
            self._failed(address, result)
            if isinstance(result, Failure) and result.reason is Reason.OFFSET_OUT_OF_RANGE:
                self._find_start()
            else:
                self._retry()

        shared.calls.call(
            self._client,
            node_at(address),
            lambda node, done: node.read(self._topic, self._partition, offset, self._max_bytes, wait_ms, done),
            answered,
            CALL_TIMEOUT_MS,
        )

    def _took(self, invocation: int, offset: int, result: ReadResult, node: int) -> None:
        shared = self._shared
        decode = shared.values.decode
        batches = []
        for batch in result.batches:
            records = [record for record in decode_batch(batch) if record.offset >= offset]
            if records:
                batches.append([records[0].offset, [decode(record.value) for record in records]])
                self.position = records[-1].offset + 1
        value = {"start": result.start_offset, "end": result.end_offset, "batches": batches}
        shared.recorder.complete(shared.now_ns, invocation, EventType.OK, value, node=node)
        if self._final and self.position >= max(self.end or 0, result.end_offset):
            self.finished = True
            return
        self._go_on(5 * MS if batches else self._locator.random.randrange(10 * MS, 60 * MS))

    # --- looking up offsets ---

    def _find_start(self) -> None:
        self._find(
            Earliest(), lambda found: self._assign(max(found.start_offset, min(self.position, found.end_offset)))
        )

    def _find_end(self) -> None:
        def found(offsets: OffsetFound) -> None:
            self.end = offsets.end_offset
            self._assign(offsets.start_offset)

        self._find(End(), found)

    def _find(self, position: Earliest | End, found: Any) -> None:
        if self._stopped:
            return
        address = self._leader()

        def again() -> None:
            self._failures += 1
            self._locator.look_up([self._topic])
            delay_us = int(LOOKUP.delay_ms(self._failures, self._locator.random) * MS)
            self._shared.world.after(delay_us, self._find, position, found)

        if address is None:
            again()
            return

        def answered(result: OffsetFound | Failure | Lost) -> None:
            if isinstance(result, OffsetFound):
                found(result)
                self._go_on(0)
            else:
                self._failed(address, result)
                again()

        self._shared.calls.call(
            self._client,
            node_at(address),
            lambda node, done: node.list_offsets(self._topic, self._partition, position, done),
            answered,
            CALL_TIMEOUT_MS,
        )


class TailProbe:
    """Asks for the linearizable end of one partition now and then."""

    def __init__(self, shared: Shared, topic: str, partition: int) -> None:
        self._shared = shared
        self._client = shared.new_client()
        self._locator = Locator(shared, self._client)
        self._process = shared.new_process()
        self._topic = topic
        self._partition = partition
        self._stopped = False
        self._locator.look_up([topic])
        shared.world.after(self._locator.random.randrange(100 * MS), self._ask)

    def stop(self) -> None:
        self._stopped = True

    def _ask(self) -> None:
        if self._stopped:
            return
        shared = self._shared
        address = self._locator.router.leader(self._topic, self._partition)
        if address is None:
            self._locator.look_up([self._topic])
            shared.world.after(50 * MS, self._ask)
            return
        key = partition_key(self._topic, self._partition)
        invocation = shared.recorder.invoke(shared.now_ns, self._process, "end", key)

        def answered(result: OffsetFound | Failure | Lost) -> None:
            if isinstance(result, OffsetFound):
                self._locator.answered()
                shared.recorder.complete(
                    shared.now_ns, invocation, EventType.OK, result.end_offset, node=node_at(address)
                )
            else:
                error = "lost" if isinstance(result, Lost) else result.reason.name
                shared.recorder.complete(shared.now_ns, invocation, EventType.FAIL, error=error)
                if isinstance(result, Lost):
                    self._locator.lost(address)
                elif result.reason is Reason.NOT_LEADER:
                    hint = address_of(result.leader_node) if result.leader_node else ""
                    self._locator.router.refused(self._topic, self._partition, address, hint)
                    self._locator.look_up([self._topic])
            shared.world.after(self._locator.random.randrange(50 * MS, 400 * MS), self._ask)

        shared.calls.call(
            self._client,
            node_at(address),
            lambda node, done: node.list_offsets(self._topic, self._partition, End(), done),
            answered,
            CALL_TIMEOUT_MS,
        )
