"""The rules of the sender one by one: when a batch leaves, what is sent again, what an error promises."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from client.sender_world import World

from quorumlog.client.errors import (
    BufferFull,
    NoQuorum,
    NotDone,
    OutcomeUnknown,
    OutOfSequence,
    ProducerFenced,
    Reason,
    TooLarge,
    TopicNotReady,
    UnknownPartition,
    make_error,
)
from quorumlog.client.policy.accumulator import Accumulator, ProducerSettings
from quorumlog.client.policy.partitioner import partition_of_key
from quorumlog.client.policy.pending import State
from quorumlog.client.policy.sender import DOUBT_AFTER_MS, MAX_IN_FLIGHT
from quorumlog.wire.batch import decode_batch
from quorumlog.wire.header import parse_header


def ready(*, idempotent: bool = True) -> World:
    """A world whose producer has its session."""
    world = World(idempotent=idempotent)
    world.poll()
    world.wants_session = True
    world.open_session()
    return world


def settle(world: World, address: str = "a:1") -> None:
    while world.streams[address].requests:
        world.serve(address)
    while world.streams[address].answers:
        world.answer(address, 0)


class TestBatching:
    def test_one_record_alone_leaves_at_once(self) -> None:
        world = ready()
        world.send(0)
        assert len(world.poll()) == 1

    def test_records_gather_while_one_batch_is_in_flight_and_leave_with_its_answer(self) -> None:
        world = ready()
        world.send(0)
        world.poll()
        world.send(0)
        world.send(0)
        assert world.poll() == []
        settle(world)
        (send,) = world.poll()
        assert parse_header(send.batch).count == 2

    def test_full_batches_go_out_beside_others_up_to_the_limit(self) -> None:
        world = ready()
        for _ in range(3 * (MAX_IN_FLIGHT + 3)):
            world.send(0)
        assert len(world.poll()) == MAX_IN_FLIGHT
        assert world.poll() == []

    def test_without_a_session_one_batch_is_in_flight_at_a_time(self) -> None:
        world = ready(idempotent=False)
        for _ in range(9):
            world.send(0)
        assert len(world.poll()) == 1

    def test_partitions_do_not_wait_for_one_another(self) -> None:
        world = ready()
        world.send(0)
        world.poll()
        world.send(1)
        assert [send.partition for send in world.poll()] == [1]

    def test_linger_keeps_a_batch_back_and_flush_lets_it_go(self) -> None:
        settings = ProducerSettings(linger_ms=20.0, idempotent=False)
        world = World()
        accumulator = Accumulator(settings, Random(1))
        accumulator.add_topic("t", 2, 1 << 20)
        world.settings, world.accumulator = settings, accumulator
        world.sender = type(world.sender)(settings, accumulator, world.router, Random(1))
        world.send(0)
        assert world.poll() == []
        world.now_ms += 19.0
        assert world.poll() == []
        world.now_ms += 1.0
        assert len(world.poll()) == 1
        world.send(1)
        assert world.poll() == []
        world.sender.flush()
        assert len(world.poll()) == 1
        settle(world)
        world.send(1)
        world.sender.flush()
        assert len(world.poll()) == 1, "flush before the first poll counts too"

    def test_nothing_is_sent_before_there_is_a_session(self) -> None:
        world = World()
        world.send(0)
        assert world.poll() == []
        assert world.wants_session
        world.open_session()
        assert len(world.poll()) == 1

    def test_a_partition_without_a_leader_is_asked_for(self) -> None:
        world = ready()
        world.router.node_down("a:1")
        world.send(0)
        work = world.sender.poll(world.now_ms)
        assert (work.sends, work.unrouted) == ([], ["t"])
        world.router.node_up("a:1")
        assert len(world.poll()) == 1


class TestIntake:
    def accumulator(self, **settings: Any) -> Accumulator:
        accumulator = Accumulator(ProducerSettings(**settings), Random(1))
        accumulator.add_topic("t", 4, 1000)
        return accumulator

    def test_the_buffer_has_an_end(self) -> None:
        accumulator = self.accumulator(max_buffer_bytes=300)
        accumulator.append("t", b"x" * 200, None, 1, b"", 0)
        with pytest.raises(BufferFull):
            accumulator.append("t", b"x" * 200, None, 1, b"", 0)
        with pytest.raises(TooLarge):
            accumulator.append("t", b"x" * 300, None, 1, b"", 0)

    def test_a_record_larger_than_the_topic_allows_is_refused_at_once(self) -> None:
        accumulator = self.accumulator()
        accumulator.append("t", b"x" * (1000 - 64 - 16), None, 1, b"", 0)
        with pytest.raises(TooLarge):
            accumulator.append("t", b"x" * (1000 - 64 - 15), None, 1, b"", 0)
        assert accumulator.buffered_bytes == 1000 - 64

    def test_no_batch_outgrows_its_size_its_count_or_the_reach_of_its_timestamps(self) -> None:
        accumulator = self.accumulator(batch_bytes=400, batch_records=5)
        sizes = []
        for number in range(50):
            batch = accumulator.append("t", b"x" * (number % 7) * 10, None, number % 2 << 40, b"", 0)
            sizes.append(batch.size)
            assert len(batch.values) <= 5
            assert max(batch.timestamps_ms) - min(batch.timestamps_ms) < 1 << 32
        assert max(sizes) <= 400

    def test_the_encoded_batch_is_never_larger_than_was_counted(self) -> None:
        accumulator = self.accumulator()
        batch = accumulator.append("t", b"value", b"key", 1, b"blob", 0)
        accumulator.append("t", None, None, 2, b"", 0)
        assert len(batch.prepare(ProducerSettings().codec)) <= batch.size
        records = decode_batch(batch.data or b"")
        assert [(record.key, record.value, record.header_blob) for record in records] == [
            (b"key", b"value", b"blob"),
            (None, None, b""),
        ]

    def test_a_late_header_gives_earlier_records_an_empty_one(self) -> None:
        accumulator = self.accumulator()
        accumulator.append("t", b"a", None, 1, b"", 0)
        batch = accumulator.append("t", b"b", None, 1, b"blob", 0)
        accumulator.append("t", b"c", None, 1, b"", 0)
        assert batch.blobs == [b"", b"blob", b""]

    def test_a_key_has_one_partition_for_ever(self) -> None:
        # Fixed by what other clients compute: CRC32C of the key, modulo the partitions.
        assert [partition_of_key(key, 7) for key in (b"", b"a", b"123456789")] == [
            0,
            0xC1D04330 % 7,
            0xE3069283 % 7,
        ]
        accumulator = self.accumulator()
        assert {accumulator.append("t", b"v", b"k", 1, b"", None).queue.partition for _ in range(20)} == {
            partition_of_key(b"k", 4)
        }

    def test_keys_spread_evenly(self) -> None:
        counts = [0] * 6
        for number in range(6000):
            counts[partition_of_key(b"user-%d" % number, 6)] += 1
        assert min(counts) > 900

    def test_records_without_a_key_fill_a_batch_before_the_next_partition(self) -> None:
        accumulator = self.accumulator(batch_bytes=500)
        partitions = [accumulator.append("t", b"x" * 84, None, 1, b"", None).queue.partition for _ in range(40)]
        runs = [first for first, second in zip(partitions, [-1, *partitions], strict=False) if first != second]
        assert len(runs) == 40 / 4
        assert runs[:4] == [(runs[0] + step) % 4 for step in range(4)]

    def test_unknown_topics_and_partitions_are_refused(self) -> None:
        accumulator = self.accumulator()
        with pytest.raises(TopicNotReady):
            accumulator.append("other", b"", None, 1, b"", None)
        for partition in (-1, 4):
            with pytest.raises(UnknownPartition):
                accumulator.append("t", b"", None, 1, b"", partition)

    @pytest.mark.parametrize("wrong", [{"batch_bytes": 0}, {"linger_ms": -1}, {"delivery_timeout_ms": 0}])
    def test_settings_that_make_no_sense_are_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ProducerSettings(**wrong)  # type: ignore[arg-type]


class TestSendingAgain:
    def test_the_same_bytes_go_again_after_a_broken_stream(self) -> None:
        world = ready()
        world.send(0)
        (first,) = world.poll()
        world.break_stream("a:1", 0, 0)
        (again,) = world.poll()
        assert again.batch == first.batch
        assert again.correlation != first.correlation
        settle(world)
        assert world.sent[0][2].error is None

    @pytest.mark.parametrize("arrived", [0, 1, MAX_IN_FLIGHT])
    def test_a_window_goes_again_in_its_order_however_much_of_it_arrived(self, arrived: int) -> None:
        world = ready()
        # Three make a batch, and one more shows that it is full.
        for _ in range(3 * MAX_IN_FLIGHT + 1):
            world.send(0)
        first = world.poll()
        assert len(first) == MAX_IN_FLIGHT
        world.break_stream("a:1", arrived, 0)
        again = world.poll()
        assert [send.batch for send in again] == [send.batch for send in first]
        settle(world)
        world.poll()
        settle(world)
        world.check()
        assert {batch.base_offset for _, _, batch, _ in world.sent} == set(range(0, 3 * MAX_IN_FLIGHT + 1, 3))

    def test_a_hint_is_followed_at_once_and_the_second_only_after_a_wait(self) -> None:
        world = ready()
        world.leaders[0] = 2
        world.send(0)
        world.poll()
        settle(world)
        (again,) = world.poll()
        assert again.address == "b:2"
        world.leaders[0] = 1
        settle(world, "b:2")
        assert world.poll() == []
        world.now_ms += 100.0
        (third,) = world.poll()
        assert third.address == "a:1"

    def test_a_leader_whose_disk_is_full_is_left_for_the_one_it_hands_over_to(self) -> None:
        world = ready()
        world.leaders[0] = 2
        world.send(0)
        (send,) = world.poll()
        full = make_error(Reason.DISK_FULL, "full", not_done=True)
        world.sender.refused(send.correlation, full, world.now_ms)
        world.streams["a:1"].requests.clear()
        world.heal()
        world.check()
        assert world.sent[0][2].error is None
        assert world.partitions[0].values == [b"0"]

    def test_overload_waits_as_long_as_it_is_told_to(self) -> None:
        world = ready()
        world.send(0)
        (send,) = world.poll()
        error = make_error(Reason.OVERLOADED, "busy", not_done=True, retry_after_ms=700)
        world.sender.refused(send.correlation, error, world.now_ms)
        world.now_ms += 699.0
        assert world.poll() == []
        world.now_ms += 1.0
        assert len(world.poll()) == 1

    def test_a_slow_leader_is_doubted_and_left_when_another_leads(self) -> None:
        world = ready()
        world.send(0)
        world.poll()
        world.now_ms += DOUBT_AFTER_MS
        assert world.sender.poll(world.now_ms).doubtful == ["t"]
        world.elect(0, learn=True)
        (again,) = world.poll()
        assert again.address == "b:2"
        settle(world, "b:2")
        assert world.sent[0][2].base_offset == 0

    def test_a_leader_that_never_answers_loses_its_stream(self) -> None:
        world = ready()
        world.send(0)
        world.poll()
        world.now_ms += world.settings.attempt_timeout_ms + 501.0
        assert world.sender.poll(world.now_ms).overdue == ["a:1"]

    def test_an_unknown_topic_is_believed_only_after_a_while(self) -> None:
        world = ready()
        world.send(0)
        batch = world.sent[0][2]
        for _ in range(200):
            for _ in world.poll():
                world.refuse("a:1", Reason.UNKNOWN_TOPIC, not_done=True, do_it=False)
                world.answer("a:1", 0)
            world.now_ms += 20.0
            if world.now_ms < 1000.0 + 2900.0:
                assert batch.state is not State.DONE
        assert batch.error is not None
        assert batch.error.reason is Reason.UNKNOWN_TOPIC


class TestPromises:
    def refuse(self, world: World, reason: Reason, *, not_done: bool) -> None:
        world.refuse("a:1", reason, not_done=not_done, do_it=False)
        world.answer("a:1", 0)

    def test_a_refusal_after_an_unheard_of_attempt_leaves_the_outcome_open(self) -> None:
        world = ready()
        world.send(0)
        world.poll()
        world.break_stream("a:1", 1, 0)
        world.poll()
        self.refuse(world, Reason.TOO_LARGE, not_done=True)
        error = world.sent[0][2].error
        assert isinstance(error, OutcomeUnknown)
        assert isinstance(error.__cause__, TooLarge)
        world.check()

    def test_a_refusal_alone_is_definite_and_those_behind_go_on_under_another_session(self) -> None:
        world = ready()
        for _ in range(6):
            world.send(0)
        world.poll()
        self.refuse(world, Reason.TOO_LARGE, not_done=True)
        assert isinstance(world.sent[0][2].error, TooLarge)
        world.heal()
        world.check()
        assert [batch.error for _, _, batch, _ in world.sent[3:]] == [None] * 3
        assert world.sessions == 2
        assert world.partitions[0].values == [b"3", b"4", b"5"]

    def test_what_stands_behind_a_refused_batch_goes_again_though_its_attempt_was_unheard_of(self) -> None:
        world = ready()
        for _ in range(7):
            world.send(0)
        first, second = world.poll()
        overloaded = make_error(Reason.OVERLOADED, "busy", not_done=True)
        world.sender.refused(first.correlation, overloaded, world.now_ms)
        world.sender.refused(
            second.correlation, make_error(Reason.UNREACHABLE, "broke", not_done=False), world.now_ms
        )
        world.streams["a:1"].requests.clear()
        world.now_ms += 100.0
        first, second = world.poll()
        too_large = make_error(Reason.TOO_LARGE, "too large", not_done=True)
        world.sender.refused(first.correlation, too_large, world.now_ms)
        world.streams["a:1"].requests.clear()
        world.heal()
        world.check()
        assert isinstance(world.sent[0][2].error, TooLarge)
        assert world.partitions[0].values == [b"3", b"4", b"5", b"6"]

    def test_nothing_new_goes_under_a_session_that_is_over(self) -> None:
        world = ready()
        for _ in range(10):
            world.send(0)
        _, second, _ = world.poll()
        too_large = make_error(Reason.TOO_LARGE, "too large", not_done=True)
        world.sender.refused(second.correlation, too_large, world.now_ms)
        assert world.poll() == [], "the first batch is still to be answered under the old session"
        world.serve("a:1")
        world.answer("a:1", 0)
        world.streams["a:1"].requests.clear()
        assert world.poll() == []
        world.open_session()
        (send,) = world.poll()
        assert parse_header(send.batch).base_sequence == 0
        world.heal()
        assert world.partitions[0].values == [b"0", b"1", b"2", b"6", b"7", b"8", b"9"]

    def test_without_a_session_an_unheard_of_attempt_is_the_end(self) -> None:
        world = ready(idempotent=False)
        world.send(0)
        world.poll()
        world.break_stream("a:1", 1, 0)
        assert isinstance(world.sent[0][2].error, OutcomeUnknown)

    def test_without_a_session_what_never_left_goes_again(self) -> None:
        world = ready(idempotent=False)
        world.send(0)
        world.poll()
        world.break_stream("a:1", 0, 1)
        assert len(world.poll()) == 1

    def test_a_batch_never_sent_within_its_time_is_definitely_not_done(self) -> None:
        world = ready()
        world.router.node_down("a:1")
        world.send(0)
        world.poll()
        world.now_ms += world.settings.delivery_timeout_ms
        world.poll()
        error = world.sent[0][2].error
        assert isinstance(error, NoQuorum)
        assert isinstance(error, NotDone)

    def test_a_batch_in_flight_at_its_deadline_may_have_been_done(self) -> None:
        world = ready()
        world.send(0)
        world.poll()
        world.now_ms += world.settings.delivery_timeout_ms
        world.poll()
        error = world.sent[0][2].error
        assert isinstance(error, OutcomeUnknown)
        world.serve("a:1")
        world.answer("a:1", 0)
        assert world.sent[0][2].error is error, "an answer that comes too late changes nothing"

    def test_a_forgotten_session_is_opened_again_when_nothing_is_unaccounted_for(self) -> None:
        world = ready()
        world.send(0)
        world.poll()
        settle(world)
        world.forget_sessions(0)
        world.send(0)
        world.heal()
        assert world.sent[1][2].error is None
        assert world.sessions == 2

    def test_a_forgotten_session_leaves_an_unheard_of_batch_open(self) -> None:
        world = ready()
        world.send(0)
        world.poll()
        settle(world)
        world.send(0)
        world.poll()
        world.break_stream("a:1", 1, 0)
        world.forget_sessions(0)
        world.poll()
        settle(world)
        error = world.sent[1][2].error
        assert isinstance(error, OutcomeUnknown)
        assert isinstance(error.__cause__, OutOfSequence)
        assert world.partitions[0].values == [b"0", b"1"]

    def test_a_fenced_producer_is_finished(self) -> None:
        world = ready()
        world.send(0)
        world.poll()
        world.send(1)
        self.refuse(world, Reason.PRODUCER_FENCED, not_done=True)
        for _, _, batch, _ in world.sent:
            assert isinstance(batch.error, ProducerFenced)
        with pytest.raises(ProducerFenced):
            world.send(0)
        assert world.poll() == []
        assert world.accumulator.buffered_bytes == 0

    def test_ending_tells_sent_and_unsent_apart(self) -> None:
        world = ready()
        world.send(0)
        world.poll()
        world.send(0)
        world.sender.end(make_error(Reason.NO_QUORUM, "end", not_done=True))
        assert isinstance(world.sent[0][2].error, OutcomeUnknown)
        assert isinstance(world.sent[1][2].error, NotDone)

    def test_a_session_that_cannot_be_opened_for_good_ends_the_producer(self) -> None:
        world = World()
        world.send(0)
        world.poll()
        assert world.sender.session_refused(make_error(Reason.NO_QUORUM, "wait", not_done=True))
        assert not world.sender.session_refused(make_error(Reason.INVALID_REQUEST, "name", not_done=True))
        assert world.sent[0][2].state is State.DONE
