"""One AppendStream: requests out in order, answers in, and a clear end.

What matters about the end is which requests never left: those definitely were not done, the rest may have been.
So a request counts as sent from the moment it is handed to gRPC, and nothing is handed over before a connection
stands.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from grpc import aio

from quorumlog.client.status import from_message
from quorumlog.v1 import log_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.client.channel import NodeChannel
    from quorumlog.client.errors import QuorumlogError
    from quorumlog.client.policy.sender import Send

_CONNECT_MS = 1000.0
#: Of batches in one message, unless a single one is larger.
_MESSAGE_BYTES = 1 << 20


class AppendStream:
    """The stream to one node. Ends once, by its own trouble or by ``cancel``; then it is of no more use.

    ``on_answer(correlation, base_offset or error)`` for each answer; ``on_end(stream, unsent)`` once, with the
    correlations of requests that never left.
    """

    def __init__(
        self,
        channel: NodeChannel,
        on_answer: Callable[[int, int | QuorumlogError], None],
        on_end: Callable[[AppendStream, frozenset[int]], None],
    ) -> None:
        self.address = channel.address
        self._channel = channel
        self._on_answer = on_answer
        self._on_end = on_end
        self._outbox: deque[Send] = deque()
        self._pending = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"append stream {channel.address}")

    def put(self, send: Send) -> None:
        """Queue a request."""
        self._outbox.append(send)
        self._pending.set()

    async def cancel(self) -> None:
        """End the stream now."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        call = None
        try:
            if await self._channel.connected(_CONNECT_MS):
                call = self._channel.log.AppendStream(None)
                writer = asyncio.create_task(self._write(call))
                try:
                    await self._read(call)
                finally:
                    writer.cancel()
                    await asyncio.gather(writer, return_exceptions=True)
        except aio.AioRpcError:
            # Whatever it was, the connection's own watcher tells whether the node is there; here only the end
            # matters.
            pass
        finally:
            if call is not None:
                call.cancel()
                self._channel.look()
            self._on_end(self, frozenset(send.correlation for send in self._outbox))

    async def _write(
        self, call: aio.StreamStreamCall[log_pb2.AppendStreamRequest, log_pb2.AppendStreamResponse]
    ) -> None:
        outbox, pending = self._outbox, self._pending
        try:
            while True:
                while outbox:
                    await call.write(_message(outbox))
                pending.clear()
                await pending.wait()
        except (aio.AioRpcError, asyncio.InvalidStateError):
            # The reading side learns of the same end.
            return

    async def _read(
        self, call: aio.StreamStreamCall[log_pb2.AppendStreamRequest, log_pb2.AppendStreamResponse]
    ) -> None:
        on_answer = self._on_answer
        async for response in call:
            for answer in response.answers:
                if answer.HasField("appended"):
                    on_answer(answer.correlation, answer.appended.base_offset)
                else:
                    on_answer(answer.correlation, from_message(answer.error))


def _message(outbox: deque[Send]) -> log_pb2.AppendStreamRequest:
    """Takes what leaves as one message out of ``outbox``: each message costs both sides some 0.1 ms, whatever it
    holds."""
    request = log_pb2.AppendStreamRequest()
    size = 0
    while outbox and (not size or size + len(outbox[0].batch) <= _MESSAGE_BYTES):
        send = outbox.popleft()
        size += len(send.batch)
        each = request.appends.add(correlation=send.correlation)
        append = each.append
        append.topic = send.topic
        append.partition = send.partition
        append.batch = send.batch
        append.timeout_ms = send.timeout_ms
    return request
