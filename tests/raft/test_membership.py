"""Configurations: how one becomes another, how they travel, what is in force where."""

from __future__ import annotations

from itertools import chain, combinations, pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raft.raft_kit import Cluster, MemoryStorage, change, data, voters

from quorumlog.raft import (
    Checkpoint,
    Configuration,
    EntryKind,
    InvalidChange,
    InvariantViolated,
    MalformedConfiguration,
    Role,
    decode_configuration,
    encode_configuration,
)
from quorumlog.raft.membership import Membership, leave_joint, plan_change
from quorumlog.raft.quorum import has_quorum

REPLICAS = st.frozensets(st.integers(1, 2**64 - 1), max_size=6)


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    incoming, outgoing = draw(REPLICAS), draw(REPLICAS)
    return Configuration(
        incoming,
        outgoing,
        draw(REPLICAS) - incoming,
        frozenset(draw(st.sets(st.sampled_from(sorted(outgoing))))) if outgoing else frozenset(),
    )


@settings(deadline=None)
@given(configurations())
def test_a_configuration_survives_the_journey(configuration: Configuration) -> None:
    assert decode_configuration(encode_configuration(configuration)) == configuration


def test_equal_configurations_are_equal_bytes() -> None:
    one = Configuration(frozenset([1, 9, 300]))
    other = Configuration(frozenset([300, 1, 9]))
    assert encode_configuration(one) == encode_configuration(other)
    assert encode_configuration(one) == bytes.fromhex(
        "01 03000000 0100000000000000 0900000000000000 2c01000000000000 00000000 00000000 00000000"
    )


@settings(deadline=None)
@given(configurations(), st.data())
def test_damaged_bytes_are_told_from_a_configuration_or_are_another(
    configuration: Configuration, draw: st.DataObject
) -> None:
    encoded = bytearray(encode_configuration(configuration))
    position = draw.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= draw.draw(st.integers(1, 255))
    try:
        decoded = decode_configuration(bytes(encoded))
    except MalformedConfiguration:
        return
    assert encode_configuration(decoded) == bytes(encoded), "one configuration, one form"


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_else(garbage: bytes) -> None:
    for attempt in (garbage, b"\x01" + garbage):
        try:
            decode_configuration(attempt)
        except MalformedConfiguration:
            continue


def test_bytes_too_short_and_too_long_are_refused() -> None:
    encoded = encode_configuration(voters(1, 2, 3, learners=[4]))
    for end in range(len(encoded)):
        with pytest.raises(MalformedConfiguration):
            decode_configuration(encoded[:end])
    with pytest.raises(MalformedConfiguration):
        decode_configuration(encoded + b"\0")


def test_one_voter_more_or_less_is_a_single_step() -> None:
    assert plan_change(voters(1, 2, 3), change(1, 2, 3, 4)) == voters(1, 2, 3, 4)
    assert plan_change(voters(1, 2, 3), change(1, 2)) == voters(1, 2)
    assert plan_change(voters(1, 2, 3, learners=[4]), change(1, 2, 3, 4)) == voters(1, 2, 3, 4)
    assert plan_change(voters(1, 2, 3), change(1, 2, learners=[3, 5])) == voters(1, 2, learners=[3, 5])


def test_more_than_that_goes_through_a_joint_configuration() -> None:
    joint = plan_change(voters(1, 2, 3, learners=[6]), change(1, 4, 5, learners=[2, 7]))
    assert joint == Configuration(
        voters=frozenset({1, 4, 5}),
        outgoing=frozenset({1, 2, 3}),
        learners=frozenset({7}),
        learners_next=frozenset({2}),
    )
    assert leave_joint(joint) == voters(1, 4, 5, learners=[2, 7])


def test_every_two_configurations_next_to_each_other_share_a_quorum() -> None:
    """The reason for it all: from old to planned, and from planned to left, no two disjoint quorums."""

    def groups(of: range) -> list[frozenset[int]]:
        return [frozenset(g) for g in chain.from_iterable(combinations(of, n) for n in range(1, len(of) + 1))]

    everyone = groups(range(1, 5))
    for old, new in product(everyone, everyone):
        planned = plan_change(Configuration(old), change(*new))
        steps = [Configuration(old), planned] + ([leave_joint(planned)] if planned.joint else [])
        for before, after in pairwise(steps):
            for one in everyone:
                if has_quorum(before, one):
                    assert not has_quorum(after, frozenset(range(1, 5)) - one)


def test_what_is_no_configuration_is_refused() -> None:
    with pytest.raises(InvalidChange):
        plan_change(voters(1), change())
    with pytest.raises(InvalidChange):
        plan_change(voters(1), change(1, 2, learners=[2]))


