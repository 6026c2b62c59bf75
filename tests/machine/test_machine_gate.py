"""The leader's door, rule by rule: what is new, what was appended, what is on its way, and what is refused."""

from __future__ import annotations

import pytest
from machine.logs import Log, head

from quorumlog.machine import (
    AppendGate,
    Duplicate,
    Fresh,
    MachineInvariantViolated,
    OutOfSequence,
    PartitionMachine,
    Pending,
    ProducerFenced,
)
from quorumlog.wire.header import parse_header


class Leader:
    """A leader's machine, log and gate. Proposed entries wait until ``commit``."""

    def __init__(self, max_sessions: int = 100) -> None:
        self.machine = PartitionMachine(max_sessions)
        self.log = Log()
        self.gate = AppendGate(self.machine)

    def send(
        self, records: int, producer_id: int = 0, epoch: int = 0, sequence: int = 0
    ) -> Fresh | Duplicate | Pending:
        """What a client's batch meets with; a fresh one is proposed."""
        verdict = self.gate.check(head(records, producer_id, epoch, sequence))
        if isinstance(verdict, Fresh):
            assert verdict.base_offset == self.log.end_offset
            entry = self.log.data(records, producer_id, epoch, sequence)
            self.gate.proposed(parse_header(entry.data), verdict.base_offset, entry.index)
        return verdict

    def commit(self, entries: int | None = None) -> None:
        """Apply that many of the waiting entries; all by default."""
        waiting = self.log.entries[self.machine.applied_index :]
        for entry in waiting[:entries]:
            self.machine.apply(entry)
            self.gate.applied(entry.index)


def test_fresh_batches_get_dense_offsets_before_any_is_applied() -> None:
    leader = Leader()
    assert leader.send(3) == Fresh(0)
    assert leader.send(2, producer_id=7) == Fresh(3)
    assert leader.send(1, producer_id=7, sequence=2) == Fresh(5)
    assert (leader.gate.next_offset, leader.machine.end_offset, leader.gate.in_flight) == (6, 0, 3)
    leader.commit()
    assert (leader.gate.next_offset, leader.machine.end_offset, leader.gate.in_flight) == (6, 6, 0)


def test_a_retry_in_flight_is_told_which_entry_to_wait_for() -> None:
    leader = Leader()
    leader.send(3)
    assert leader.send(2, producer_id=7) == Fresh(3)
    assert leader.send(4, producer_id=7, sequence=2) == Fresh(5)
    assert leader.send(2, producer_id=7) == Pending(index=2, base_offset=3)
    assert leader.send(4, producer_id=7, sequence=2) == Pending(index=3, base_offset=5)


def test_a_retry_of_what_is_applied_is_told_its_offset() -> None:
    leader = Leader()
    leader.send(3)
    leader.send(2, producer_id=7)
    leader.send(4, producer_id=7, sequence=2)
    leader.commit(2)
    assert leader.send(2, producer_id=7) == Duplicate(3)
    assert leader.send(4, producer_id=7, sequence=2) == Pending(index=3, base_offset=5)
    leader.commit()
    assert leader.send(4, producer_id=7, sequence=2) == Duplicate(5)


def test_without_a_session_nothing_is_a_repeat() -> None:
    leader = Leader()
    assert [leader.send(2), leader.send(2)] == [Fresh(0), Fresh(2)]


@pytest.mark.parametrize("committed", [False, True], ids=["in flight", "applied"])
def test_a_gap_in_the_sequence_is_refused(committed: bool) -> None:
    leader = Leader()
    leader.send(2, producer_id=7)
    if committed:
        leader.commit()
    with pytest.raises(OutOfSequence) as refused:
        leader.send(1, producer_id=7, sequence=3)
    assert (refused.value.expected_sequence, refused.value.base_sequence) == (2, 3)
    assert (refused.value.producer_id, refused.value.producer_epoch) == (7, 0)
    assert not refused.value.before_remembered


def test_an_unknown_producer_begins_at_0() -> None:
    with pytest.raises(OutOfSequence) as refused:
        Leader().send(1, producer_id=7, sequence=5)
    assert refused.value.expected_sequence == 0


@pytest.mark.parametrize("committed", [False, True], ids=["in flight", "applied"])
def test_a_new_epoch_begins_at_0(committed: bool) -> None:
    leader = Leader()
    leader.send(2, producer_id=7, epoch=1)
    if committed:
        leader.commit()
    with pytest.raises(OutOfSequence) as refused:
        leader.send(1, producer_id=7, epoch=2, sequence=2)
    assert refused.value.expected_sequence == 0
    assert leader.send(1, producer_id=7, epoch=2) == Fresh(2)


@pytest.mark.parametrize("committed", [False, True], ids=["in flight", "applied"])
def test_an_older_epoch_is_fenced_even_with_a_batch_that_was_appended(committed: bool) -> None:
    leader = Leader()
    leader.send(2, producer_id=7, epoch=1)
    leader.send(1, producer_id=7, epoch=5)
    if committed:
        leader.commit()
    for sequence in (0, 2):
        with pytest.raises(ProducerFenced) as refused:
            leader.send(2, producer_id=7, epoch=1, sequence=sequence)
        assert (refused.value.current_epoch, refused.value.producer_epoch) == (5, 1)


def test_the_first_batch_of_a_new_epoch_is_no_repeat_of_the_old_ones_first() -> None:
    leader = Leader()
    leader.send(2, producer_id=7, epoch=1)
    leader.commit()
    assert leader.send(2, producer_id=7, epoch=2) == Fresh(2)
    assert leader.send(2, producer_id=7, epoch=2) == Pending(index=2, base_offset=2)
    leader.commit()
    assert leader.send(2, producer_id=7, epoch=2) == Duplicate(2)


