"""The one committer of a process for a cluster, and the calls that carry its commits.

All consumers of one event loop that name the same servers share it, with its connections: their commits travel
together (see ``quorumlog.client.policy.committer``). It lives as long as somebody holds it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from grpc import aio

from quorumlog.client.errors import Closed, QuorumlogError, Reason, make_error
from quorumlog.client.network import Network, now_ms
from quorumlog.client.policy.committer import Committer
from quorumlog.client.receipt import Receipt
from quorumlog.client.status import from_message, from_rpc
from quorumlog.v1 import offsets_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.client.policy.committer import Attempt, CommitCall

_CONNECT_MS = 1000.0
#: Beyond the time a node was given for its answer.
_ANSWER_GRACE_MS = 500

_links: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, ...], CommitLink]] = WeakKeyDictionary()


class CommitLink:
    """Get one with ``shared``, give it back with ``release``. ``network`` is its way to the cluster."""

    def __init__(self, servers: str | Sequence[str], key: tuple[str, ...]) -> None:
        self.network = Network(servers)
        self._key = key
        self._holders = 0
        self._committer = Committer(self.network.router, self.network.random)
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._alarm: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self.network.listen(self._schedule)

    @classmethod
    def shared(cls, servers: str | Sequence[str]) -> CommitLink:
        """The running loop's link to these servers."""
        names = servers.split(",") if isinstance(servers, str) else servers
        key = tuple(sorted({name.strip() for name in names} - {""}))
        links = _links.setdefault(asyncio.get_running_loop(), {})
        link = links.get(key)
        if link is None:
            link = links[key] = cls(servers, key)
        link._holders += 1
        return link

    async def release(self) -> None:
        """The caller is done with it; the last one ends it."""
        self._holders -= 1
        if self._holders:
            return
        _links[self._loop].pop(self._key, None)
        if self._alarm is not None:
            self._alarm.cancel()
        for call in list(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self.network.close()

    # ---- commits out

    def submit(self, attempt: Attempt) -> None:
        """Carry the attempt to its end; ``attempt.on_done`` is called then."""
        if not self._holders:
            raise Closed("this client is closed")
        self._committer.submit(attempt, now_ms())
        if not self._scheduled:
            self._schedule()

    def give_up(self, attempt: Attempt, error: QuorumlogError) -> None:
        """End the attempt now."""
        self._committer.give_up(attempt, error)

    def _schedule(self) -> None:
        """Poll once the tasks that run now have had their say, so that what they commit goes together."""
        if not self._scheduled and self._committer.unsettled:
            self._scheduled = True
            self._loop.call_soon(self._poll)

    def _poll(self) -> None:
        self._scheduled = False
        if not self._holders:
            return
        work = self._committer.poll(now_ms())
        for call in work.calls:
            task = self._loop.create_task(self._carry(call))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        if work.unrouted:
            self.network.seek(work.unrouted)
        if work.doubtful:
            self.network.ask_again(work.doubtful)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if work.wake_at_ms is not None:
            self._alarm = self._loop.call_later(max(work.wake_at_ms - now_ms(), 0.5) / 1000, self._poll)

    async def _carry(self, call: CommitCall) -> None:
        address, correlation = call.address, call.correlation
        channel = self.network.channel(address)
        if not channel.up and not await channel.connected(_CONNECT_MS):
            error = make_error(Reason.UNREACHABLE, f"no connection to {address}", not_done=True)
            self._committer.broken(address, correlation, error, now_ms())
            self._schedule()
            return
        try:
            response = await channel.offsets.Commit(
                _request(call), timeout=(call.timeout_ms + _ANSWER_GRACE_MS) / 1000
            )
            results = [_result(each) for each in response.results]
            if len(results) != len(call.attempts):
                words = f"{address} answered {len(results)} of {len(call.attempts)} commits"
                raise make_error(Reason.INTERNAL, words, not_done=False)
            self._committer.answered(address, correlation, results, now_ms())
        except aio.AioRpcError as failed:
            channel.look()
            self._committer.broken(address, correlation, from_rpc(failed, address), now_ms())
        except QuorumlogError as error:
            self._committer.broken(address, correlation, error, now_ms())
        self._schedule()


def _request(call: CommitCall) -> offsets_pb2.CommitRequest:
    request = offsets_pb2.CommitRequest(timeout_ms=call.timeout_ms)
    add = request.commits.add
    for attempt in call.attempts:
        # Set one by one: for a message of so many fields it takes half as long as naming them all in the call.
        commit = add()
        commit.group = attempt.group
        commit.topic = attempt.topic
        commit.partition = attempt.partition
        commit.offset = attempt.offset
        commit.owner_epoch = attempt.owner_epoch
        commit.session = attempt.session
        commit.sequence = attempt.sequence
        if attempt.fingerprint is not None:
            fingerprint = commit.fingerprint
            fingerprint.term, fingerprint.crc32c = attempt.fingerprint
        if attempt.metadata:
            commit.metadata = attempt.metadata
    return request


def _result(message: offsets_pb2.CommitResult) -> Receipt | QuorumlogError:
    if message.HasField("receipt"):
        told = message.receipt
        return Receipt(told.group, told.topic, told.partition, told.offset, told.version, told.term)
    return from_message(message.error)