def test_history_answers_for_every_index_that_is_still_there() -> None:
    first, second = voters(1), voters(1, 2)
    membership = Membership(Checkpoint(10, 1, first), [(5, voters(9)), (12, second)])
    assert membership.current == second
    assert [membership.at(index) for index in (10, 11, 12, 99)] == [first, first, second, second]
    assert not membership.roll_back(13)
    assert membership.roll_back(12)
    assert (membership.current, membership.current_index) == (first, 10)

    entry = data(13, 1)._replace(kind=EntryKind.CONFIGURATION, data=encode_configuration(second))
    assert membership.note((data(12, 1), entry))
    membership.forget_below(13)
    assert membership.at(13) == second
    with pytest.raises(InvariantViolated):
        membership.at(12)


def test_an_entry_that_holds_no_configuration_stops_the_replica() -> None:
    membership = Membership(Checkpoint(0, 0, voters(1)), [])
    with pytest.raises(InvariantViolated, match="entry 1 holds no configuration"):
        membership.note((data(1, 1, b"garbage")._replace(kind=EntryKind.CONFIGURATION),))


# --- in a group


def test_a_group_grows_from_one_to_three_and_shrinks_to_another_one() -> None:
    cluster = Cluster(voters(1), spare=(2, 3))
    cluster.elect(1)
    cluster.propose(1, b"a")
    cluster[1].propose_configuration(change(1, 2, 3))
    cluster.settle()
    assert cluster[1].configuration == voters(1, 2, 3)
    assert [cluster.members[r].payloads for r in (1, 2, 3)] == [[b"a"]] * 3
    cluster[1].propose_configuration(change(3))
    cluster.settle()
    cluster.tick(60)
    assert cluster.leaders() == [3]
    assert cluster[3].configuration == voters(3)
    cluster.propose(3, b"b")
    cluster.settle()
    assert cluster.members[3].payloads == [b"a", b"b"]


def test_the_leader_leaves_the_joint_configuration_only_when_both_halves_have_it() -> None:
    cluster = Cluster(voters(1, 2, 3), spare=(4, 5))
    cluster.elect(1)
    cluster.isolate(4, 5)
    cluster[1].propose_configuration(change(1, 4, 5))
    cluster.settle()
    assert cluster[1].configuration.joint
    assert cluster[1].commit == 1, "a majority of the old half is not enough"
    cluster.heal()
    cluster.tick(6)
    assert cluster[1].configuration == voters(1, 4, 5)
    assert cluster[4].configuration == cluster[5].configuration == voters(1, 4, 5)


def test_a_new_leader_ends_the_joint_configuration_that_the_old_one_began() -> None:
    cluster = Cluster(voters(1, 2, 3), spare=(4, 5))
    cluster.elect(1)
    cluster[1].propose_configuration(change(1, 4, 5))
    cluster.settle(lambda message: message.sender != 4 and message.sender != 5)
    assert cluster[2].configuration.joint
    cluster.isolate(1)
    cluster.tick(60)
    leader = cluster.leader()
    assert leader in (2, 4, 5)
    cluster.heal()
    cluster.tick(60)
    assert cluster[cluster.leader()].configuration == voters(1, 4, 5)


def test_a_voter_that_is_to_become_a_learner_votes_until_the_joint_configuration_is_left() -> None:
    cluster = Cluster(voters(1, 2, 3), spare=(4,))
    cluster.elect(1)
    cluster[1].propose_configuration(change(1, 4, learners=[2, 3]))
    assert cluster[1].configuration.learners_next == {2, 3}
    cluster.drain()
    assert cluster[2].role is Role.FOLLOWER
    cluster.settle()
    assert cluster[2].role is cluster[3].role is Role.LEARNER
    assert cluster[1].configuration == voters(1, 4, learners=[2, 3])


def test_a_joining_learner_that_knows_nothing_is_brought_up_by_a_checkpoint_and_entries() -> None:
    cluster = Cluster(voters(1, 2, 3), spare=(4,))
    cluster.elect(1)
    cluster.propose(1, b"a", b"b", b"c")
    cluster.settle()
    leader = cluster.members[1]
    leader.storage.compact(3, leader.raft.configuration_at(4))
    cluster[1].propose_configuration(change(1, 2, 3, learners=[4]))
    cluster.settle()
    assert cluster[4].role is Role.LEARNER
    assert cluster.members[4].storage.checkpoint.index == 3
    assert cluster.members[4].payloads == [b"c"], "a and b came with the checkpoint's state"


def test_the_membership_survives_a_restart() -> None:
    cluster = Cluster(voters(1, 2, 3), spare=(4,))
    cluster.elect(1)
    cluster[1].propose_configuration(change(1, 2, 3, learners=[4]))
    cluster.settle()
    cluster.crash(4)
    assert cluster[4].role is Role.LEARNER
    assert isinstance(cluster.members[4].storage, MemoryStorage)
