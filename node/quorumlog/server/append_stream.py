"""One pipelined append stream: many batches in flight, answers as they come.

Reading goes on while answers are outstanding, up to a bound; beyond it the stream is simply not read, and gRPC's
flow control holds the producer. Answers leave in the order in which the node gives them, which differs between
partitions.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from quorumlog.replica.failures import Failure
from quorumlog.v1 import log_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from prometheus_client import Histogram

    from quorumlog.replica.api import Appended
    from quorumlog.replica.node import Node
    from quorumlog.server.calls import Context, Shell

#: What one stream may have in flight; the node's own budget bounds all streams together.
MAX_APPENDS = 4096
MAX_BYTES = 64 << 20


class AppendPipeline:
    """The appends of one stream between their arrival and their answer."""

    __slots__ = ("_answers", "_bytes", "_count", "_latency", "_loop", "_room", "_shell", "_wakeup")

    def __init__(self, shell: Shell, latency: Histogram) -> None:
        self._shell = shell
        self._latency = latency
        self._loop = asyncio.get_running_loop()
        self._answers: list[pb.PipelinedAnswer] = []
        self._count = 0
        self._bytes = 0
        self._wakeup: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    async def take(self, requests: AsyncIterator[pb.AppendStreamRequest], context: Context) -> None:
        """Submits what arrives, for as long as there is room."""
        async for request in requests:
            while self._count >= MAX_APPENDS or self._bytes >= MAX_BYTES:
                self._room = self._loop.create_future()
                await self._room
            self._submit(request, context)

    def _submit(self, request: pb.AppendStreamRequest, context: Context) -> None:
        """All appends of one message in one go: they share the node's next round."""
        appends = []
        for each in request.appends:
            append = each.append
            batch = append.batch
            self._count += 1
            self._bytes += len(batch)
            timeout_ms = self._shell.timeout_ms(context, append.timeout_ms)
            done = self._completion(each.correlation, len(batch))
            appends.append((append.topic, append.partition, batch, timeout_ms, done))

        def submit(node: Node) -> None:
            for append in appends:
                node.append(*append)

        self._shell.node_loop.input(submit)

    def _completion(self, correlation: int, size: int) -> Callable[[Appended | Failure], None]:
        began = time.perf_counter()

        def done(result: Appended | Failure) -> None:
            self._count -= 1
            self._bytes -= size
            if isinstance(result, Failure):
                answer = pb.PipelinedAnswer(correlation=correlation, error=self._shell.errors.message(result))
            else:
                self._latency.observe(time.perf_counter() - began)
                answer = pb.PipelinedAnswer(correlation=correlation, appended=append_response(result))
            self._answers.append(answer)
            self.wake()
            if self._room is not None and not self._room.done():
                self._room.set_result(None)

        return done

    def wake(self, _: object = None) -> None:
        """Has ``answers`` look again."""
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def answers(self, taking: asyncio.Task[None]) -> pb.AppendStreamResponse | None:
        """All answers that are there, at least one; None once ``taking`` has ended and the last is out. Raises what
        that raised."""
        while not self._answers:
            if taking.done() and (not self._count or taking.exception() is not None):
                taking.result()
                return None
            self._wakeup = self._loop.create_future()
            await self._wakeup
        answers, self._answers = self._answers, []
        return pb.AppendStreamResponse(answers=answers)


async def serve_appends(
    shell: Shell, requests: AsyncIterator[pb.AppendStreamRequest], context: Context, latency: Histogram
) -> AsyncIterator[pb.AppendStreamResponse]:
    """The whole life of one AppendStream call."""
    pipeline = AppendPipeline(shell, latency)
    taking = asyncio.get_running_loop().create_task(pipeline.take(requests, context))
    taking.add_done_callback(pipeline.wake)
    try:
        while (answers := await pipeline.answers(taking)) is not None:
            yield answers
    finally:
        taking.cancel()


def append_response(result: Appended) -> pb.AppendResponse:
    """Where the batch stands."""
    return pb.AppendResponse(
        base_offset=result.base_offset, duplicate=result.duplicate, start_offset=result.start_offset
    )
