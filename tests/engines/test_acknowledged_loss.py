"""RAFT.md §6, first point: one leader crash while one follower lags, links ordered, no disk fault. PySyncObj
loses what it acknowledged; our own Raft, put through the same, does not."""

from __future__ import annotations

import pytest
from engines.held_links import HeldTrio
from engines.one_crash import APPENDS, BEFORE, SURVIVE, VALUE_BYTES, OneCrash

from quorumlog.replica import Appended
from quorumlog.replica.events import ReplicaDamaged


def test_pysyncobj_loses_acknowledged_appends_in_one_crash() -> None:
    crash = OneCrash("pysyncobj")
    assert crash.acknowledged == list(range(BEFORE, BEFORE + APPENDS)), "every one was acknowledged"
    assert crash.end_offset == BEFORE + SURVIVE, "six of ten are gone"


def test_the_offsets_that_were_lost_name_other_records_afterwards() -> None:
    crash = OneCrash("pysyncobj")
    again = crash.trio.append(crash.trio.led(), [b"another"])[0]
    assert isinstance(again, Appended)
    assert again.base_offset == BEFORE + SURVIVE
    assert again.base_offset in crash.acknowledged


def test_the_replica_that_had_applied_them_stops_instead_of_serving_two_histories() -> None:
    crash = OneCrash("pysyncobj")
    trio = crash.trio
    trio.start(crash.leader)
    trio.pass_time(3_000)
    damaged = [event for event in trio.events[crash.leader] if isinstance(event, ReplicaDamaged)]
    assert [event.group_id for event in damaged] == [trio.group()]
    assert "it has replaced what it had committed" in damaged[0].why
    assert crash.end_offset == BEFORE + SURVIVE, "the other two go on with theirs"


def test_our_own_engine_keeps_them_in_the_same_story() -> None:
    crash = OneCrash("raft")
    assert crash.acknowledged == list(range(BEFORE, BEFORE + APPENDS))
    assert crash.end_offset == BEFORE + APPENDS
    crash.trio.start(crash.leader)
    crash.trio.pass_time(3_000)
    assert not [event for event in crash.trio.events[crash.leader] if isinstance(event, ReplicaDamaged)]
    assert crash.end_offset == BEFORE + APPENDS


@pytest.mark.parametrize("engine", ["raft", "pysyncobj"])
def test_without_the_resent_message_both_keep_what_the_quick_follower_holds(engine: str) -> None:
    """The counter-story: it is the message that was sent twice, not the crash, that costs the entries."""
    trio = HeldTrio(engine=engine)
    trio.make_topic()
    leader = trio.led()
    quick, slow = (node for node in trio.ids if node != leader)
    trio.hold(leader, slow)
    answers = [trio.append(leader, [b"%d " % number + bytes(VALUE_BYTES)]) for number in range(APPENDS)]
    assert all(isinstance(answer[0], Appended) for answer in answers)
    trio.kill(leader)
    trio.pass_time(5_000)
    assert trio.led() == quick
    assert trio.read(quick)[0].end_offset == APPENDS
