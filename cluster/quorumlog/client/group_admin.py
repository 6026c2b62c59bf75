"""Consumer groups as an operator sees them: who is in one, who holds what, and removing one.

A group may be known to two parties: its coordinator (members, generation) and the partitions (offsets). Consumers
that name their partitions themselves have no coordinator, and members may join before anything is committed; so a
list of groups is made of both.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import google_crc32c

from quorumlog.client.errors import QuorumlogError, Reason, UnknownGroup
from quorumlog.client.offset_admin import OffsetAdmin
from quorumlog.client.offset_messages import described_of
from quorumlog.client.offset_types import DescribedGroup, ListedGroup
from quorumlog.v1 import groups_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from quorumlog.client.channel import NodeChannel

#: The internal topic whose partitions' leaders coordinate groups.
COORDINATORS_TOPIC = "__groups"


def coordinator_of(group: str, partitions: int) -> int:
    """The partition of the internal topic in which a group lives (groups.proto)."""
    checksum: int = google_crc32c.value(group.encode())
    return checksum % partitions


class GroupAdmin:
    """List, describe and delete groups; ``offsets`` is the OffsetAdmin for their offsets, on the same connections.

    An asynchronous context manager. Every call raises a QuorumlogError after about ``timeout_ms`` at the latest.
    """

    def __init__(self, servers: str | Sequence[str], *, timeout_ms: float = 10_000.0) -> None:
        self.offsets = OffsetAdmin(servers, timeout_ms=timeout_ms)
        self._network = self.offsets.network
        self._timeout_ms = timeout_ms

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections."""
        await self.offsets.close()

    async def list(self) -> list[ListedGroup]:
        """All groups, by name: those of every coordinator, and those that only have offsets.

        Raises what a partition that cannot be asked ended with: a list that may lack groups would be taken for one
        that does not.
        """
        coordinated, lags = await asyncio.gather(self._coordinated(), self.offsets.lag())
        topics: dict[str, set[str]] = {}
        for partition, answer in lags.items():
            if isinstance(answer, QuorumlogError):
                raise answer
            for each in answer:
                topics.setdefault(each.group, set()).add(partition.topic)
        found = {listing.group: listing for listing in coordinated}
        return [
            ListedGroup(
                group,
                found[group].state if group in found else "",
                found[group].members if group in found else 0,
                found[group].generation if group in found else 0,
                tuple(sorted(topics.get(group, ()))),
            )
            for group in sorted(found.keys() | topics.keys())
        ]

    async def describe(self, group: str) -> DescribedGroup:
        """A group as its coordinator has it. Raises UnknownGroup (also for one that only has offsets)."""
        request = groups_pb2.DescribeGroupRequest(group=group)

        async def ask(channel: NodeChannel, seconds: float) -> DescribedGroup:
            return described_of(await channel.groups.Describe(request, timeout=seconds))

        return await self._network.call_leader(
            COORDINATORS_TOPIC, await self._coordinator(group), ask, timeout_ms=self._timeout_ms
        )

    async def delete(self, group: str, *, force: bool = False) -> int:
        """Remove a group: its membership, and its offsets in every partition; the number of those.

        A group with members is refused (GroupActive). One without members whose offsets still have an owner is
        refused too, unless forced. Raises UnknownGroup when nobody knows it.
        """
        known = await self._drop(group)
        lags = await self.offsets.lag([group])
        there = []
        for partition, answer in lags.items():
            if isinstance(answer, QuorumlogError):
                if answer.reason is not Reason.UNKNOWN_GROUP:
                    raise answer
            elif answer:
                there.append(partition)
        for outcome in (await self.offsets.forget(group, there, force=force)).values():
            if outcome is not None and outcome.reason is not Reason.UNKNOWN_GROUP:
                raise outcome
        if not known and not there:
            raise UnknownGroup(f"no group {group!r}: no coordinator and no partition knows it")
        return len(there)

    async def _drop(self, group: str) -> bool:
        """Removes the membership; False when its coordinator knows no such group."""
        request = groups_pb2.DeleteGroupRequest(group=group)

        async def ask(channel: NodeChannel, seconds: float) -> None:
            await channel.groups.Delete(request, timeout=seconds)

        try:
            await self._network.call_leader(
                COORDINATORS_TOPIC, await self._coordinator(group), ask, timeout_ms=self._timeout_ms
            )
        except QuorumlogError as error:
            if error.reason is Reason.UNKNOWN_GROUP:
                return False
            raise
        return True

    async def _coordinator(self, group: str) -> int:
        view = await self._network.topic(COORDINATORS_TOPIC, timeout_ms=self._timeout_ms)
        return coordinator_of(group, len(view.partitions))

    async def _coordinated(self) -> Sequence[groups_pb2.GroupListing]:
        """The groups of all coordinators. A node lists the groups of every partition that it leads, so each node
        that leads one is asked; a leader that moves between two answers may be asked twice."""
        view = await self._network.topic(COORDINATORS_TOPIC, timeout_ms=self._timeout_ms)
        request = groups_pb2.ListGroupsRequest()

        async def ask(channel: NodeChannel, seconds: float) -> groups_pb2.ListGroupsResponse:
            return await channel.groups.List(request, timeout=seconds)

        answers = await asyncio.gather(
            *(
                self._network.call_leader(COORDINATORS_TOPIC, number, ask, timeout_ms=self._timeout_ms)
                for number in range(len(view.partitions))
            )
        )
        return list({listing.group: listing for answer in answers for listing in answer.groups}.values())
