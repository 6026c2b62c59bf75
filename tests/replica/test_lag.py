"""How far groups are behind, on three nodes: to the record, in bytes and in time, against a count by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest
from replica.offset_trio import LATEST, OffsetTrio
from replica.trio import batch

from quorumlog.replica import Failure, Reason
from quorumlog.replica.offset_api import GroupLag, LagVerdict
from quorumlog.wire.batch import decode_batch


def lags(trio: OffsetTrio, *groups: str) -> dict[str, GroupLag]:
    answer = trio.ask(trio.led(), lambda one, done: one.offsets.lag("t", 0, groups, 0, done))[0]
    assert isinstance(answer, tuple), answer
    return {lag.group: lag for lag in answer}


def stop(trio: OffsetTrio, group: str = "g") -> None:
    trio.ask(trio.led(), lambda one, done: one.offsets.release("t", 0, group, 7, 1, 0, done))


def uneven(trio: OffsetTrio, batches: int = 60) -> list[tuple[int, int, int]]:
    """Batches of any size, some with times that differ; (first offset, end, bytes) of each as stored."""
    rng = random.Random(5)
    for _ in range(batches):
        values = [b"x" * rng.randrange(0, 2_000) for _ in range(rng.randrange(1, 6))]
        trio.append_batch(trio.led(), batch(values, time_ms=trio.clock.wall_ms() - rng.randrange(100_000)))
    stored: list[tuple[int, int, int]] = []
    offset = 0
    while True:
        found = trio.read(trio.led(), offset)[0]
        if not found.batches:
            return stored
        for one in found.batches:
            records = decode_batch(one)
            stored.append((records[0].offset, records[-1].offset + 1, len(one)))
            offset = stored[-1][1]


def time_of(trio: OffsetTrio, offset: int) -> int:
    for one in trio.read(trio.led(), offset, max_bytes=1)[0].batches:
        for record in decode_batch(one):
            if record.offset == offset:
                return record.timestamp_ms
    raise AssertionError(f"no record {offset}")


@pytest.mark.parametrize("cache_bytes", [64 << 20, 1])
def test_the_lag_of_a_stopped_group_is_right_to_the_record(cache_bytes: int) -> None:
    trio = OffsetTrio(
        records=0, topic={"segment_bytes": 1 << 16, "max_batch_bytes": 1 << 14}, tail_cache_bytes=cache_bytes
    )
    stored = uneven(trio)
    end = stored[-1][1]
    rng = random.Random(3)
    committed = {
        f"g{number}": offset for number, offset in enumerate([0, 1, end - 1, end, *rng.sample(range(end), 8)])
    }
    for name, offset in committed.items():
        trio.acquire(name)
        trio.commit(offset, 1, group=name)
        stop(trio, name)
    told = lags(trio)
    assert list(told) == sorted(committed)
    now_ms = trio.clock.wall_ms()
    log_bytes = trio.service(trio.led()).replica.log.size_bytes
    for name, offset in committed.items():
        lag = told[name]
        assert (lag.committed, lag.log_start, lag.log_end, lag.records) == (offset, 0, end, end - offset)
        assert lag.age_ms == (now_ms - time_of(trio, offset) if offset < end else 0)
        assert lag.verdict is (LagVerdict.STOPPED if offset < end else LagVerdict.OK)
        assert (lag.topic, lag.partition, lag.owner) == ("t", 0, "")
        exact = sum(size for _, last, size in stored if last > offset)
        if cache_bytes > 1 or offset == end:
            assert lag.bytes == exact
        else:
            assert exact <= lag.bytes <= min(exact + (16 << 10) + (32 << 10), log_bytes), "what is beside it counts"


def test_bytes_are_told_from_the_disk_once_the_records_have_left_memory() -> None:
    trio = OffsetTrio(records=0, tail_cache_bytes=1)
    stored = uneven(trio, batches=20)
    trio.acquire()
    trio.commit(3, 1)
    exact = sum(size for _, last, size in stored if last > 3)
    assert lags(trio)["g"].bytes == exact
    trio.chill()
    log = trio.service(trio.led()).replica.log
    assert log.bytes_between(3, stored[-1][1]) is None
    assert exact <= lags(trio)["g"].bytes <= log.size_bytes
    assert lags(trio)["g"].bytes == lags(trio)["g"].bytes


def test_without_a_stored_offset_the_lag_counts_from_the_logs_start() -> None:
    trio = OffsetTrio(records=10)
    trio.ask(trio.led(), lambda one, done: one.offsets.mark("t", 0, "g", True, 0, 0, done))
    lag = lags(trio)["g"]
    assert (lag.committed, lag.records, lag.committed_wall_ms) == (None, 10, 0)


def test_groups_are_asked_for_by_name_and_the_unknown_are_left_out() -> None:
    trio = OffsetTrio(records=10)
    for name in ("a", "b", "c"):
        trio.acquire(name)
    assert list(lags(trio, "c", "nobody", "a")) == ["a", "c"]
    assert list(lags(trio)) == ["a", "b", "c"]


def test_only_the_leader_tells_and_only_with_a_majority() -> None:
    trio = OffsetTrio(records=10)
    trio.acquire()
    leader, follower = trio.led(), trio.follower()
    sent_on = trio.ask(follower, lambda one, done: one.offsets.lag("t", 0, (), 0, done))[0]
    assert isinstance(sent_on, Failure)
    assert (sent_on.reason, sent_on.leader_node) == (Reason.NOT_LEADER, leader)
    trio.isolate(leader)
    answers: list[Any] = trio.ask(leader, lambda one, done: one.offsets.lag("t", 0, (), 0, done))
    assert answers == []
    trio.pass_time(2_000)
    assert answers[0].reason is Reason.NO_QUORUM


def test_verdicts_follow_what_the_leader_has_watched() -> None:
    trio = OffsetTrio(records=10)
    trio.acquire("idle", start=LATEST)
    trio.acquire("stalled")
    trio.commit(4, 1, group="stalled")
    trio.acquire("working")
    trio.acquire("gone")
    stop(trio, "gone")
    assert lags(trio)["stalled"].verdict is LagVerdict.UNKNOWN, "nobody has watched yet"
    for second in range(50):
        trio.pass_time(1_000)
        if second % 10 == 9:
            trio.commit(second // 10 + 1, second, group="working")
    told = {name: lag.verdict for name, lag in lags(trio).items()}
    assert told == {
        "idle": LagVerdict.OK,
        "stalled": LagVerdict.STALLED,
        "working": LagVerdict.CATCHING_UP,
        "gone": LagVerdict.STOPPED,
    }
    old = trio.led()
    trio.hand_over(trio.follower())
    assert lags(trio)["stalled"].verdict is LagVerdict.UNKNOWN, "a new leader has not watched"
    trio.hand_over(old)
    assert lags(trio)["stalled"].verdict is LagVerdict.UNKNOWN, "what it watched before is old"


def test_the_partitions_that_a_node_leads_are_told() -> None:
    trio = OffsetTrio()
    leader = trio.led()
    assert trio.nodes[leader].offsets.led() == [("t", 0)]
    assert trio.nodes[trio.follower()].offsets.led() == []
