"""Producer sessions: what is remembered, what is forgotten first, and that all replicas forget alike."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine.logs import Log, apply_all

from quorumlog.machine import MachineInvariantViolated, PartitionMachine
from quorumlog.machine.sessions import REMEMBERED_BATCHES, ProducerSessions, RememberedBatch


def _known(machine: PartitionMachine) -> list[int]:
    """Producer ids, the one to be forgotten next first."""
    return [producer_id for producer_id, _ in machine.sessions]


def test_a_session_knows_its_epoch_its_next_sequence_and_where_its_batches_went() -> None:
    machine, log = PartitionMachine(), Log()
    machine.apply(log.data(5))
    machine.apply(log.data(2, producer_id=7, epoch=3))
    machine.apply(log.data(4, producer_id=7, epoch=3, sequence=2))
    session = machine.sessions.get(7)
    assert session is not None
    assert (session.epoch, session.next_sequence) == (3, 6)
    assert session.batches == [RememberedBatch(0, 2, 5), RememberedBatch(2, 4, 7)]


def test_producer_0_has_no_session() -> None:
    machine, log = PartitionMachine(), Log()
    machine.apply(log.data(1))
    machine.apply(log.data(1))
    assert len(machine.sessions) == 0


def test_the_last_eight_batches_are_remembered() -> None:
    machine, log = PartitionMachine(), Log()
    for sequence in range(REMEMBERED_BATCHES + 2):
        machine.apply(log.data(1, producer_id=7, sequence=sequence))
    session = machine.sessions.get(7)
    assert session is not None
    assert [batch.base_sequence for batch in session.batches] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert session.find(1, 1) is None
    assert session.find(2, 1) == RememberedBatch(2, 1, 2)
    assert session.find(2, 2) is None


def test_a_new_epoch_forgets_the_batches_of_the_old_one() -> None:
    machine, log = PartitionMachine(), Log()
    machine.apply(log.data(2, producer_id=7, epoch=1))
    machine.apply(log.data(3, producer_id=7, epoch=4))
    session = machine.sessions.get(7)
    assert session is not None
    assert (session.epoch, session.next_sequence, session.batches) == (4, 3, [RememberedBatch(0, 3, 2)])


def test_the_producer_whose_last_batch_lies_furthest_back_is_forgotten_first() -> None:
    machine, log = PartitionMachine(max_sessions=2), Log()
    machine.apply(log.data(1, producer_id=1))
    machine.apply(log.data(1, producer_id=2))
    machine.apply(log.data(1, producer_id=1, sequence=1))
    machine.apply(log.data(1, producer_id=3))
    assert _known(machine) == [1, 3]


def test_looking_a_session_up_does_not_keep_it() -> None:
    machine, log = PartitionMachine(max_sessions=2), Log()
    machine.apply(log.data(1, producer_id=1))
    machine.apply(log.data(1, producer_id=2))
    assert machine.sessions.get(1) is not None
    machine.apply(log.data(1, producer_id=3))
    assert _known(machine) == [2, 3]


def test_a_forgotten_producer_that_was_let_in_before_it_was_forgotten_is_taken_as_it_comes() -> None:
    machine, log = PartitionMachine(max_sessions=1), Log()
    machine.apply(log.data(3, producer_id=1))
    machine.apply(log.data(1, producer_id=2))
    machine.apply(log.data(2, producer_id=1, sequence=3))
    session = machine.sessions.get(1)
    assert session is not None
    assert (session.next_sequence, session.batches) == (5, [RememberedBatch(3, 2, 4)])


def test_a_table_without_room_is_refused() -> None:
    with pytest.raises(MachineInvariantViolated):
        ProducerSessions(0)


@given(st.integers(1, 4), st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3)), max_size=40))
def test_the_table_is_bounded_and_ordered_by_last_use(limit: int, sends: list[tuple[int, int]]) -> None:
    machine, log = PartitionMachine(max_sessions=limit), Log()
    model: OrderedDict[int, int] = OrderedDict()
    sequences: dict[int, int] = {}
    for producer_id, records in sends:
        sequence = sequences.get(producer_id, 0)
        machine.apply(log.data(records, producer_id=producer_id, sequence=sequence))
        sequences[producer_id] = model[producer_id] = sequence + records
        model.move_to_end(producer_id)
        while len(model) > limit:
            model.popitem(last=False)
    assert [(producer_id, session.next_sequence) for producer_id, session in machine.sessions] == list(
        model.items()
    )


def test_what_is_forgotten_next_survives_a_snapshot() -> None:
    log = Log()
    for producer_id in (3, 1, 2):
        log.data(1, producer_id=producer_id)
    log.data(1, producer_id=3, sequence=1)
    whole = apply_all(PartitionMachine(max_sessions=3), log.entries)
    restored = PartitionMachine(max_sessions=3)
    restored.restore(whole.snapshot())
    last = log.data(1, producer_id=9)
    for machine in (whole, restored):
        machine.apply(last)
        assert _known(machine) == [2, 3, 9]
