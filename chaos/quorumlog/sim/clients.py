"""Simulated producers and readers: the client's own decisions (``quorumlog.client.policy``) over simulated
connections.

Routing, batching, sequence numbers and retries are those of the real client; what stands here is its shell, as
``quorumlog.client.producer`` is on gRPC. Every record has a value that no other has, and everything asked and
answered goes into the history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.check import EventType
from quorumlog.client.errors import NotDone, QuorumlogError, make_error
from quorumlog.client.policy.accumulator import Accumulator, ProducerSettings
from quorumlog.client.policy.backoff import LOOKUP
from quorumlog.client.policy.routing import ClusterView, PartitionView, Router, TopicView
from quorumlog.client.policy.sender import Sender
from quorumlog.machine import ProducerOpened
from quorumlog.replica import Earliest, End, Failure, Metadata, OffsetFound, Outcome, ReadResult, Reason
from quorumlog.sim.calls import Lost
from quorumlog.sim.world import MS
from quorumlog.wire.batch import decode_batch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from quorumlog.check import Recorder
    from quorumlog.client.policy.pending import PendingBatch
    from quorumlog.client.policy.sender import Send
    from quorumlog.replica import Appended
    from quorumlog.sim.calls import Calls
    from quorumlog.sim.world import World

#: How long a call other than an append may take.
CALL_TIMEOUT_MS = 1500


def address_of(node: int) -> str:
    return f"node-{node}"


def node_at(address: str) -> int:
    return int(address.removeprefix("node-"))


def partition_key(topic: str, partition: int) -> str:
    """How the history names a partition."""
    return f"{topic}/{partition}"


class Values:
    """The records' values: each has a number that no other has, and bytes that follow from it, so that a reader can
    tell a record that was changed or put together from others."""

    __slots__ = ("_filler", "_sizes", "made")

    def __init__(self, random: Random, size_max: int) -> None:
        self._filler = random.randbytes(size_max)
        self._sizes: dict[int, int] = {}
        self.made = 0

    def new(self, size: int) -> int:
        """The number of a new value of ``size`` bytes and a little."""
        self.made += 1
        self._sizes[self.made] = size
        return self.made

    def encode(self, number: int) -> bytes:
        return b"%d:" % number + self._filler[: self._sizes[number]]

    def decode(self, data: bytes | None) -> int | str:
        """The number; or, of bytes that are no value's, their text, which no sender has."""
        text = data or b""
        number = text[: max(text.find(b":"), 0)]
        if number.isdigit() and int(number) in self._sizes and self.encode(int(number)) == text:
            return int(number)
        return repr(text[:40])


class Shared:
    """What all clients of a world share. ``now_ms`` is their steady clock."""

    def __init__(
        self, world: World, calls: Calls, recorder: Recorder, values: Values, nodes: Sequence[int]
    ) -> None:
        self.world = world
        self.calls = calls
        self.recorder = recorder
        self.values = values
        self.nodes = tuple(nodes)
        self.random = world.random("clients")
        self._clients = 0
        self._processes = 0

    def new_client(self) -> int:
        self._clients += 1
        return self._clients

    def new_process(self) -> int:
        """A process id for the history; one whose operation ended unknown is never used again."""
        self._processes += 1
        return self._processes

    @property
    def now_ms(self) -> float:
        return self.world.now_us / MS

    @property
    def now_ns(self) -> int:
        return self.world.now_us * 1000