def test_an_old_epochs_batch_that_is_applied_leaves_the_new_epochs_in_flight() -> None:
    leader = Leader()
    leader.send(2, producer_id=7, epoch=1)
    leader.send(2, producer_id=7, epoch=2)
    leader.commit(1)
    assert leader.send(2, producer_id=7, epoch=2) == Pending(index=2, base_offset=2)


def test_an_epochs_first_batch_in_flight_does_not_answer_with_the_old_epochs_applied_ones() -> None:
    leader = Leader()
    leader.send(1, producer_id=7, epoch=1)
    leader.send(1, producer_id=7, epoch=1, sequence=1)
    leader.commit()
    leader.send(5, producer_id=7, epoch=2)
    with pytest.raises(OutOfSequence):
        leader.send(1, producer_id=7, epoch=2, sequence=1)


@pytest.mark.parametrize("committed", [False, True], ids=["in flight", "applied"])
def test_the_same_sequence_with_another_count_is_not_a_repeat(committed: bool) -> None:
    leader = Leader()
    leader.send(2, producer_id=7)
    if committed:
        leader.commit()
    with pytest.raises(OutOfSequence):
        leader.send(1, producer_id=7)
    with pytest.raises(OutOfSequence):
        leader.send(1, producer_id=7, sequence=1)


def test_a_repeat_older_than_what_is_remembered_is_refused_as_such() -> None:
    leader = Leader()
    for sequence in range(9):
        leader.send(1, producer_id=7, sequence=sequence)
    leader.commit()
    assert leader.send(1, producer_id=7, sequence=1) == Duplicate(1)
    with pytest.raises(OutOfSequence) as refused:
        leader.send(1, producer_id=7, sequence=0)
    assert refused.value.before_remembered


def test_any_number_of_batches_in_flight_can_be_retried() -> None:
    leader = Leader()
    for sequence in range(50):
        leader.send(1, producer_id=7, sequence=sequence)
    assert leader.send(1, producer_id=7) == Pending(index=1, base_offset=0)


def test_a_session_forgotten_with_a_batch_in_flight_goes_on() -> None:
    leader = Leader(max_sessions=1)
    leader.send(2, producer_id=1)
    leader.send(1, producer_id=2)
    leader.send(3, producer_id=1, sequence=2)
    leader.commit(2)
    assert leader.machine.sessions.get(1) is None
    assert leader.send(1, producer_id=1, sequence=5) == Fresh(6)
    leader.commit()
    assert leader.send(3, producer_id=1, sequence=2) == Duplicate(3)


def test_a_new_leadership_begins_with_what_is_applied() -> None:
    leader = Leader()
    leader.send(2, producer_id=7)
    leader.commit()
    leader.send(3, producer_id=7, sequence=2)
    leader.send(1)
    # The two in flight are lost: another leader's no-op stands in their place.
    del leader.log.entries[1:]
    leader.log.end_offset = 2
    leader.machine.apply(leader.log.noop())
    leader.gate.reset()
    assert (leader.gate.next_offset, leader.gate.in_flight) == (2, 0)
    assert leader.send(2, producer_id=7) == Duplicate(0)
    assert leader.send(3, producer_id=7, sequence=2) == Fresh(2)


def test_a_gate_that_was_not_reset_gives_no_offset_away() -> None:
    leader = Leader()
    leader.send(3)
    del leader.log.entries[:]
    leader.log.end_offset = 0
    for entry in (leader.log.noop(), leader.log.data(5)):
        leader.machine.apply(entry)
        leader.gate.applied(entry.index)
    with pytest.raises(MachineInvariantViolated, match="gate stands at offset 3"):
        leader.gate.check(head(1))
    leader.gate.reset()
    assert leader.send(1) == Fresh(5)


def test_a_machine_that_went_on_without_the_gate_is_noticed() -> None:
    leader = Leader()
    leader.send(3)
    leader.machine.apply(leader.log.entries[0])
    with pytest.raises(MachineInvariantViolated):
        leader.gate.check(head(1))
    leader.gate.applied(1)
    assert leader.send(1) == Fresh(3)


def test_losing_leadership_needs_no_call() -> None:
    leader = Leader()
    leader.send(3, producer_id=7)
    leader.send(1, producer_id=7, sequence=3)
    del leader.log.entries[:]
    leader.log.end_offset = 0
    for _ in range(4):
        entry = leader.log.data(2, producer_id=9, sequence=leader.log.end_offset)
        leader.machine.apply(entry)
        leader.gate.applied(entry.index)
    assert leader.machine.end_offset == 8


@pytest.mark.parametrize(
    ("base_offset", "index"), [(4, 3), (2, 3), (3, 1)], ids=["a hole", "twice", "an index again"]
)
def test_a_proposal_out_of_turn_is_a_bug(base_offset: int, index: int) -> None:
    leader = Leader()
    leader.send(3)
    with pytest.raises(MachineInvariantViolated):
        leader.gate.proposed(head(1), base_offset, index)


def test_checking_changes_nothing() -> None:
    leader = Leader()
    leader.send(2, producer_id=7)
    before = leader.machine.snapshot()
    for _ in range(2):
        assert leader.gate.check(head(1, producer_id=7, sequence=2)) == Fresh(2)
        assert leader.gate.check(head(1, producer_id=8)) == Fresh(2)
        with pytest.raises(OutOfSequence):
            leader.gate.check(head(1, producer_id=7, sequence=9))
    assert (leader.gate.next_offset, leader.machine.snapshot()) == (2, before)
