"""What a coordinator promises, on three nodes: partitions shared, handed over in turn, kept through its death."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from replica.trio import TICK_MS, Trio, batch

from quorumlog.machine import AlterTopic, TopicConfig
from quorumlog.machine.coordinator_commands import GroupPartition, Strategy
from quorumlog.replica import Failure, Frame, Outcome, Reason
from quorumlog.replica.consumer_groups import coordinator_of
from quorumlog.replica.ids import CONTROLLER_GROUP
from quorumlog.replica.liveness import RETRY_MS
from quorumlog.replica.offset_api import (
    GroupDropped,
    JoinRequest,
    ListedGroup,
    MemberAssignment,
    MemberLeft,
)

GROUP = "readers"
COORDINATORS = 2
PARTITIONS = 12
SESSION_MS = 6_000
FIRST_COORDINATOR = 2


class Consumer:
    """A member as a client is one: it owns what it is assigned, and gives back what it is not assigned any more."""

    def __init__(self, desk: Desk, name: str, instance: str = "", topics: tuple[str, ...] = ("t",)) -> None:
        self.desk = desk
        self.name = name
        self.instance = instance
        self.topics = topics
        self.generation = 0
        self.owned: set[GroupPartition] = set()
        self.pending: tuple[GroupPartition, ...] = ()
        self.interval_ms = 0

    def join(self) -> MemberAssignment:
        return self._take(self.desk.join(self.name, instance=self.instance, topics=self.topics))

    def beat(self) -> MemberAssignment:
        """A heartbeat that gives nothing back."""
        return self._take(self.desk.heartbeat(self.name, self.generation, tuple(sorted(self.owned))))

    def hand_over(self) -> set[GroupPartition]:
        """Learns its assignment and gives back what is not in it; what that was."""
        told = self.beat()
        surplus = self.owned - set(told.assigned)
        if surplus:
            self.owned -= surplus
            released = tuple(sorted(surplus))
            self._take(self.desk.heartbeat(self.name, self.generation, tuple(sorted(self.owned)), released))
        return surplus

    def _take(self, told: MemberAssignment) -> MemberAssignment:
        assert isinstance(told, MemberAssignment), told
        self.generation, self.pending, self.interval_ms = told.generation, told.pending, told.heartbeat_interval_ms
        self.owned |= set(told.assigned)
        return told


class Desk:
    """A trio with coordinators and a topic, and the way to the group's coordinator."""

    def __init__(self, trio: Trio | None = None) -> None:
        self.trio = trio or Trio(coordinators=COORDINATORS, balance_leaders=False)
        self.group_id = FIRST_COORDINATOR + coordinator_of(GROUP, COORDINATORS)
        self.trio.make_topic(partitions=PARTITIONS)
        self.leader()

    def leader(self) -> int:
        self.trio.until(lambda: self.trio.leader(self.group_id) is not None)
        leader = self.trio.leader(self.group_id)
        assert leader is not None
        return leader

    def another(self) -> int:
        return next(node for node in self.trio.nodes if node != self.leader())

    def call(self, what: str, *arguments: Any, node: int = 0, timeout_ms: int = 0) -> Any:
        def request(one: Any, done: Any) -> None:
            getattr(one.consumer_groups, what)(*arguments, timeout_ms, done)

        answers = self.trio.ask(node or self.leader(), request)
        self.trio.until(lambda: bool(answers), within_ms=4_000)
        assert len(answers) == 1
        return answers[0]

    def join(self, member: str, *, group: str = GROUP, node: int = 0, timeout_ms: int = 0, **fields: Any) -> Any:
        wanted: dict[str, Any] = {
            "instance": "",
            "client": "test",
            "topics": ("t",),
            "strategy": Strategy.STICKY,
            "session_timeout_ms": SESSION_MS,
        }
        asked = JoinRequest(group, member, **{**wanted, **fields})
        return self.call("join", asked, node=node, timeout_ms=timeout_ms)

    def heartbeat(
        self,
        member: str,
        generation: int,
        owned: tuple[GroupPartition, ...] = (),
        released: tuple[GroupPartition, ...] = (),
        node: int = 0,
    ) -> Any:
        return self.call("heartbeat", GROUP, member, generation, owned, released, node=node)

    def describe(self) -> Any:
        return self.call("describe", GROUP)

    def consumers(self, *names: str) -> list[Consumer]:
        """Joined, and with everything handed over."""
        consumers = [Consumer(self, name) for name in names]
        for consumer in consumers:
            consumer.join()
        hand_all_over(consumers)
        return consumers


