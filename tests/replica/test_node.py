"""What a node promises, on three of them: claims about requests, leaders, disks and damage."""

import pytest
from replica.trio import TICK_MS, Trio, batch

from quorumlog.replica import (
    Appended,
    AtTime,
    Earliest,
    End,
    Failure,
    OffsetFound,
    Outcome,
    Position,
    ReadResult,
    Reason,
)
from quorumlog.replica.events import (
    CheckpointInstalled,
    CheckpointSaved,
    DiskFreed,
    DiskFull,
    DiskStalled,
    ReplicaReplaced,
)
from quorumlog.wire.batch import decode_batch


def values_of(result: ReadResult) -> list[bytes | None]:
    return [record.value for one in result.batches for record in decode_batch(one)]


def test_a_record_is_acknowledged_and_read_back() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    assert trio.append(leader, [b"a", b"b"]) == [Appended(0, False, 0)]
    assert trio.append(leader, [b"c"]) == [Appended(2, False, 0)]
    assert values_of(trio.read(leader)[0]) == [b"a", b"b", b"c"]


def test_no_acknowledgement_before_a_majority_has_it_on_disk() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    trio.stalled = set(trio.ids) - {leader}
    answers = trio.append(leader, [b"a"])
    assert answers == [], "only the leader's disk has it"
    follower = min(trio.stalled)
    trio.release(follower)
    assert answers == [Appended(0, False, 0)]


def test_at_the_moment_of_every_acknowledgement_the_record_is_durable_on_a_majority() -> None:
    trio = Trio()
    trio.make_topic()
    leader, group = trio.led(), trio.group()
    durable_copies: list[int] = []

    def append(value: bytes) -> None:
        def acknowledged(result: Appended | Failure) -> None:
            assert isinstance(result, Appended)
            durable_copies.append(sum(value in trio.durable_log(node, group) for node in trio.ids))

        trio.nodes[leader].append("t", 0, batch([value]), 0, acknowledged)

    for number in range(40):
        append(b"unique record %d." % number)
        if number % 4 == 3:
            trio.settle()
    assert len(durable_copies) == 40
    assert min(durable_copies) >= 2


def test_a_stalled_leaders_disk_is_not_counted_for_it() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    _one, other = sorted(set(trio.ids) - {leader})
    trio.isolate(other)
    trio.stalled = {leader}
    answers = trio.append(leader, [b"a"])
    assert answers == [], "one follower alone is no majority"
    trio.release(leader)
    assert answers == [Appended(0, False, 0)]


def test_a_follower_sends_the_caller_to_the_leader() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    follower = next(node for node in trio.ids if node != leader)
    failure = trio.append(follower, [b"a"])[0]
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.leader_node, failure.outcome) == (Reason.NOT_LEADER, leader, Outcome.NOT_DONE)


def test_a_leader_without_quorum_answers_no_quorum_in_time_and_says_that_it_may_have_happened() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    trio.isolate(leader)
    answers = trio.append(leader, [b"a"])
    trio.pass_time(2_000)
    assert len(answers) == 1
    assert isinstance(answers[0], Failure)
    assert answers[0].reason in (Reason.NO_QUORUM, Reason.NOT_LEADER)
    assert answers[0].outcome is Outcome.UNKNOWN
    trio.pass_time(2_000)
    later = trio.append(leader, [b"b"])[0]
    assert isinstance(later, Failure)
    assert (later.reason, later.outcome) == (Reason.NO_QUORUM, Outcome.NOT_DONE)


def test_an_isolated_leader_does_not_confirm_its_end() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    trio.append(leader, [b"a"])
    trio.isolate(leader)
    answers = trio.find(leader, End())
    assert answers == []
    trio.pass_time(2_500)
    assert isinstance(answers[0], Failure)
    trio.heal()
    trio.pass_time(500)
    assert trio.find(trio.led(), End()) == [OffsetFound(1, 0, 1)]


def test_a_killed_leader_is_followed_within_a_tenth_of_a_second() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    trio.append(leader, [b"a"])
    begun = trio.clock.time_ms
    trio.kill(leader)
    successor = trio.led()
    assert trio.clock.time_ms - begun <= 100
    assert trio.append(successor, [b"b"]) == [Appended(1, False, 0)]
    assert values_of(trio.read(successor)[0]) == [b"a", b"b"]


