"""The calls of one member to its group's coordinator, and what their answers do to its assignment.

Decisions are ``quorumlog.client.policy.membership``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from quorumlog.client.consumer_events import MembershipLost, MembershipSilent
from quorumlog.client.errors import QuorumlogError, Reason, UnknownTopic, make_error
from quorumlog.client.group_admin import COORDINATORS_TOPIC, coordinator_of
from quorumlog.client.network import now_ms
from quorumlog.client.offset_messages import partition_message, partitions_of
from quorumlog.client.policy.membership import Answer, Heartbeat, Join, Leave
from quorumlog.v1 import groups_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.client.assignment import Assignment
    from quorumlog.client.channel import NodeChannel
    from quorumlog.client.consumer_events import Event
    from quorumlog.client.consumer_observer import ConsumerObserver
    from quorumlog.client.network import Network
    from quorumlog.client.offset_types import TopicPartition
    from quorumlog.client.policy.membership import Membership

_CALL_MS = 3_000.0


class GroupMember:
    """Runs a membership. ``tell_error``: raise this where records are awaited, for the membership is over."""

    def __init__(
        self,
        network: Network,
        membership: Membership,
        assignment: Assignment,
        tell: Callable[[Event], None],
        tell_error: Callable[[Exception], None],
        observer: ConsumerObserver | None = None,
    ) -> None:
        self._network = network
        self._membership = membership
        self._assignment = assignment
        self._tell = tell
        self._tell_error = tell_error
        self._observer = observer
        self._wake = asyncio.Event()
        self._joined = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"member of {membership.group}")

    async def joined(self, timeout_ms: float) -> bool:
        """Wait until the group has taken this member in (or never will)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1000):
                await self._joined.wait()
        return self._joined.is_set()

    async def _run(self) -> None:
        try:
            await self._run_membership()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._tell_error(error)
        self._joined.set()

    async def _run_membership(self) -> None:
        membership = self._membership
        while not membership.over:
            call = membership.poll(now_ms())
            if call is None:
                await self._rest()
                continue
            try:
                answer = await self._call(call)
            except QuorumlogError as error:
                await self._failed(error)
                continue
            if answer is None:
                membership.left()
                continue
            if self._observer is not None:
                self._observer.assigned(membership.member, answer.generation, answer.assigned)
                if isinstance(call, Heartbeat) and call.released:
                    self._observer.gave_back(call.released)
            change = membership.answered(answer)
            self._joined.set()
            self._silence(silent=False)
            for partition in change.gained:
                self._assignment.gain(partition)
            for partition in change.revoked:
                self._assignment.revoke(partition, self._gave_back)

    async def _rest(self) -> None:
        wake_at_ms = self._membership.wake_at_ms()
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if wake_at_ms is None else max(wake_at_ms - now_ms(), 1.0) / 1000):
                await self._wake.wait()

    async def _failed(self, error: QuorumlogError) -> None:
        membership = self._membership
        lost = membership.failed(error, now_ms())
        self.look()
        if lost or membership.error is not None:
            self._tell(MembershipLost(membership.group, error))
            await self._assignment.drop(lost, error)
            membership.dropped()
        if membership.error is not None:
            self._tell_error(membership.error)

    def look(self) -> None:
        """Silence what is handed out if the group may have given this member up."""
        self._silence(silent=self._membership.silent(now_ms()))

    def _silence(self, *, silent: bool) -> None:
        assignment = self._assignment
        if assignment.silenced is not silent:
            assignment.silenced = silent
            if silent:
                self._tell(MembershipSilent(self._membership.group))
            for part in list(assignment.parts.values()):
                part.silence(silent)

    def _gave_back(self, partition: TopicPartition) -> None:
        self._membership.gave_back([partition])
        self._wake.set()

    async def leave(self, for_good: bool, timeout_ms: float) -> None:
        """End the membership, which takes one call; give up after so long: the session then ends by itself."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        membership = self._membership
        membership.leave(for_good)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1000):
                await self._run()

    # ---- calls

    async def _call(self, call: Join | Heartbeat | Leave) -> Answer | None:
        network = self._network
        try:
            view = await network.topic(COORDINATORS_TOPIC, timeout_ms=_CALL_MS, grace_ms=_CALL_MS)
        except UnknownTopic as error:
            # A cluster that has just been started makes them in its first seconds.
            words = "the cluster has no coordinators (yet)"
            raise make_error(Reason.NO_QUORUM, words, not_done=True) from error
        where = coordinator_of(call.group, len(view.partitions))

        async def ask(channel: NodeChannel, seconds: float) -> Answer | None:
            if isinstance(call, Join):
                return _joined(await channel.groups.Join(_join(call), timeout=seconds))
            if isinstance(call, Heartbeat):
                return _answer(await channel.groups.Heartbeat(_heartbeat(call), timeout=seconds))
            request = groups_pb2.LeaveRequest(group=call.group, member=call.member, for_good=call.for_good)
            await channel.groups.Leave(request, timeout=seconds)
            return None

        return await network.call_leader(COORDINATORS_TOPIC, where, ask, timeout_ms=_CALL_MS)


def _join(call: Join) -> groups_pb2.JoinRequest:
    return groups_pb2.JoinRequest(
        group=call.group,
        member=call.member,
        instance=call.instance,
        client=call.client,
        topics=call.topics,
        strategy=groups_pb2.Strategy.Value(f"STRATEGY_{call.strategy.name}"),
        session_timeout_ms=call.session_timeout_ms,
    )


def _heartbeat(call: Heartbeat) -> groups_pb2.HeartbeatRequest:
    return groups_pb2.HeartbeatRequest(
        group=call.group,
        member=call.member,
        owned=[partition_message(each) for each in call.owned],
        generation=call.generation,
        released=[partition_message(each) for each in call.released],
    )


def _joined(message: groups_pb2.JoinResponse) -> Answer:
    return Answer(message.generation, partitions_of(message.assigned), (), message.heartbeat_interval_ms)


def _answer(message: groups_pb2.HeartbeatResponse) -> Answer:
    return Answer(message.generation, partitions_of(message.assigned), partitions_of(message.pending), 0)