def hand_all_over(consumers: list[Consumer]) -> None:
    for _ in range(2):
        for consumer in consumers:
            consumer.hand_over()


def assert_shared(consumers: list[Consumer]) -> None:
    """Every partition has one owner, and the owners have equally many."""
    owned = [partition for consumer in consumers for partition in consumer.owned]
    assert sorted(owned) == [("t", number) for number in range(PARTITIONS)]
    loads = [len(consumer.owned) for consumer in consumers]
    assert max(loads) - min(loads) <= 1


# --- membership -----------------------------------------------------------------------------------------------


def test_three_members_share_the_partitions() -> None:
    desk = Desk()
    consumers = desk.consumers("a", "b", "c")
    assert_shared(consumers)
    view = desk.describe()
    assert (view.state, view.generation) == ("STABLE", 3)
    assert [set(member.view.owned) for member in view.members] == [consumer.owned for consumer in consumers]
    assert (view.coordinator_node, view.coordinator_partition) == (desk.leader(), desk.group_id - FIRST_COORDINATOR)


def test_a_partition_goes_to_its_new_owner_only_when_the_old_one_has_given_it_back() -> None:
    desk = Desk()
    (first,) = desk.consumers("a")
    second = Consumer(desk, "b")
    told = second.join()
    assert told.assigned == ()
    assert len(told.pending) == PARTITIONS // 2
    first.beat()
    desk.trio.pass_time(1_000)
    assert second.beat().assigned == (), "it was told to give back, but has not"
    assert desk.describe().state == "REBALANCING"
    given_back = first.hand_over()
    assert set(second.beat().assigned) == given_back
    assert desk.describe().state == "STABLE"


def test_a_fourth_member_moves_only_what_it_gets() -> None:
    desk = Desk()
    consumers = desk.consumers("a", "b", "c")
    before = {consumer.name: set(consumer.owned) for consumer in consumers}
    fourth = Consumer(desk, "d")
    fourth.join()
    given_back = {partition for consumer in consumers for partition in consumer.hand_over()}
    fourth.beat()
    assert fourth.owned == given_back
    assert all(consumer.owned == before[consumer.name] - given_back for consumer in consumers)
    assert_shared([*consumers, fourth])


def test_a_repeated_join_changes_nothing() -> None:
    desk = Desk()
    (consumer, _) = desk.consumers("a", "b")
    told = consumer.join()
    assert (told.generation, set(told.assigned)) == (2, consumer.owned)
    assert desk.describe().generation == 2


def test_what_a_member_leaves_is_anothers_at_once() -> None:
    desk = Desk()
    first, second = desk.consumers("a", "b")
    assert desk.call("leave", GROUP, "b", False) == MemberLeft()
    assert len(first.beat().assigned) == PARTITIONS
    refused = desk.heartbeat("b", second.generation)
    assert (refused.reason, refused.outcome) == (Reason.UNKNOWN_MEMBER, Outcome.NOT_DONE)
    assert desk.call("leave", GROUP, "b", False) == MemberLeft(), "to leave twice is no error"


def test_a_partition_granted_and_taken_away_before_its_member_heard_of_it_does_not_stay_with_it() -> None:
    desk = Desk()
    (first,) = desk.consumers("a")
    silent = Consumer(desk, "b")
    silent.join()
    first.hand_over()
    third = Consumer(desk, "c")
    third.join()
    assert third.pending, "partitions that were just granted to b, who does not know it"
    silent.hand_over()
    first.hand_over()
    silent.hand_over()
    third.beat()
    assert_shared([first, silent, third])


def test_a_give_back_that_comes_late_does_not_take_what_was_granted_anew() -> None:
    desk = Desk()
    first, second = desk.consumers("a", "b")
    moved = tuple(sorted(second.owned))
    stale = first.generation - 1
    desk.call("leave", GROUP, "b", False)
    first.beat()
    third = Consumer(desk, "c")
    third.join()
    desk.heartbeat("a", stale, (), moved)
    assert third.beat().assigned == (), "the message was from before they came back to a"


# --- the coordinator's death ----------------------------------------------------------------------------------