def test_a_quiet_groups_leader_that_hangs_is_replaced() -> None:
    trio = Trio()
    trio.make_topic()
    leader, group = trio.led(), trio.group()
    trio.until(lambda: all(trio.replica(node, group).quiet for node in trio.ids))
    trio.isolate(leader)
    begun = trio.clock.time_ms
    trio.until(lambda: trio.leader(group) not in (None, leader), within_ms=2_500)
    assert trio.clock.time_ms - begun <= 2_500


def test_quiet_groups_send_nothing_of_their_own() -> None:
    trio = Trio()
    trio.make_topic()
    group = trio.group()
    trio.until(lambda: all(trio.replica(node, g).quiet for node in trio.ids for g in (1, group)))
    before = trio.frames
    trio.pass_time(2_000)
    signs_of_life = 6 * (2_000 // 200)
    assert trio.frames - before <= signs_of_life + 6


def test_a_retry_after_failover_has_the_offset_of_the_first_and_no_second_effect() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    assert trio.append(leader, [b"a"], producer=(7, 0, 0)) == [Appended(0, False, 0)]
    trio.kill(leader)
    successor = trio.led()
    assert trio.append(successor, [b"a"], producer=(7, 0, 0)) == [Appended(0, True, 0)]
    assert trio.append(successor, [b"b"], producer=(7, 0, 1)) == [Appended(1, False, 0)]
    assert values_of(trio.read(successor)[0]) == [b"a", b"b"]


def test_a_repeat_of_a_batch_in_flight_waits_for_the_first() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    trio.stalled = set(trio.ids) - {leader}
    first = trio.append(leader, [b"a"], producer=(7, 0, 0))
    second = trio.append(leader, [b"a"], producer=(7, 0, 0))
    assert first == second == []
    for node in sorted(trio.stalled):
        trio.release(node)
    assert first == [Appended(0, False, 0)]
    assert second == [Appended(0, True, 0)]


def test_gaps_and_fenced_producers_are_refused_by_name() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    trio.append(leader, [b"a"], producer=(7, 0, 0))
    gap = trio.append(leader, [b"c"], producer=(7, 0, 2))[0]
    assert isinstance(gap, Failure)
    assert (gap.reason, gap.outcome) == (Reason.OUT_OF_SEQUENCE, Outcome.NOT_DONE)
    assert gap.fields == {"expected_sequence": "1", "base_sequence": "2"}
    trio.append(leader, [b"x"], producer=(7, 1, 0))
    fenced = trio.append(leader, [b"b"], producer=(7, 0, 1))[0]
    assert isinstance(fenced, Failure)
    assert fenced.reason is Reason.PRODUCER_FENCED


def test_damaged_and_lying_batches_change_nothing() -> None:
    trio = Trio()
    trio.make_topic(max_batch_bytes=2_000)
    leader = trio.led()
    whole = bytearray(batch([b"abc"]))
    whole[-1] ^= 1
    refused = [
        (bytes(whole), Reason.CORRUPT_BATCH),
        (b"", Reason.MALFORMED_BATCH),
        (batch([b"x" * 3_000]), Reason.TOO_LARGE),
    ]
    for data, reason in refused:
        failure = trio.append_batch(leader, data)[0]
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.outcome) == (reason, Outcome.NOT_DONE)
    assert trio.append(leader, [b"a"]) == [Appended(0, False, 0)]


def test_unknown_topics_are_confirmed_with_the_controller_and_known_partitions_are_not() -> None:
    trio = Trio()
    trio.make_topic()
    for node in trio.ids:
        failure = trio.append(node, [b"a"], name="nobody")[0]
        assert isinstance(failure, Failure)
        assert failure.reason is Reason.UNKNOWN_TOPIC
    missing = trio.ask(1, lambda node, done: node.append("t", 9, batch([b"a"]), 0, done))[0]
    assert missing.reason is Reason.UNKNOWN_PARTITION
    trio.isolate(1)
    trio.pass_time(4_000)
    cut_off = trio.append(1, [b"a"], name="nobody")[0]
    assert isinstance(cut_off, Failure)
    assert cut_off.reason is Reason.NO_QUORUM, "a node that cannot ask must not say that there is no such topic"


