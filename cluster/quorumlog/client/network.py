"""The cluster as one client reaches it: channels to its nodes, metadata kept fresh while somebody lacks a
leader, and calls that find their way to the leader.

Decisions are the router's and the back-off's (``quorumlog.client.policy``); here are the tasks that carry them out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from random import Random
from typing import TYPE_CHECKING, TypeVar

from grpc import aio

from quorumlog.client.channel import NodeChannel
from quorumlog.client.errors import (
    Closed,
    NotDone,
    QuorumlogError,
    Reason,
    UnknownPartition,
    UnknownTopic,
    as_outcome,
    make_error,
)
from quorumlog.client.policy.backoff import LOOKUP, RESEND
from quorumlog.client.policy.routing import ClusterView, PartitionView, Router, TopicView
from quorumlog.client.status import from_rpc
from quorumlog.v1 import metadata_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

Answer = TypeVar("Answer")

#: A node that has not answered a question for metadata by then is left behind; its answer still counts when it
#: comes.
_ASK_MS = 200.0
#: How many nodes are asked at once: two, so that one hung node costs nothing.
_ASK_AT_ONCE = 2
_ASK_DEADLINE_S = 5.0
#: One attempt of a call may take so long before its node is doubted and the call made again.
_ATTEMPT_MS = 3000.0
_DEFAULT_MAX_BATCH_BYTES = 1 << 20
#: No topic is called this.
_CONTROLLER = ""

_RETRIED = frozenset(
    {
        Reason.NOT_LEADER,
        Reason.NO_QUORUM,
        Reason.OVERLOADED,
        Reason.SHUTTING_DOWN,
        Reason.REPLICA_DAMAGED,
        Reason.UNREACHABLE,
        Reason.DEADLINE,
    }
)
#: See ``quorumlog.client.policy.sender`` for why NO_QUORUM is one of them.
_WRONG_NODE = frozenset({Reason.NOT_LEADER, Reason.NO_QUORUM, Reason.SHUTTING_DOWN, Reason.REPLICA_DAMAGED})


def now_ms() -> float:
    """Milliseconds on the steady clock that all of this client's waiting is counted by."""
    return time.monotonic() * 1000.0


