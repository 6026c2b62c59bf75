"""One node as the client sees it: a channel that is kept connected, its stubs, and whether the connection
stands."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import grpc
from grpc import aio

from quorumlog.v1.admin_pb2_grpc import AdminStub
from quorumlog.v1.groups_pb2_grpc import GroupsStub
from quorumlog.v1.log_pb2_grpc import LogStub
from quorumlog.v1.metadata_pb2_grpc import MetadataStub
from quorumlog.v1.offsets_pb2_grpc import OffsetsStub

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.v1.admin_pb2_grpc import AdminAsyncStub
    from quorumlog.v1.groups_pb2_grpc import GroupsAsyncStub
    from quorumlog.v1.log_pb2_grpc import LogAsyncStub
    from quorumlog.v1.metadata_pb2_grpc import MetadataAsyncStub
    from quorumlog.v1.offsets_pb2_grpc import OffsetsAsyncStub

#: A node that restarts is found again within about a fifth of a second; gRPC's own defaults wait up to two minutes.
#: The pool is the channel's own, so that two clients of one process share no connection and no fate.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


class NodeChannel:
    """A connection to one address, made again for as long as this lives.

    ``on_change(up)`` is called when the connection begins to stand, and when it breaks or could not be made.
    """

    def __init__(self, address: str, on_change: Callable[[str, bool], None]) -> None:
        self.address = address
        self._channel = aio.insecure_channel(address, options=_OPTIONS)
        self.log: LogAsyncStub = LogStub(self._channel)
        self.metadata: MetadataAsyncStub = MetadataStub(self._channel)
        self.admin: AdminAsyncStub = AdminStub(self._channel)
        self.offsets: OffsetsAsyncStub = OffsetsStub(self._channel)
        self.groups: GroupsAsyncStub = GroupsStub(self._channel)
        self._on_change = on_change
        self._settled = asyncio.Event()
        self._up = False
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {address}")

    @property
    def up(self) -> bool:
        """The connection stands, as far as is known."""
        return self._up

    async def connected(self, timeout_ms: float) -> bool:
        """Wait until it is clear whether the connection stands; False when it does not, or not within the time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1000):
                await self._settled.wait()
        return self._up

    def look(self) -> grpc.ChannelConnectivity:
        """Take in the state of the connection now: a call that broke may be heard of before its connection is."""
        state = self._channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            self._turn(up=True)
        elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE or self._up:
            self._turn(up=False)
        return state

    async def _watch(self) -> None:
        while (state := self.look()) is not grpc.ChannelConnectivity.SHUTDOWN:
            await self._channel.wait_for_state_change(state)

    def _turn(self, *, up: bool) -> None:
        first, self._up = self._up is not up or not self._settled.is_set(), up
        self._settled.set()
        if first:
            self._on_change(self.address, up)

    async def close(self) -> None:
        """Give the connection up."""
        self._watcher.cancel()
        await asyncio.gather(self._watcher, return_exceptions=True)
        await self._channel.close(None)