class Locator:
    """One client's way to the leaders: asks one node after another until it knows what it needs."""

    def __init__(self, shared: Shared, client: int) -> None:
        self.router = Router([address_of(node) for node in shared.nodes])
        self._shared = shared
        self._client = client
        self._asking = False
        self._failures = 0
        self._wanted: dict[str, None] = {}
        self._on_news: list[Any] = []

    def watch(self, on_news: Any) -> None:
        """Has ``on_news()`` called whenever something was learned."""
        self._on_news.append(on_news)

    def look_up(self, topics: Sequence[str]) -> None:
        """Asks for these topics soon; does nothing that is under way already."""
        self._wanted.update(dict.fromkeys(topics))
        if not self._asking and self._wanted:
            self._asking = True
            delay_ms = LOOKUP.delay_ms(self._failures, self._shared.random) if self._failures else 0.0
            self._failures += 1
            self._shared.world.after(int(delay_ms * MS), self._ask)

    def _ask(self) -> None:
        topics, self._wanted = list(self._wanted), {}
        address = self.router.whom_to_ask()[0]

        def answered(result: object) -> None:
            self._asking = False
            if isinstance(result, Metadata):
                self.router.learn(self._view(result))
                self.router.node_up(address)
            elif isinstance(result, Lost):
                self.lost(address)
            known = [topic for topic in topics if self.router.topic(topic) is not None]
            if len(known) == len(topics):
                self._failures = min(self._failures, 3)
            for tell in self._on_news:
                tell()

        self._shared.calls.call(
            self._client,
            node_at(address),
            lambda node, done: node.metadata(topics, done),
            answered,
            CALL_TIMEOUT_MS,
        )

    def _view(self, metadata: Metadata) -> ClusterView:
        return ClusterView(
            {node: address_of(node) for node in self._shared.nodes},
            {
                topic.name: TopicView(
                    topic.topic_id,
                    topic.config.max_batch_bytes,
                    tuple(PartitionView(part.leader_node, part.leader_term) for part in topic.partitions),
                )
                for topic in metadata.topics
            },
            metadata.controller_node,
        )

    def answered(self) -> None:
        """Something came of what was looked up: the next trouble is a new one."""
        self._failures = 0

    def lost(self, address: str) -> None:
        """The connection to ``address`` broke: it is tried again until it stands."""
        if not self.router.is_down(address):
            self.router.node_down(address)
            self._shared.world.after(self._shared.random.randrange(1 * MS, 20 * MS), self._reconnect, address)

    def _reconnect(self, address: str) -> None:
        if self._shared.calls.connects(node_at(address)):
            self.router.node_up(address)
            for tell in self._on_news:
                tell()
        else:
            self._shared.world.after(self._shared.random.randrange(20 * MS, 60 * MS), self._reconnect, address)


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
        self._accumulator = Accumulator(settings, shared.random)
        self._sender = Sender(settings, self._accumulator, self._locator.router, shared.random)
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
                self._sender.refused(send.correlation, _error(result), self._shared.now_ms)
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
            self._poll_soon(int(LOOKUP.delay_ms(self._open_failures, self._shared.random) * MS))

        self._shared.calls.call(
            self._client,
            node_at(address),
            lambda node, done: node.open_producer("", done),
            answered,
            CALL_TIMEOUT_MS,
        )


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
        self._go_on(int(LOOKUP.delay_ms(self._failures, self._shared.random) * MS))

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
        wait_ms = 0 if self._final else shared.random.randrange(300)

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
        self._go_on(5 * MS if batches else shared.random.randrange(10 * MS, 60 * MS))

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
            delay_us = int(LOOKUP.delay_ms(self._failures, self._shared.random) * MS)
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
        shared.world.after(shared.random.randrange(100 * MS), self._ask)

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
            shared.world.after(shared.random.randrange(50 * MS, 400 * MS), self._ask)

        shared.calls.call(
            self._client,
            node_at(address),
            lambda node, done: node.list_offsets(self._topic, self._partition, End(), done),
            answered,
            CALL_TIMEOUT_MS,
        )


def _error(failure: Failure) -> QuorumlogError:
    return make_error(
        failure.reason,
        failure.message,
        not_done=failure.outcome is Outcome.NOT_DONE,
        fields=failure.fields,
        leader=address_of(failure.leader_node) if failure.leader_node else "",
        leader_node_id=failure.leader_node,
        retry_after_ms=failure.retry_after_ms,
    )