def test_the_death_of_the_coordinator_moves_nothing() -> None:
    desk = Desk()
    consumers = desk.consumers("a", "b", "c")
    before = desk.describe()
    desk.trio.kill(desk.leader())
    desk.trio.pass_time(SESSION_MS - 1_000)
    for consumer in consumers:
        told = consumer.beat()
        assert (told.generation, set(told.assigned), told.pending) == (before.generation, consumer.owned, ())
    assert [one.view for one in desk.describe().members] == [one.view for one in before.members]


def test_a_new_coordinator_gives_every_member_a_whole_session_before_it_gives_it_up() -> None:
    desk = Desk()
    first, _second = desk.consumers("a", "b")
    desk.trio.pass_time(SESSION_MS - 1_000)
    first.beat()
    desk.trio.kill(desk.leader())
    desk.leader()
    desk.trio.pass_time(SESSION_MS - 500)
    assert first.beat().generation == 2, "b was silent for longer than a session, but not to this coordinator"
    desk.trio.pass_time(1_000)
    told = first.beat()
    assert (told.generation, len(told.assigned)) == (3, PARTITIONS)


def test_a_handover_goes_on_under_the_next_coordinator() -> None:
    desk = Desk()
    (first,) = desk.consumers("a")
    second = Consumer(desk, "b")
    second.join()
    desk.trio.kill(desk.leader())
    assert second.beat().assigned == ()
    given_back = first.hand_over()
    assert set(second.beat().assigned) == given_back


def test_a_coordinator_that_was_cut_off_stops_answering_and_keeps_nobody_alive() -> None:
    desk = Desk()
    first, second = desk.consumers("a", "b")
    old = desk.leader()
    desk.trio.isolate(old)
    desk.trio.pass_time(3_000)
    assert desk.leader() != old
    refused = desk.heartbeat("b", second.generation, node=old)
    assert isinstance(refused, Failure)
    assert refused.reason is Reason.NO_QUORUM
    first.beat()
    desk.trio.pass_time(SESSION_MS - 500)
    assert len(first.beat().assigned) == PARTITIONS, "b spoke to nobody who leads"
    desk.trio.heal()
    desk.trio.pass_time(1_000)
    late = desk.heartbeat("b", second.generation)
    assert late.reason is Reason.UNKNOWN_MEMBER


def test_that_somebody_is_no_member_is_said_only_when_a_majority_confirms_it() -> None:
    desk = Desk()
    desk.consumers("a")
    leader = desk.leader()
    desk.trio.isolate(leader)
    refused = desk.heartbeat("nobody", 1, node=leader)
    assert refused.reason in (Reason.NO_QUORUM, Reason.NOT_LEADER)


# --- sessions -------------------------------------------------------------------------------------------------


def test_a_silent_member_is_given_up_after_its_session_and_not_before() -> None:
    desk = Desk()
    first, second = desk.consumers("a", "b")
    begun = desk.trio.clock.time_ms
    second.beat()
    while desk.trio.clock.time_ms < begun + SESSION_MS - 1_000:
        desk.trio.pass_time(1_000)
        assert first.beat().generation == 2
    desk.trio.pass_time(1_500)
    told = first.beat()
    assert (told.generation, len(told.assigned)) == (3, PARTITIONS)
    assert [member.view.member for member in desk.describe().members] == ["a"]


def test_silent_members_expire_though_nobody_asks_and_the_group_is_quiet() -> None:
    desk = Desk()
    desk.consumers("a", "b")
    desk.trio.until(lambda: all(desk.trio.replica(node, desk.group_id).quiet for node in desk.trio.ids))
    desk.trio.pass_time(SESSION_MS + RETRY_MS)
    view = desk.describe()
    assert (view.state, view.members) == ("EMPTY", ())


def test_living_members_do_not_keep_a_coordinator_awake() -> None:
    desk = Desk()
    consumers = desk.consumers("a", "b")
    replicas = [(node, group) for node in desk.trio.ids for group in (FIRST_COORDINATOR, FIRST_COORDINATOR + 1)]
    desk.trio.until(lambda: all(desk.trio.replica(*replica).quiet for replica in replicas))
    for _ in range(10):
        desk.trio.pass_time(consumers[0].interval_ms)
        for consumer in consumers:
            consumer.beat()
        assert all(desk.trio.replica(*replica).quiet for replica in replicas)


