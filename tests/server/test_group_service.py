"""Membership between messages and the node: nothing is lost on the way, and refusals end the call."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import grpc
import grpc.aio
import pytest
from server.scripted_desks import Context, ScriptedNode, outcome_of, shell
from structlog.testing import capture_logs

from quorumlog.machine.coordinator_commands import MemberView, Strategy
from quorumlog.replica import offset_api as api
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.server.groups import GroupsService
from quorumlog.v1 import groups_pb2 as pb
from quorumlog.v1 import offsets_pb2

ASSIGNMENT = api.MemberAssignment(7, (("t", 0), ("t", 1)), (("u", 2),), 2_500)


def at(topic: str, partition: int) -> offsets_pb2.TopicPartition:
    return offsets_pb2.TopicPartition(topic=topic, partition=partition)


@pytest.fixture
def node() -> ScriptedNode:
    return ScriptedNode()


@pytest.fixture
def desk(node: ScriptedNode) -> Any:
    return node.consumer_groups


class Served:
    def __init__(self, node: ScriptedNode) -> None:
        self.service = GroupsService(shell(node)[0])

    async def call(self, name: str, request: Any) -> Any:
        context: Any = Context()
        return await getattr(self.service, name)(request, context)

    async def refused(self, name: str, request: Any) -> Context:
        context: Any = Context()
        with pytest.raises(grpc.aio.AbortError):
            await getattr(self.service, name)(request, context)
        ended: Context = context
        return ended


@pytest.fixture
def served(node: ScriptedNode) -> Served:
    return Served(node)


async def test_join_passes_all_on_and_tells_what_to_own(served: Served, desk: Any) -> None:
    desk.answers["join"] = ASSIGNMENT
    answer = await served.call(
        "Join",
        pb.JoinRequest(
            group="g",
            member="m",
            instance="i",
            client="host:1",
            topics=["t", "u"],
            strategy=pb.STRATEGY_ROUND_ROBIN,
            session_timeout_ms=30_000,
        ),
    )
    asked = api.JoinRequest("g", "m", "i", "host:1", ("t", "u"), Strategy.ROUND_ROBIN, 30_000)
    assert desk.asked == [("join", asked, 1500)]
    assert answer == pb.JoinResponse(generation=7, assigned=[at("t", 0), at("t", 1)], heartbeat_interval_ms=2_500)


async def test_what_join_leaves_out_is_sticky_and_ten_seconds(served: Served, desk: Any) -> None:
    desk.answers["join"] = ASSIGNMENT
    await served.call("Join", pb.JoinRequest(group="g", member="m", topics=["t"]))
    asked = desk.asked[0][1]
    assert (asked.strategy, asked.session_timeout_ms) == (Strategy.STICKY, 10_000)


async def test_a_strategy_that_nobody_knows_is_refused(served: Served, desk: Any) -> None:
    refused = await served.refused("Join", pb.JoinRequest(group="g", member="m", strategy=9))  # type: ignore[arg-type]
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_GROUP")
    assert (refused.error.fields["field"], desk.asked) == ("strategy", [])


async def test_a_heartbeat_tells_what_is_owned_and_given_back_and_learns_what_should_be(
    served: Served, desk: Any
) -> None:
    desk.answers["heartbeat"] = ASSIGNMENT
    answer = await served.call(
        "Heartbeat",
        pb.HeartbeatRequest(
            group="g", member="m", generation=6, owned=[at("t", 0), at("t", 3)], released=[at("t", 3)]
        ),
    )
    assert desk.asked == [("heartbeat", "g", "m", 6, (("t", 0), ("t", 3)), (("t", 3),), 1500)]
    assert answer == pb.HeartbeatResponse(generation=7, assigned=[at("t", 0), at("t", 1)], pending=[at("u", 2)])


async def test_leave_and_delete_say_which(served: Served, desk: Any) -> None:
    desk.answers["leave"] = api.MemberLeft()
    desk.answers["drop"] = api.GroupDropped()
    assert await served.call("Leave", pb.LeaveRequest(group="g", member="m", for_good=True)) == pb.LeaveResponse()
    assert await served.call("Delete", pb.DeleteGroupRequest(group="g")) == pb.DeleteGroupResponse()
    assert desk.asked == [("leave", "g", "m", True, 1500), ("drop", "g", 1500)]


async def test_a_group_is_described_from_within(served: Served, desk: Any) -> None:
    view = MemberView("m", "i", "host:1", ("t",), (("t", 0),), (("t", 0), ("t", 1)), 10_000)
    desk.answers["describe"] = api.DescribedGroup(
        "g", "REBALANCING", 7, Strategy.RANGE, (api.DescribedMember(view, 120),), 2, 3
    )
    answer = await served.call("Describe", pb.DescribeGroupRequest(group="g"))
    assert answer == pb.DescribeGroupResponse(
        group="g",
        state="REBALANCING",
        generation=7,
        strategy=pb.STRATEGY_RANGE,
        members=[
            pb.GroupMember(
                member="m",
                instance="i",
                client="host:1",
                topics=["t"],
                owned=[at("t", 0)],
                target=[at("t", 0), at("t", 1)],
                session_timeout_ms=10_000,
                silent_ms=120,
            )
        ],
        coordinator_node_id=2,
        coordinator_partition=3,
    )


async def test_groups_are_listed(served: Served, desk: Any) -> None:
    desk.answers["list"] = (api.ListedGroup("g", "STABLE", 3, 7), api.ListedGroup("h", "EMPTY", 0, 1))
    answer = await served.call("List", pb.ListGroupsRequest())
    assert list(answer.groups) == [
        pb.GroupListing(group="g", state="STABLE", members=3, generation=7),
        pb.GroupListing(group="h", state="EMPTY", members=0, generation=1),
    ]


@pytest.mark.parametrize(
    ("name", "call", "request_"),
    [
        ("Join", "join", pb.JoinRequest(group="g", member="m")),
        ("Heartbeat", "heartbeat", pb.HeartbeatRequest(group="g", member="m")),
        ("Leave", "leave", pb.LeaveRequest(group="g", member="m")),
        ("Describe", "describe", pb.DescribeGroupRequest(group="g")),
        ("List", "list", pb.ListGroupsRequest()),
        ("Delete", "drop", pb.DeleteGroupRequest(group="g")),
    ],
)
async def test_every_refusal_ends_the_call_and_names_the_coordinator(
    served: Served, desk: Any, name: str, call: str, request_: Any
) -> None:
    desk.answers[call] = Failure(Reason.NOT_LEADER, "elsewhere", Outcome.UNKNOWN, leader_node=2)
    refused = await served.refused(name, request_)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_LEADER")
    assert (refused.error.leader.address, outcome_of(refused.error)) == ("two:7401", "UNKNOWN")


async def test_a_refusal_that_reaches_nobody_is_no_defect(served: Served, desk: Any) -> None:
    class Gone(Context):
        async def abort(self, *_: object, **__: object) -> NoReturn:
            raise grpc.aio.InternalError("Failed 'execute_batch'")

    desk.answers["leave"] = Failure(Reason.NO_QUORUM, "no quorum")
    context: Any = Gone()
    with capture_logs() as logged, pytest.raises(asyncio.CancelledError):
        await served.service.Leave(pb.LeaveRequest(group="g", member="m"), context)
    assert logged == []