class Network:
    """Shared by everything one client object does; lives on one event loop."""

    def __init__(self, servers: str | Sequence[str], random: Random | None = None) -> None:
        seeds = servers.split(",") if isinstance(servers, str) else list(servers)
        seeds = [seed.strip() for seed in seeds if seed.strip()]
        if not seeds:
            raise ValueError("at least one server (host:port) is needed")
        self.random = random or Random()
        self.random.shuffle(seeds)
        self.router = Router(seeds)
        self._channels: dict[str, NodeChannel] = {}
        self._listeners: list[Callable[[], None]] = []
        self._changed = asyncio.Event()
        self._node_turned = asyncio.Event()
        #: Topics in need of leaders, and ``_CONTROLLER`` when that is in need of one.
        self._wanted: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._seeker: asyncio.Task[None] | None = None
        #: address -> the question that it has not answered yet. One at a time: a hung node answers a second one no
        #: sooner, and must not use up what others could be asked instead.
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    # ---- nodes

    def channel(self, address: str) -> NodeChannel:
        """The channel to a node, made when first asked for."""
        if self._closed:
            raise Closed("this client is closed")
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = NodeChannel(address, self._node_changed)
        return channel

    def _node_changed(self, address: str, up: bool) -> None:
        if up:
            self.router.node_up(address)
        else:
            self.router.node_down(address)
        self._node_turned.set()
        self._tell()

    def listen(self, listener: Callable[[], None]) -> None:
        """``listener()`` is called whenever what is known of the cluster may have changed."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for listener in self._listeners:
            listener()

    async def wait_change(self, timeout_ms: float) -> None:
        """Return when something may have changed, or after so long."""
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await self._changed.wait()
        except TimeoutError:
            return

    # ---- metadata

    def seek(self, topics: Iterable[str]) -> None:
        """Look for the leaders of these topics in the background until every partition has one that can be
        reached."""
        before = len(self._wanted)
        self._wanted.update(dict.fromkeys(topics))
        if len(self._wanted) == before:
            return
        self._wake.set()
        if self._seeker is None:
            self._seeker = asyncio.create_task(self._seek(), name="seek leaders")

    def ask_again(self, topics: Iterable[str]) -> None:
        """One more round of questions about topics whose leaders are known but do not answer; asks those leaders
        last."""
        names = list(topics)
        self._ask(names, self.router.leaders(names))

    async def _seek(self) -> None:
        while True:
            await self._wake.wait()
            failures = 0
            while self._wanted:
                failures += 1
                # Without a name, all topics are told of; a single known one is enough to learn the controller.
                names = [name for name in self._wanted if name != _CONTROLLER] or self.router.any_topic()
                self._ask(names)
                asked = list(self._asking.values())
                await asyncio.wait(asked, timeout=_ASK_MS / 1000, return_when=asyncio.FIRST_COMPLETED)
                for name in [name for name in self._wanted if self._routed(name)]:
                    del self._wanted[name]
                if self._wanted and await self._pause(LOOKUP.delay_ms(failures, self.random)):
                    failures = 0
            self._wake.clear()

    async def _pause(self, delay_ms: float) -> bool:
        """Wait; True: not so long, because a connection came or went, so that things are new again.

        Answers to questions do not shorten it, or each would lead to the next without a pause.
        """
        self._node_turned.clear()
        try:
            async with asyncio.timeout(delay_ms / 1000):
                await self._node_turned.wait()
        except TimeoutError:
            return False
        return True

    def _routed(self, topic: str) -> bool:
        if topic == _CONTROLLER:
            return self.router.controller() is not None
        known = self.router.topic(topic)
        return known is not None and all(
            self.router.leader(topic, number) is not None for number in range(len(known.partitions))
        )

    def _ask(self, topics: list[str], avoid: Iterable[str] = ()) -> None:
        """Has questions under way to some nodes that owe no answer yet."""
        idle = [address for address in self.router.whom_to_ask(avoid) if address not in self._asking]
        for address in idle[:_ASK_AT_ONCE]:
            self._asking[address] = asyncio.create_task(self._ask_one(address, topics), name=f"ask {address}")

    async def _ask_one(self, address: str, topics: Sequence[str]) -> None:
        try:
            with contextlib.suppress(QuorumlogError):
                await self.metadata_from(address, topics)
        finally:
            del self._asking[address]

    async def metadata_from(self, address: str, topics: Sequence[str] = ()) -> metadata_pb2.GetMetadataResponse:
        """What one node knows of these topics (none: of all); it is learned on the way."""
        channel = self.channel(address)
        if not await channel.connected(_ASK_DEADLINE_S * 1000):
            raise make_error(Reason.UNREACHABLE, f"no connection to {address}", not_done=True)
        try:
            answer = await channel.metadata.GetMetadata(
                metadata_pb2.GetMetadataRequest(topics=topics), timeout=_ASK_DEADLINE_S
            )
        except aio.AioRpcError as error:
            # A question changes nothing: it was "not done", however it failed.
            raise from_rpc(error, address, never_left=True) from None
        self.router.learn(_view(answer))
        for node in self.router.addresses():
            self.channel(node)
        self._tell()
        return answer

    async def metadata(self, topics: Sequence[str] = (), *, timeout_ms: float) -> metadata_pb2.GetMetadataResponse:
        """What some node knows now. Raises Unreachable (NotDone) when none answers in time."""
        deadline = now_ms() + timeout_ms
        failures = 0
        error: QuorumlogError = make_error(Reason.UNREACHABLE, "no server answers", not_done=True)
        while now_ms() < deadline:
            for address in self.router.whom_to_ask():
                try:
                    async with asyncio.timeout(max(deadline - now_ms(), 1.0) / 1000):
                        return await self.metadata_from(address, topics)
                except TimeoutError:
                    break
                except QuorumlogError as raised:
                    error = raised
            failures += 1
            await self.wait_change(min(RESEND.delay_ms(failures, self.random), max(deadline - now_ms(), 0.0)))
        raise as_outcome(
            error, f"no server answered within {timeout_ms:.0f} ms; last: {error.message}", not_done=True
        )

    async def topic(self, name: str, *, timeout_ms: float, grace_ms: float = 0.0) -> TopicView:
        """The topic's partitions. Raises UnknownTopic once it has stayed unknown for ``grace_ms``, or
        Unreachable."""
        started = now_ms()
        failures = 0
        while (known := self.router.topic(name)) is None:
            await self.metadata([name], timeout_ms=timeout_ms)
            if self.router.topic(name) is None:
                if now_ms() - started >= grace_ms:
                    raise UnknownTopic(f"no topic {name!r}")
                failures += 1
                await asyncio.sleep(RESEND.delay_ms(failures, self.random) / 1000)
        return known

    # ---- calls to leaders

    async def call_leader(
        self,
        topic: str,
        partition: int,
        call: Callable[[NodeChannel, float], Awaitable[Answer]],
        *,
        timeout_ms: float,
        repeatable: bool = True,
    ) -> Answer:
        """``call(channel, seconds)`` at the partition's leader, wherever it moves. What is not ``repeatable`` is
        not called again once it may have been done.

        Raises what the last attempt ended with when the time has run out, and at once what no repeating can mend.
        """
        view = await self.topic(topic, timeout_ms=timeout_ms)
        if not 0 <= partition < len(view.partitions):
            raise UnknownPartition(f"{topic} has {len(view.partitions)} partitions; {partition} is none of them")
        router = self.router

        def find() -> str | None:
            address = router.leader(topic, partition)
            if address is None:
                self.seek([topic])
            return address

        return await self._call(
            find,
            lambda by, hint: router.refused(topic, partition, by, hint),
            lambda: self.ask_again([topic]),
            call,
            what=f"{topic}/{partition}",
            timeout_ms=timeout_ms,
            repeatable=repeatable,
        )

    async def call_controller(
        self, call: Callable[[NodeChannel, float], Awaitable[Answer]], *, timeout_ms: float
    ) -> Answer:
        """The same at the controller's leader."""

        def find() -> str | None:
            address = self.router.controller()
            if address is None:
                self.seek([_CONTROLLER])
            return address

        return await self._call(
            find,
            self.router.controller_refused,
            lambda: self._ask(self.router.any_topic(), (self.router.controller() or "",)),
            call,
            what="the controller",
            timeout_ms=timeout_ms,
        )

    async def call_node(
        self, address: str, call: Callable[[NodeChannel, float], Awaitable[Answer]], *, timeout_ms: float
    ) -> Answer:
        """The same at one node, once."""
        channel = self.channel(address)
        if not await channel.connected(timeout_ms):
            raise make_error(Reason.UNREACHABLE, f"no connection to {address}", not_done=True)
        try:
            return await call(channel, timeout_ms / 1000)
        except aio.AioRpcError as error:
            raise from_rpc(error, address) from None

    async def _call(
        self,
        find: Callable[[], str | None],
        refused: Callable[[str, str], None],
        doubt: Callable[[], object],
        call: Callable[[NodeChannel, float], Awaitable[Answer]],
        *,
        what: str,
        timeout_ms: float,
        repeatable: bool = True,
    ) -> Answer:
        deadline = now_ms() + timeout_ms
        failures = 0
        may_have_happened = False
        error: QuorumlogError = make_error(Reason.NO_QUORUM, f"{what} has no leader that answers", not_done=True)
        while (left_ms := deadline - now_ms()) > 0:
            address = find()
            if address is None:
                await self.wait_change(min(left_ms, LOOKUP.cap_ms))
                continue
            try:
                return await self.call_node(address, call, timeout_ms=min(left_ms, _ATTEMPT_MS))
            except QuorumlogError as raised:
                error = raised
            may_have_happened = may_have_happened or not isinstance(error, NotDone)
            if error.reason not in _RETRIED or (may_have_happened and not repeatable):
                break
            if error.reason in _WRONG_NODE:
                refused(address, error.leader)
            elif error.reason is Reason.DEADLINE:
                doubt()
            failures += 1
            # A hint is followed at once, but only the first: two nodes may each take the other for the leader.
            if failures > 1 or not error.leader:
                delay_ms = max(RESEND.delay_ms(failures, self.random), error.retry_after_ms)
                await asyncio.sleep(min(delay_ms, max(deadline - now_ms(), 0.0)) / 1000)
        if isinstance(error, NotDone) and may_have_happened:
            raise as_outcome(error, f"{error.message}; an earlier attempt may have been done", not_done=False)
        raise error

    async def close(self) -> None:
        """End everything that runs for this client."""
        self._closed = True
        tasks = [*self._asking.values(), *([self._seeker] if self._seeker else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))
        self._channels.clear()


def _view(answer: metadata_pb2.GetMetadataResponse) -> ClusterView:
    return ClusterView(
        {node.node_id: node.address for node in answer.nodes},
        {
            topic.name: TopicView(
                topic.topic_id,
                topic.config.max_batch_bytes or _DEFAULT_MAX_BATCH_BYTES,
                tuple(PartitionView(each.leader_node_id, each.leader_term) for each in topic.partitions),
            )
            for topic in answer.topics
        },
        answer.controller_node_id,
    )
