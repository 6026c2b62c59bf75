"""Gate and machine against a model that reads the whole log each time: exactly once, dense, whoever leads.

The world has one log. A leader proposes to its end, commits a prefix, and may be replaced by a replica that keeps
some of the uncommitted tail. Clients send, retry anything they ever sent, raise their epoch, and come back as
zombies.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from machine.logs import Log, apply_all, head

from quorumlog.machine import (
    AppendGate,
    Duplicate,
    Fresh,
    OutOfSequence,
    PartitionMachine,
    Pending,
    ProducerFenced,
)
from quorumlog.machine.sessions import REMEMBERED_BATCHES
from quorumlog.raft.types import Entry, EntryKind
from quorumlog.wire.header import BatchHeader, parse_header

PRODUCERS = st.integers(1, 2)


class Sent(NamedTuple):
    """A batch some client sent at some time."""

    records: int
    producer_id: int
    epoch: int
    sequence: int


class Refused(NamedTuple):
    """The model's word for a refusal."""

    error: type[Exception]
    number: int
    """The sequence expected, or the current epoch."""


Answer = Fresh | Duplicate | Pending | Refused


def batches_of(entries: list[Entry], producer_id: int) -> list[tuple[int, BatchHeader]]:
    """(index, head) of the producer's batches in the log."""
    heads = [(entry.index, parse_header(entry.data)) for entry in entries if entry.kind is EntryKind.DATA]
    return [(index, header) for index, header in heads if header.producer_id == producer_id]


def expected(entries: list[Entry], applied: int, sent: Sent) -> Answer:
    """What the door must say, from the log alone."""
    end = sum(parse_header(entry.data).count for entry in entries if entry.kind is EntryKind.DATA)
    history = batches_of(entries, sent.producer_id)
    current = max((header.producer_epoch for _, header in history), default=-1)
    if sent.epoch < current:
        return Refused(ProducerFenced, current)
    same = [(index, header) for index, header in history if header.producer_epoch == sent.epoch]
    next_sequence = sum(header.count for _, header in same)
    if sent.sequence == next_sequence:
        return Fresh(end)
    remembered = [each for each in same if each[0] <= applied][-REMEMBERED_BATCHES:]
    for index, header in remembered + [each for each in same if each[0] > applied]:
        if (header.base_sequence, header.count) == (sent.sequence, sent.records):
            offset = header.base_offset
            return Duplicate(offset) if index <= applied else Pending(index, offset)
    return Refused(OutOfSequence, next_sequence)


class GateAndMachine(RuleBasedStateMachine):
    """Every answer of the gate is the model's; what is in the log at the end is there once."""

    @initialize()
    def begin(self) -> None:
        self.log = Log()
        self.machine = PartitionMachine()
        self.gate = AppendGate(self.machine)
        self.sent: list[Sent] = []
        self.epochs = dict.fromkeys((1, 2), 0)
        self.sequences = dict.fromkeys((1, 2), 0)
        self.acknowledged: dict[Sent, int] = {}

    def deliver(self, sent: Sent) -> None:
        """A batch reaches the leader."""
        header = head(*sent)
        wanted = expected(self.log.entries, self.machine.applied_index, sent)
        try:
            verdict: Answer = self.gate.check(header)
        except OutOfSequence as refused:
            verdict = Refused(OutOfSequence, refused.expected_sequence)
        except ProducerFenced as refused:
            verdict = Refused(ProducerFenced, refused.current_epoch)
        assert (type(verdict), verdict) == (type(wanted), wanted)
        if isinstance(verdict, Fresh):
            entry = self.log.data(*sent)
            self.gate.proposed(parse_header(entry.data), verdict.base_offset, entry.index)
        elif isinstance(verdict, Duplicate):
            assert self.acknowledged.setdefault(sent, verdict.base_offset) == verdict.base_offset

    @rule(producer_id=PRODUCERS, records=st.integers(1, 4))
    def send(self, producer_id: int, records: int) -> None:
        """The client's next batch; it does not wait for the one before."""
        sent = Sent(records, producer_id, self.epochs[producer_id], self.sequences[producer_id])
        self.sequences[producer_id] += records
        self.sent.append(sent)
        self.deliver(sent)

    @rule(data=st.data())
    @precondition(lambda self: self.sent)
    def retry(self, data: st.DataObject) -> None:
        """Any batch ever sent comes (again), also one of a fenced epoch, also one that was lost with its leader."""
        self.deliver(data.draw(st.sampled_from(self.sent)))

    @rule(producer_id=PRODUCERS, records=st.integers(1, 4), epoch=st.integers(0, 3), sequence=st.integers(0, 9))
    def lie(self, producer_id: int, records: int, epoch: int, sequence: int) -> None:
        """A batch with numbers that nobody gave out, unless the door would let it in."""
        sent = Sent(records, producer_id, epoch, sequence)
        if not isinstance(expected(self.log.entries, self.machine.applied_index, sent), Fresh):
            self.deliver(sent)

    @rule(producer_id=PRODUCERS)
    def restart_client(self, producer_id: int) -> None:
        self.epochs[producer_id] += 1
        self.sequences[producer_id] = 0

    @rule(records=st.integers(1, 3))
    def send_without_session(self, records: int) -> None:
        verdict = self.gate.check(head(records))
        assert verdict == Fresh(self.log.end_offset)
        entry = self.log.data(records)
        self.gate.proposed(parse_header(entry.data), verdict.base_offset, entry.index)

    @rule(entries=st.integers(1, 4))
    def commit(self, entries: int) -> None:
        """A majority has some more; applied one by one or in one round, the gate is told after the round."""
        for entry in self.log.entries[self.machine.applied_index :][:entries]:
            self.machine.apply(entry)
            if entry.kind is EntryKind.DATA:
                header = parse_header(entry.data)
                sent = Sent(header.count, header.producer_id, header.producer_epoch, header.base_sequence)
                if sent.producer_id:
                    assert sent not in self.acknowledged, "appended twice"
                    self.acknowledged[sent] = header.base_offset
        self.gate.applied(self.machine.applied_index)

    @rule(kept=st.integers(0, 6), same_node=st.booleans())
    def change_leader(self, kept: int, same_node: bool) -> None:
        """Some of the uncommitted tail survives in the new leader's log; after its no-op all of it is applied."""
        del self.log.entries[self.machine.applied_index + kept :]
        self.log.term += 1
        heads = [parse_header(entry.data) for entry in self.log.entries if entry.kind is EntryKind.DATA]
        self.log.end_offset = sum(header.count for header in heads)
        self.log.noop()
        self.commit(len(self.log.entries))
        if not same_node:
            self.machine = apply_all(PartitionMachine(), self.log.entries)
            self.gate = AppendGate(self.machine)
        self.gate.reset()

    @invariant()
    def offsets_are_dense(self) -> None:
        offset = 0
        for entry in self.log.entries:
            if entry.kind is EntryKind.DATA:
                header = parse_header(entry.data)
                assert header.base_offset == offset
                offset += header.count
        assert self.gate.next_offset == offset

    @invariant()
    def every_record_is_in_the_log_once(self) -> None:
        for producer_id in (1, 2):
            seen: dict[int, int] = {}
            epoch = -1
            for _, header in batches_of(self.log.entries, producer_id):
                assert header.producer_epoch >= epoch
                epoch = header.producer_epoch
                assert header.base_sequence == seen.get(epoch, 0)
                seen[epoch] = header.base_sequence + header.count


TestGateAndMachine = GateAndMachine.TestCase
TestGateAndMachine.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