@pytest.mark.parametrize("node", [1, 2, 3])
def test_a_node_that_was_just_cut_off_answers_for_an_unknown_topic_within_the_time_of_the_request(
    node: int,
) -> None:
    trio = Trio()
    trio.make_topic()
    trio.isolate(node)
    requests = (
        trio.ask(node, lambda one, done: one.append("nobody", 0, batch([b"a"]), 300, done)),
        trio.ask(node, lambda one, done: one.offsets.fetch("nobody", 0, "g", 0, 300, done)),
        trio.ask(node, lambda one, done: one.offsets.lag("nobody", 0, (), 300, done)),
    )
    assert not any(requests)
    trio.pass_time(300 + TICK_MS)
    for answers in requests:
        assert [(answer.reason, answer.outcome) for answer in answers] == [(Reason.NO_QUORUM, Outcome.NOT_DONE)]


def test_offsets_are_found_by_position_and_by_time() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    for number, time_ms in enumerate((1_000, 2_000, 3_000)):
        data = batch([b"%d" % number] * 2, time_ms=time_ms)
        trio.append_batch(leader, data)
    expected: dict[Position, int] = {
        Earliest(): 0,
        End(): 6,
        AtTime(0): 0,
        AtTime(1_500): 2,
        AtTime(3_000): 4,
        AtTime(3_001): 6,
    }
    for position, offset in expected.items():
        found = trio.find(leader, position)
        assert found == [OffsetFound(offset, 0, 6)], position


def test_reads_outside_the_log_are_refused_with_its_bounds_and_a_read_at_the_end_waits() -> None:
    trio = Trio()
    trio.make_topic()
    leader = trio.led()
    beyond = trio.read(leader, offset=1)[0]
    assert beyond.reason is Reason.OFFSET_OUT_OF_RANGE
    assert beyond.fields == {"offset": "1", "start_offset": "0", "end_offset": "0"}
    waiting = trio.ask(leader, lambda node, done: node.read("t", 0, 0, 1 << 20, 1_000, done))
    idle = trio.ask(leader, lambda node, done: node.read("t", 0, 0, 1 << 20, 1_000, done))
    assert waiting == []
    trio.append(leader, [b"a"])
    assert values_of(waiting[0]) == [b"a"]
    assert values_of(idle[0]) == [b"a"]
    timed_out = trio.ask(leader, lambda node, done: node.read("t", 0, 1, 1 << 20, 300, done))
    trio.pass_time(500)
    assert timed_out == [ReadResult([], 0, 1)]


def fill(trio: Trio, count: int, size: int = 4_000) -> None:
    for _ in range(count):
        leader = trio.led()
        assert isinstance(trio.append(leader, [b"x" * size])[0], Appended)


def test_checkpoints_stand_at_segment_ends_and_a_restart_applies_from_the_newest() -> None:
    trio = Trio()
    trio.make_topic(segment_bytes=1 << 16, max_batch_bytes=1 << 14)
    fill(trio, 60)
    group, leader = trio.group(), trio.led()
    saved = [
        event for event in trio.events[leader] if isinstance(event, CheckpointSaved) and event.group_id == group
    ]
    assert len(saved) >= 2
    trio.pass_time(200)
    digests = {trio.replica(node, group).digest for node in trio.ids}
    assert len(digests) == 1
    for node in trio.ids:
        trio.kill(node)
    for node in trio.ids:
        trio.start(node)
    trio.until(lambda: trio.leader(1) is not None)
    leader = trio.led()
    assert trio.append(leader, [b"after"]) == [Appended(60, False, 0)]
    trio.pass_time(200)
    assert len({trio.replica(node, group).digest for node in trio.ids}) == 1


def test_retention_moves_the_start_for_all_and_a_follower_that_was_away_gets_a_checkpoint() -> None:
    trio = Trio()
    trio.make_topic(segment_bytes=1 << 16, max_batch_bytes=1 << 14, retention_bytes=1 << 17)
    fill(trio, 5)
    leader, group = trio.led(), trio.group()
    away = next(node for node in trio.ids if node != leader)
    trio.kill(away)
    fill(trio, 120)
    trio.pass_time(11_000)
    start = trio.replica(trio.led(), group).start_offset
    assert start > 5
    assert trio.read(trio.led(), offset=0)[0].reason is Reason.OFFSET_OUT_OF_RANGE
    trio.start(away)
    trio.until(lambda: trio.replica(away, group).applied_index == trio.replica(trio.led(), group).applied_index)
    assert any(isinstance(event, CheckpointInstalled) and event.group_id == group for event in trio.events[away])
    assert trio.replica(away, group).digest == trio.replica(trio.led(), group).digest
    assert trio.replica(away, group).start_offset == start