def test_how_long_a_member_has_been_silent_is_told() -> None:
    desk = Desk()
    (consumer,) = desk.consumers("a")
    consumer.beat()
    desk.trio.pass_time(1_500)
    assert desk.describe().members[0].silent_ms == 1_500
    consumer.beat()
    assert desk.describe().members[0].silent_ms == 0


@pytest.mark.parametrize(("session_ms", "interval_ms"), [(1_000, 250), (10_000, 2_500), (600_000, 3_000)])
def test_heartbeats_are_wanted_four_times_a_session_and_every_three_seconds_at_least(
    session_ms: int, interval_ms: int
) -> None:
    desk = Desk()
    assert desk.join("a", session_timeout_ms=session_ms).heartbeat_interval_ms == interval_ms


# --- static members -------------------------------------------------------------------------------------------


def test_a_static_member_that_restarts_gets_what_it_had_and_fences_its_former_life() -> None:
    desk = Desk()
    (other,) = desk.consumers("other")
    old = Consumer(desk, "life-1", instance="disk-7")
    old.join()
    hand_all_over([other, old])
    assert desk.call("leave", GROUP, "life-1", False) == MemberLeft()
    desk.trio.pass_time(1_000)
    assert other.hand_over() == set(), "nothing moves while it is away"
    new = Consumer(desk, "life-2", instance="disk-7")
    told = new.join()
    assert set(told.assigned) == old.owned
    assert told.generation == old.generation + 1
    assert other.hand_over() == set()
    refused = desk.heartbeat("life-1", old.generation)
    assert refused.reason is Reason.UNKNOWN_MEMBER
    again = desk.join("life-1", instance="disk-7")
    assert again.reason is Reason.UNKNOWN_MEMBER, "or two processes would take the place from each other for ever"
    assert set(new.beat().assigned) == old.owned


