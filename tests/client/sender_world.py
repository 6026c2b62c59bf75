"""A world for the sender without a network: streams that keep their order until they break, nodes that append,
refuse, fall silent or do late what nobody waits for any more, and a log that shows what really happened.

The node's rules for sequences are the documented ones: a batch is appended right after its predecessor, a repeat
of one of the last 8 is answered with its offset, a new session begins at 0, everything else is OUT_OF_SEQUENCE.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from quorumlog.client.errors import NotDone, OutcomeUnknown, QuorumlogError, Reason, make_error
from quorumlog.client.policy.accumulator import Accumulator, ProducerSettings
from quorumlog.client.policy.pending import State
from quorumlog.client.policy.routing import ClusterView, PartitionView, Router, TopicView
from quorumlog.client.policy.sender import Sender
from quorumlog.wire.batch import decode_batch, validate

if TYPE_CHECKING:
    from quorumlog.client.policy.pending import PendingBatch
    from quorumlog.client.policy.sender import Send

ADDRESSES = {1: "a:1", 2: "b:2"}
PARTITIONS = 2


class ModelPartition:
    """What a partition really holds."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.sessions: dict[tuple[int, int], tuple[int, deque[tuple[int, int, int]]]] = {}

    def append(self, data: bytes) -> int | QuorumlogError:
        """The base offset, or the refusal."""
        header = validate(data, 1 << 20)
        if header.producer_id:
            session = (header.producer_id, header.producer_epoch)
            due, recent = self.sessions.get(session, (0, deque(maxlen=8)))
            for sequence, count, offset in recent:
                if (sequence, count) == (header.base_sequence, header.count):
                    return offset
            if header.base_sequence != due:
                return make_error(Reason.OUT_OF_SEQUENCE, "out of sequence", not_done=True)
            recent.append((header.base_sequence, header.count, len(self.values)))
            self.sessions[session] = (due + header.count, recent)
        offset = len(self.values)
        self.values += [record.value or b"" for record in decode_batch(data)]
        return offset


@dataclass
class Stream:
    """One stream: requests under way, answers under way."""

    requests: deque[Send] = field(default_factory=deque)
    answers: deque[tuple[int, int | QuorumlogError]] = field(default_factory=deque)