def test_a_damaged_replica_serves_nothing_and_is_replaced_from_the_others() -> None:
    trio = Trio()
    trio.make_topic()
    fill(trio, 20, size=200)
    group, leader = trio.group(), trio.led()
    victim = next(node for node in trio.ids if node != leader)
    trio.kill(victim)
    directory = f"/data/groups/{group}/replica-0"
    segment = next(name for name in trio.disks[victim].listdir(directory) if name.endswith(".segment"))
    trio.disks[victim].flip_bit(f"{directory}/{segment}", 600)
    trio.start(victim)
    assert trio.replica(victim, group) is None or trio.replica(victim, group).role != "leader"
    trio.until(lambda: any(isinstance(event, ReplicaReplaced) for event in trio.events[victim]))
    trio.pass_time(1_000)
    assert trio.replica(victim, group).digest == trio.replica(trio.led(), group).digest
    assert trio.replica(trio.led(), group).voters == trio.ids
    trio.kill(next(node for node in trio.ids if node not in (victim, trio.led())))
    assert trio.append(trio.led(), [b"with it"]) == [Appended(20, False, 0)], "it counts for the majority again"


def test_a_full_disk_refuses_appends_hands_leadership_over_and_recovers() -> None:
    trio = Trio()
    trio.make_topic()
    leader, group = trio.led(), trio.group()
    fill(trio, 3)
    trio.disks[leader].capacity = 1
    trio.append(leader, [b"y" * 4_000])
    trio.pass_time(500)
    assert any(isinstance(event, DiskFull) for event in trio.events[leader])
    successor = trio.led()
    assert successor != leader
    assert isinstance(trio.append(successor, [b"z"])[0], Appended)
    trio.disks[leader].capacity = 1 << 40
    trio.pass_time(3_000)
    assert any(isinstance(event, DiskFreed) for event in trio.events[leader])
    trio.until(lambda: trio.replica(leader, group).digest == trio.replica(trio.led(), group).digest)


def test_a_leader_whose_disk_stalls_hands_leadership_over() -> None:
    trio = Trio()
    trio.make_topic()
    leader, group = trio.led(), trio.group()
    fill(trio, 3)
    trio.stalled = {leader}
    answers = trio.append(leader, [b"committed by the others, and applied by nobody who could say so"])
    trio.pass_time(1_000)
    assert answers == []
    assert trio.led() == leader, "a disk may be slow for a while"
    trio.pass_time(2_500)
    successor = trio.led()
    assert successor != leader
    (stalled,) = [event for event in trio.events[leader] if isinstance(event, DiskStalled)]
    assert (stalled.group_id, stalled.ms > 1_600) == (group, True)
    assert isinstance(trio.append(successor, [b"z"])[0], Appended)
    trio.release(leader)
    trio.until(lambda: trio.replica(leader, group).digest == trio.replica(successor, group).digest)


def test_a_leader_that_cannot_read_what_it_has_to_apply_hands_leadership_over() -> None:
    """Found by the simulator (seed 2717): entries of before its restart, which only the disk had."""
    trio = Trio()
    trio.make_topic()
    group = trio.group()
    fill(trio, 3)
    for node in trio.ids:
        trio.kill(node)
    victim = 1
    trio.unreadable = {victim}
    for node in trio.ids:
        trio.start(node)
    trio.until(lambda: trio.leader(group) is not None)
    leader = trio.leader(group)
    assert leader is not None
    if leader != victim:
        trio.ask(leader, lambda node, done: node.transfer_leadership("t", 0, victim, done))
    trio.until(lambda: trio.replica(victim, group).role == "leader")
    trio.until(lambda: any(isinstance(event, DiskStalled) for event in trio.events[victim]))
    trio.until(lambda: trio.leader(group) not in (None, victim))
    assert isinstance(trio.append(trio.led(), [b"z"])[0], Appended)
    trio.release(victim)
    trio.until(lambda: trio.replica(victim, group).digest == trio.replica(trio.led(), group).digest)