def test_a_static_member_that_stays_away_expires_and_one_that_leaves_for_good_is_gone_at_once() -> None:
    desk = Desk()
    (other,) = desk.consumers("other")
    Consumer(desk, "life-1", instance="disk-7").join()
    desk.call("leave", GROUP, "life-1", False)
    for _ in range(SESSION_MS // 1_000 + 1):
        desk.trio.pass_time(1_000)
        other.beat()
    assert [member.view.member for member in desk.describe().members] == ["other"]
    Consumer(desk, "life-2", instance="disk-7").join()
    assert desk.call("leave", GROUP, "life-2", True) == MemberLeft()
    assert [member.view.member for member in desk.describe().members] == ["other"]


# --- topics ---------------------------------------------------------------------------------------------------


def test_a_deleted_topic_is_taken_from_its_readers_and_given_back_when_it_is_made_again() -> None:
    desk = Desk()
    desk.trio.make_topic("u", partitions=3)
    consumer = Consumer(desk, "a", topics=("t", "u"))
    assert len(consumer.join().assigned) == PARTITIONS + 3
    admin = desk.trio.leader(1)
    assert admin is not None
    desk.trio.ask(admin, lambda node, done: node.delete_topic("u", done))
    desk.trio.pass_time(500)
    told = consumer.beat()
    assert (told.generation, len(told.assigned)) == (2, PARTITIONS)
    desk.trio.make_topic("u", partitions=5)
    desk.trio.pass_time(500)
    assert len(consumer.beat().assigned) == PARTITIONS + 5


def test_a_cluster_that_starts_anew_takes_nothing_from_anybody() -> None:
    desk = Desk()
    (consumer,) = desk.consumers("a")
    for node in desk.trio.ids:
        desk.trio.kill(node)
    for node in desk.trio.ids:
        desk.trio.start(node)
    desk.leader()
    desk.trio.pass_time(1_000)
    told = consumer.beat()
    assert (told.generation, len(told.assigned)) == (1, PARTITIONS)


class DeafTrio(Trio):
    """``deaf`` is a node that hears nothing of the controller group: what it knows of topics is old."""

    deaf = 0

    def _deliver(self, frame: Frame) -> None:
        if frame.to == self.deaf:
            heard = tuple(item for item in frame.messages if item[0] != CONTROLLER_GROUP)
            frame = replace(frame, messages=heard)
        super()._deliver(frame)


def test_a_coordinator_that_has_not_heard_of_a_topic_does_not_take_it_from_its_readers() -> None:
    trio = DeafTrio(coordinators=COORDINATORS, balance_leaders=False)
    desk = Desk(trio)
    old = desk.leader()
    trio.deaf = next(node for node in trio.ids if node not in (old, trio.leader(CONTROLLER_GROUP)))
    trio.make_topic("u")
    consumer = Consumer(desk, "a", topics=("t", "u"))
    consumer.join()
    trio.nodes[old]._replicas[desk.group_id].transfer_leadership(trio.deaf)
    trio.pass_time(500)
    assert desk.leader() == trio.deaf
    assert consumer.beat().generation == 1, "it knows of no topic u, and cannot confirm that there is none"
    trio.deaf = 0
    trio.pass_time(3_000)
    assert consumer.beat().generation == 1


# --- groups ---------------------------------------------------------------------------------------------------


def test_every_group_is_listed_by_the_node_that_coordinates_it() -> None:
    desk = Desk()
    names = ["alpha", "beta", "gamma", "delta", "epsilon", GROUP]
    for name in names:
        group_id = FIRST_COORDINATOR + coordinator_of(name, COORDINATORS)
        desk.trio.until(lambda group_id=group_id: desk.trio.leader(group_id) is not None)  # type: ignore[misc]
        node = desk.trio.leader(group_id)
        assert node is not None
        desk.join("a", group=name, node=node)
    listed: list[ListedGroup] = []
    for node in desk.trio.ids:
        listed += desk.call("list", node=node)
    assert sorted(one.group for one in listed) == sorted(names)
    assert {(one.state, one.members, one.generation) for one in listed} == {("STABLE", 1, 1)}


def test_a_group_without_members_can_be_dropped_and_comes_back_in_a_later_generation() -> None:
    desk = Desk()
    desk.consumers("a", "b")
    refused = desk.call("drop", GROUP)
    assert (refused.reason, refused.fields) == (Reason.GROUP_ACTIVE, {"members": "2"})
    desk.call("leave", GROUP, "a", False)
    desk.call("leave", GROUP, "b", False)
    last = desk.describe().generation
    assert desk.call("drop", GROUP) == GroupDropped()
    assert desk.describe().reason is Reason.UNKNOWN_GROUP
    assert desk.join("c").generation > last, "partitions remember the generations of before"


# --- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"group": ""}, Reason.INVALID_GROUP, "group"),
        ({"group": "x" * 250}, Reason.INVALID_GROUP, "group"),
        ({"group": "no spaces"}, Reason.INVALID_GROUP, "group"),
        ({"group": "__mine"}, Reason.INVALID_GROUP, "group"),
        ({"member": ""}, Reason.INVALID_GROUP, "member"),
        ({"member": "ä"}, Reason.INVALID_GROUP, "member"),
        ({"instance": "a b"}, Reason.INVALID_GROUP, "instance"),
        ({"topics": ()}, Reason.INVALID_REQUEST, "topics"),
        ({"topics": tuple(f"t{number}" for number in range(101))}, Reason.INVALID_REQUEST, "topics"),
        ({"topics": ("__groups",)}, Reason.INVALID_TOPIC, "topic"),
        ({"topics": ("t", "nowhere")}, Reason.UNKNOWN_TOPIC, "topic"),
        ({"session_timeout_ms": 999}, Reason.INVALID_REQUEST, "session_timeout_ms"),
        ({"session_timeout_ms": 600_001}, Reason.INVALID_REQUEST, "session_timeout_ms"),
        ({"client": "x" * 1_025}, Reason.INVALID_REQUEST, "client"),
    ],
)
def test_what_cannot_join_is_told_why(fields: dict[str, Any], reason: Reason, field: str) -> None:
    desk = Desk()
    refused = desk.join(fields.pop("member", "a"), **fields)
    assert isinstance(refused, Failure)
    assert (refused.reason, refused.outcome) == (reason, Outcome.NOT_DONE)
    assert refused.fields.get("field") == field or field in refused.fields


def test_members_of_a_group_use_one_strategy() -> None:
    desk = Desk()
    desk.consumers("a")
    refused = desk.join("b", strategy=Strategy.RANGE)
    assert (refused.reason, refused.fields["field"]) == (Reason.INVALID_GROUP, "strategy")
    desk.call("leave", GROUP, "a", False)
    assert isinstance(desk.join("b", strategy=Strategy.RANGE), MemberAssignment)