class World:
    """One producer, two nodes, and time that passes when told."""

    def __init__(self, *, idempotent: bool = True, seed: int = 0) -> None:
        self.settings = ProducerSettings(
            idempotent=idempotent, batch_records=3, delivery_timeout_ms=4000.0, attempt_timeout_ms=400.0
        )
        random = Random(seed)
        self.router = Router(list(ADDRESSES.values()))
        self.accumulator = Accumulator(self.settings, random)
        self.sender = Sender(self.settings, self.accumulator, self.router, random)
        self.accumulator.add_topic("t", PARTITIONS, 1 << 20)
        self.partitions = [ModelPartition() for _ in range(PARTITIONS)]
        self.leaders = [1] * PARTITIONS
        self.terms = [1] * PARTITIONS
        self.streams = {address: Stream() for address in ADDRESSES.values()}
        #: Appends that a node may still do although nobody waits for them.
        self.limbo: list[tuple[int, bytes]] = []
        self.now_ms = 1000.0
        self.sessions = 0
        self.wants_session = False
        self.sent: list[tuple[bytes, int, PendingBatch, int]] = []
        self.learn()

    # ---- the application

    def send(self, partition: int) -> None:
        value = b"%d" % len(self.sent)
        batch = self.accumulator.append("t", value, None, 1, b"", partition)
        self.sent.append((value, partition, batch, len(batch.values) - 1))

    # ---- the way

    def poll(self) -> list[Send]:
        work = self.sender.poll(self.now_ms)
        for send in work.sends:
            self.streams[send.address].requests.append(send)
        for address in work.overdue:
            self.break_stream(address, arrive=0, leave=0)
        self.wants_session = work.wants_session
        return work.sends

    def open_session(self) -> None:
        if self.wants_session:
            self.sessions += 1
            self.sender.session_opened(self.sessions, 0)
            self.wants_session = False

    def break_stream(self, address: str, arrive: int, leave: int) -> None:
        """The connection breaks: ``arrive`` more requests are still done, ``leave`` at the end never left."""
        stream = self.streams[address]
        requests = list(stream.requests)
        leave = min(leave, len(requests))
        unsent = requests[len(requests) - leave :]
        left = requests[: len(requests) - leave]
        for send in left[:arrive]:
            self._do(address, send)
        self.limbo += [(send.partition, send.batch) for send in left[arrive:]]
        stream.requests.clear()
        stream.answers.clear()
        self.sender.broken(address, frozenset(send.correlation for send in unsent), self.now_ms)

    def _do(self, address: str, send: Send) -> int | QuorumlogError:
        if ADDRESSES[self.leaders[send.partition]] != address:
            return make_error(
                Reason.NOT_LEADER,
                "not leader",
                not_done=True,
                leader=ADDRESSES[self.leaders[send.partition]],
            )
        return self.partitions[send.partition].append(send.batch)

    # ---- the nodes

    def serve(self, address: str) -> None:
        stream = self.streams[address]
        if stream.requests:
            send = stream.requests.popleft()
            stream.answers.append((send.correlation, self._do(address, send)))

    def refuse(self, address: str, reason: Reason, *, not_done: bool, do_it: bool) -> None:
        """Answer with an error; one that leaves the outcome open may stand for an append done, now or later."""
        stream = self.streams[address]
        if stream.requests:
            send = stream.requests.popleft()
            if not not_done:
                if do_it:
                    self._do(address, send)
                else:
                    self.limbo.append((send.partition, send.batch))
            stream.answers.append((send.correlation, make_error(reason, "refused", not_done=not_done)))

    def answer(self, address: str, which: int) -> None:
        stream = self.streams[address]
        if stream.answers:
            which %= len(stream.answers)
            correlation, result = stream.answers[which]
            del stream.answers[which]
            if isinstance(result, QuorumlogError):
                self.sender.refused(correlation, result, self.now_ms)
            else:
                self.sender.appended(correlation, result)

    def do_late(self, which: int) -> None:
        if self.limbo:
            partition, data = self.limbo.pop(which % len(self.limbo))
            self.partitions[partition].append(data)

    def elect(self, partition: int, *, learn: bool) -> None:
        self.leaders[partition] = 3 - self.leaders[partition]
        self.terms[partition] += 1
        if learn:
            self.learn()

    def learn(self) -> None:
        views = tuple(PartitionView(leader, term) for leader, term in zip(self.leaders, self.terms, strict=True))
        self.router.learn(ClusterView(ADDRESSES, {"t": TopicView(1, 1 << 20, views)}, 1))

    def forget_sessions(self, partition: int) -> None:
        """The node forgets its producers; not while a session's first batch is unsettled or on its way, given up or
        not, because that would be taken for new (which a real node prevents by remembering many more producers than
        there are: ``quorumlog.machine.sessions`` says what the bound costs)."""
        batches = list(self.accumulator.unsettled())
        under_way = [data for number, data in self.limbo if number == partition]
        for stream in self.streams.values():
            under_way += [send.batch for send in stream.requests if send.partition == partition]
        first = [each for each in batches if each.session is not None and each.base_sequence == 0]
        if not first and 0 not in [validate(data, 1 << 20).base_sequence for data in under_way]:
            self.partitions[partition].sessions.clear()

    # ---- what must hold

    def heal(self) -> None:
        """No more faults: everything must come to its end."""
        for _ in range(400):
            self.now_ms += 20.0
            self.learn()
            self.poll()
            self.open_session()
            for address in self.streams:
                while self.streams[address].requests:
                    self.serve(address)
                while self.streams[address].answers:
                    self.answer(address, 0)
            if not list(self.accumulator.unsettled()):
                return
        raise AssertionError(f"unsettled: {[each.state for each in self.accumulator.unsettled()]}")

    def check(self) -> None:
        """Each record has the fate its promise tells, and those delivered stand in the order they were sent in."""
        last = [-1] * PARTITIONS
        for partition in self.partitions:
            assert len(set(partition.values)) == len(partition.values), f"twice: {partition.values}"
        for value, number, batch, index in self.sent:
            values = self.partitions[number].values
            if batch.state is not State.DONE:
                continue
            if batch.error is None:
                offset = batch.base_offset + index
                assert values[offset] == value, f"{value!r} is not at {offset}: {values}"
                assert offset > last[number], f"{value!r} at {offset} stands before an earlier record: {values}"
                last[number] = offset
            elif isinstance(batch.error, NotDone):
                assert value not in values, f"{value!r} was said not to be there ({batch.error!r}): {values}"
            else:
                assert isinstance(batch.error, OutcomeUnknown)
        unsettled = sum(batch.size - 64 for batch in self.accumulator.unsettled())
        assert self.accumulator.buffered_bytes == unsettled