def test_a_failed_fsync_takes_the_replica_out_and_a_fresh_one_takes_its_place() -> None:
    trio = Trio()
    trio.make_topic()
    fill(trio, 3)
    leader, group = trio.led(), trio.group()
    victim = next(node for node in trio.ids if node != leader)
    directory = f"/data/groups/{group}/replica-0"
    for name in trio.disks[victim].listdir(directory):
        if name.endswith(".segment"):
            trio.disks[victim].fail_sync(f"{directory}/{name}")
    assert isinstance(trio.append(leader, [b"a"])[0], Appended), "the other two are a majority"
    trio.until(lambda: any(isinstance(event, ReplicaReplaced) for event in trio.events[victim]))
    trio.until(lambda: trio.replica(victim, group).digest == trio.replica(trio.led(), group).digest)


def test_a_node_that_shuts_down_hands_its_groups_over_first() -> None:
    trio = Trio()
    trio.make_topic()
    leader, group = trio.led(), trio.group()
    trio.nodes[leader].begin_shutdown()
    trio.settle()
    trio.pass_time(100)
    assert trio.nodes[leader].led_groups == 0
    assert trio.leader(group) != leader
    refused = trio.append(leader, [b"a"])[0]
    assert isinstance(refused, Failure)
    assert (refused.reason, refused.outcome) == (Reason.SHUTTING_DOWN, Outcome.NOT_DONE)


def test_leadership_returns_to_the_preferred_replica() -> None:
    trio = Trio()
    trio.make_topic()
    group = trio.group()
    preferred = trio.led()
    trio.kill(preferred)
    trio.led()
    trio.start(preferred)
    trio.until(lambda: trio.leader(group) == preferred, within_ms=75_000)


def test_leadership_moved_by_hand_stays_for_a_while() -> None:
    trio = Trio()
    trio.make_topic()
    group, preferred = trio.group(), trio.led()
    other = next(node for node in trio.ids if node != preferred)
    trio.pass_time(11_000)
    trio.ask(preferred, lambda node, done: node.transfer_leadership("t", 0, other, done))
    trio.until(lambda: trio.leader(group) == other)
    trio.pass_time(30_000)
    assert trio.leader(group) == other


def test_a_deleted_topic_is_gone_from_every_disk_and_its_name_is_free_again() -> None:
    trio = Trio()
    trio.make_topic()
    group = trio.group()
    fill(trio, 3)
    controller = trio.leader(1)
    assert controller is not None
    trio.ask(controller, lambda node, done: node.delete_topic("t", done))
    trio.until(lambda: all(trio.replica(node, group) is None for node in trio.ids))
    trio.pass_time(3_000)
    for node in trio.ids:
        assert not trio.disks[node].exists(f"/data/groups/{group}")
    trio.make_topic()
    assert trio.group() > group, "ids are never used again"
    assert trio.append(trio.led(), [b"new"]) == [Appended(0, False, 0)]


def test_a_node_that_comes_back_from_before_a_deletion_has_what_it_had_then() -> None:
    """Found by the simulator (seed 2822): the data had gone before it was durable that the deletion is committed,
    so the node made the replica anew, as one that had never voted or acknowledged anything."""
    trio = Trio()
    trio.make_topic()
    group = trio.group()
    fill(trio, 3)
    controller = trio.leader(1)
    assert controller is not None
    victim = next(node for node in trio.ids if node != controller)
    held = trio.replica(victim, group).last_index
    trio.ask(controller, lambda node, done: node.delete_topic("t", done))
    trio.until(lambda: trio.replica(victim, group) is None)
    trio.kill(victim)
    trio.isolate(victim)
    trio.start(victim)
    trio.settle()
    assert trio.replica(victim, group) is not None, "it remembers the deletion: this shows nothing"
    assert trio.replica(victim, group).last_index == held
    trio.heal()
    trio.until(lambda: trio.replica(victim, group) is None)
    trio.until(lambda: not trio.disks[victim].exists(f"/data/groups/{group}"))