def test_who_asks_another_node_is_sent_to_the_coordinator() -> None:
    desk = Desk()
    refused = desk.join("a", node=desk.another())
    assert (refused.reason, refused.leader_node) == (Reason.NOT_LEADER, desk.leader())


def test_a_coordinator_without_a_majority_says_no_quorum_in_time() -> None:
    desk = Desk()
    leader = desk.leader()
    desk.trio.isolate(leader)
    begun = desk.trio.clock.time_ms
    first = desk.join("a", node=leader)
    assert (first.reason, first.outcome) == (Reason.NO_QUORUM, Outcome.UNKNOWN)
    assert desk.trio.clock.time_ms - begun <= 2_000
    desk.trio.pass_time(3_000)
    for answer in (desk.join("a", node=leader), desk.call("describe", GROUP, node=leader)):
        assert (answer.reason, answer.outcome) == (Reason.NO_QUORUM, Outcome.NOT_DONE)


def test_a_coordinator_that_was_just_cut_off_answers_for_an_unknown_topic_within_the_time_of_the_request() -> None:
    desk = Desk()
    leader = desk.leader()
    desk.trio.isolate(leader)
    begun = desk.trio.clock.time_ms
    refused = desk.join("a", topics=("nowhere",), node=leader, timeout_ms=300)
    assert (refused.reason, refused.outcome) == (Reason.NO_QUORUM, Outcome.NOT_DONE)
    assert desk.trio.clock.time_ms - begun <= 300 + TICK_MS


def test_unknown_groups_are_unknown() -> None:
    desk = Desk()
    assert desk.describe().reason is Reason.UNKNOWN_GROUP
    assert desk.call("drop", GROUP).reason is Reason.UNKNOWN_GROUP
    assert desk.heartbeat("a", 1).reason is Reason.UNKNOWN_MEMBER


def test_a_node_that_stops_serves_no_groups() -> None:
    desk = Desk()
    node = desk.leader()
    desk.trio.nodes[node].begin_shutdown()
    for answer in (desk.join("a", node=node), desk.call("list", node=node)):
        assert answer.reason is Reason.SHUTTING_DOWN


# --- the internal topic ---------------------------------------------------------------------------------------


def test_the_internal_topic_is_in_the_metadata_and_not_for_users() -> None:
    desk = Desk()
    (metadata,) = desk.trio.ask(1, lambda node, done: node.metadata((), done))
    internal = {topic.name: topic for topic in metadata.topics}["__groups"]
    assert [partition.group_id for partition in internal.partitions] == [2, 3]
    assert all(len(partition.replicas) == 3 and partition.leader_node for partition in internal.partitions)
    controller = desk.trio.leader(1)
    assert controller is not None
    refused = [
        desk.trio.ask(controller, lambda node, done: node.create_topic("__groups", TopicConfig(), done)),
        desk.trio.ask(controller, lambda node, done: node.alter_topic(AlterTopic("__groups", 1), done)),
        desk.trio.ask(controller, lambda node, done: node.delete_topic("__groups", done)),
        desk.trio.ask(1, lambda node, done: node.append("__groups", 0, batch([b"a"]), 0, done)),
        desk.trio.ask(1, lambda node, done: node.read("__groups", 0, 0, 1_000, 0, done)),
    ]
    assert [answers[0].reason for answers in refused] == [Reason.INVALID_TOPIC] * 5


def test_a_damaged_coordinators_replica_is_replaced_and_forgets_nothing() -> None:
    desk = Desk()
    consumers = desk.consumers("a", "b")
    leader = desk.leader()
    replica = desk.trio.nodes[leader]._replicas[desk.group_id]
    desk.trio.nodes[leader].quarantine(replica, "a test says so")
    desk.trio.pass_time(4_000)
    for consumer in consumers:
        assert consumer.beat().generation == 2
    desk.trio.until(lambda: desk.trio.replica(leader, desk.group_id) is not None)
    assert desk.trio.replica(leader, desk.group_id).topic == "__groups"


def test_a_cluster_without_coordinators_says_so() -> None:
    trio = Trio()
    trio.make_topic()
    asked = JoinRequest(GROUP, "a", "", "", ("t",), Strategy.STICKY, SESSION_MS)
    (refused,) = trio.ask(trio.led(), lambda node, done: node.consumer_groups.join(asked, 0, done))
    assert refused.reason is Reason.INVALID_REQUEST
