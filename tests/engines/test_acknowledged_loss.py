"""RAFT.md §6, first point: one leader crash while one follower lags, links ordered, no disk fault. PySyncObj
loses what it acknowledged; our own Raft, put through the same, does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from engines.held_links import HeldTrio

from quorumlog.replica import Appended
from quorumlog.replica.events import ReplicaDamaged

if TYPE_CHECKING:
    from typing import Any

VALUE_BYTES = 30_000
APPENDS = 10


class Story:
    """Ten appends, all acknowledged on the word of one follower; then their leader dies."""

    def __init__(self, engine: str) -> None:
        self.trio = trio = HeldTrio(engine=engine)
        trio.make_topic()
        self.leader = leader = trio.led()
        self.quick, self.slow = (node for node in trio.ids if node != leader)
        # The slow follower hears nothing for now; the quick one's acknowledgements are on their way.
        trio.hold(leader, self.slow)
        trio.hold(self.quick, leader)
        self.answers: list[list[Any]] = [
            trio.append(leader, [b"%d " % number + bytes(VALUE_BYTES)]) for number in range(APPENDS)
        ]
        # Two acknowledgements arrive; what the leader says next is on its way when the others do.
        trio.hold(leader, self.quick)
        trio.let_through(self.quick, leader, 2)
        trio.let_through(self.quick, leader)
        # One of the leader's messages still arrives; then it dies, and the other two go on.
        trio.let_through(leader, self.quick, 1)
        self.held_by_quick = trio.replica(self.quick, trio.group()).last_index
        trio.kill(leader)
        trio.pass_time(5_000)

    @property
    def acknowledged(self) -> list[int]:
        return [answer[0].base_offset for answer in self.answers if answer and isinstance(answer[0], Appended)]

    def end_offset(self) -> int:
        """The end that a linearizable read is told now."""
        answer = self.trio.read(self.trio.led())[0]
        return int(answer.end_offset)


def test_pysyncobj_loses_acknowledged_appends_in_one_crash() -> None:
    story = Story("pysyncobj")
    assert story.acknowledged == list(range(APPENDS)), "every one was acknowledged"
    assert story.end_offset() == 4, "six of ten are gone"


def test_the_offsets_that_were_lost_name_other_records_afterwards() -> None:
    story = Story("pysyncobj")
    again = story.trio.append(story.trio.led(), [b"another"])[0]
    assert isinstance(again, Appended)
    assert again.base_offset == 4
    assert again.base_offset in story.acknowledged


def test_the_replica_that_had_applied_them_stops_instead_of_serving_two_histories() -> None:
    story = Story("pysyncobj")
    story.trio.start(story.leader)
    story.trio.pass_time(3_000)
    damaged = [event for event in story.trio.events[story.leader] if isinstance(event, ReplicaDamaged)]
    assert [event.group_id for event in damaged] == [story.trio.group()]
    assert "it has replaced what it had committed" in damaged[0].why
    assert story.end_offset() == 4, "the other two go on with theirs"


def test_our_own_engine_keeps_them_in_the_same_story() -> None:
    story = Story("raft")
    assert story.acknowledged == list(range(APPENDS))
    assert story.end_offset() == APPENDS
    story.trio.start(story.leader)
    story.trio.pass_time(3_000)
    assert not [event for event in story.trio.events[story.leader] if isinstance(event, ReplicaDamaged)]
    assert story.end_offset() == APPENDS


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
