"""A leader that was cut off and replaced answers NO_QUORUM promptly: the client must not stay with it."""

from __future__ import annotations

import pytest
from client.sender_world import World

from quorumlog.client.errors import Reason


@pytest.mark.parametrize("not_done", [True, False])
def test_a_producer_asks_the_others_when_its_leader_has_no_quorum(not_done: bool) -> None:
    """Found by the simulator (seeds 65 and 553): the producer kept sending to the node that was cut off, for as
    long as that answered, although the others had elected a leader long ago."""
    world = World()
    world.poll()
    world.wants_session = True
    world.open_session()
    world.send(0)
    world.poll()
    world.refuse("a:1", Reason.NO_QUORUM, not_done=not_done, do_it=False)
    world.answer("a:1", 0)
    world.now_ms += 1000.0

    work = world.sender.poll(world.now_ms)
    assert work.sends == []
    assert work.unrouted == ["t"]

    world.elect(0, learn=True)
    (again,) = world.poll()
    assert again.address == "b:2"


def test_a_leader_without_a_quorum_is_believed_again_when_the_others_name_it_still() -> None:
    world = World()
    world.poll()
    world.wants_session = True
    world.open_session()
    world.send(0)
    (first,) = world.poll()
    world.refuse("a:1", Reason.NO_QUORUM, not_done=True, do_it=False)
    world.answer("a:1", 0)
    world.now_ms += 1000.0
    world.learn()
    (again,) = world.poll()
    assert (again.address, again.batch) == ("a:1", first.batch)
