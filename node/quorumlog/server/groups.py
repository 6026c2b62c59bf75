"""quorumlog.v1.Groups: membership of consumer groups. Translation between messages and the node, nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.machine.coordinator_commands import DEFAULT_SESSION_TIMEOUT_MS, GroupPartition, Strategy
from quorumlog.replica import offset_api as api
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.server.calls import Context, Shell, guarded
from quorumlog.v1 import groups_pb2 as pb
from quorumlog.v1 import groups_pb2_grpc, offsets_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable


class GroupsService(groups_pb2_grpc.GroupsServicer):
    """See the module."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell

    @guarded
    async def Join(self, request: pb.JoinRequest, context: Context) -> pb.JoinResponse:
        strategy = _strategy(request.strategy)
        if isinstance(strategy, Failure):
            await self.shell.errors.abort(context, strategy)
        asked = api.JoinRequest(
            group=request.group,
            member=request.member,
            instance=request.instance,
            client=request.client,
            topics=tuple(request.topics),
            strategy=strategy,
            session_timeout_ms=request.session_timeout_ms or DEFAULT_SESSION_TIMEOUT_MS,
        )
        timeout_ms = self.shell.timeout_ms(context)
        joined: api.MemberAssignment = await self.shell.ask(
            context,
            lambda node, done: node.consumer_groups.join(asked, timeout_ms, done),
            late=Outcome.UNKNOWN,
        )
        return pb.JoinResponse(
            generation=joined.generation,
            assigned=_messages(joined.assigned),
            heartbeat_interval_ms=joined.heartbeat_interval_ms,
        )

    @guarded
    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Context) -> pb.HeartbeatResponse:
        owned, released = _values(request.owned), _values(request.released)
        timeout_ms = self.shell.timeout_ms(context)
        told: api.MemberAssignment = await self.shell.ask(
            context,
            lambda node, done: node.consumer_groups.heartbeat(
                request.group, request.member, request.generation, owned, released, timeout_ms, done
            ),
            late=Outcome.UNKNOWN,
        )
        return pb.HeartbeatResponse(
            generation=told.generation, assigned=_messages(told.assigned), pending=_messages(told.pending)
        )

    @guarded
    async def Leave(self, request: pb.LeaveRequest, context: Context) -> pb.LeaveResponse:
        timeout_ms = self.shell.timeout_ms(context)
        left: api.MemberLeft = await self.shell.ask(
            context,
            lambda node, done: node.consumer_groups.leave(
                request.group, request.member, request.for_good, timeout_ms, done
            ),
            late=Outcome.UNKNOWN,
        )
        assert isinstance(left, api.MemberLeft)
        return pb.LeaveResponse()

    @guarded
    async def Describe(self, request: pb.DescribeGroupRequest, context: Context) -> pb.DescribeGroupResponse:
        timeout_ms = self.shell.timeout_ms(context)
        group: api.DescribedGroup = await self.shell.ask(
            context, lambda node, done: node.consumer_groups.describe(request.group, timeout_ms, done)
        )
        return pb.DescribeGroupResponse(
            group=group.group,
            state=group.state,
            generation=group.generation,
            strategy=pb.Strategy.ValueType(group.strategy),
            members=[_member(member) for member in group.members],
            coordinator_node_id=group.coordinator_node,
            coordinator_partition=group.coordinator_partition,
        )

    @guarded
    async def List(self, request: pb.ListGroupsRequest, context: Context) -> pb.ListGroupsResponse:
        timeout_ms = self.shell.timeout_ms(context)
        groups: tuple[api.ListedGroup, ...] = await self.shell.ask(
            context, lambda node, done: node.consumer_groups.list(timeout_ms, done)
        )
        return pb.ListGroupsResponse(
            groups=[
                pb.GroupListing(
                    group=group.group, state=group.state, members=group.members, generation=group.generation
                )
                for group in groups
            ]
        )

    @guarded
    async def Delete(self, request: pb.DeleteGroupRequest, context: Context) -> pb.DeleteGroupResponse:
        timeout_ms = self.shell.timeout_ms(context)
        dropped: api.GroupDropped = await self.shell.ask(
            context,
            lambda node, done: node.consumer_groups.drop(request.group, timeout_ms, done),
            late=Outcome.UNKNOWN,
        )
        assert isinstance(dropped, api.GroupDropped)
        return pb.DeleteGroupResponse()


def _strategy(number: int) -> Strategy | Failure:
    if number == pb.STRATEGY_UNSPECIFIED:
        return Strategy.STICKY
    try:
        return Strategy(number)
    except ValueError:
        return Failure(Reason.INVALID_GROUP, f"there is no strategy {number}", fields={"field": "strategy"})


def _values(partitions: Iterable[offsets_pb2.TopicPartition]) -> tuple[GroupPartition, ...]:
    return tuple((where.topic, where.partition) for where in partitions)


def _messages(partitions: Iterable[GroupPartition]) -> list[offsets_pb2.TopicPartition]:
    return [offsets_pb2.TopicPartition(topic=topic, partition=number) for topic, number in partitions]


def _member(member: api.DescribedMember) -> pb.GroupMember:
    view = member.view
    return pb.GroupMember(
        member=view.member,
        instance=view.instance,
        client=view.client,
        topics=view.topics,
        owned=_messages(view.owned),
        target=_messages(view.target),
        session_timeout_ms=view.session_timeout_ms,
        silent_ms=min(member.silent_ms, 0xFFFFFFFF),
    )
