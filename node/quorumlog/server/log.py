"""quorumlog.v1.Log: records in and out. Translation between messages and the node, nothing more.

The two streaming calls have modules of their own, ``append_stream`` and ``reads``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from quorumlog.replica.api import Appended, AtTime, Earliest, End, OffsetFound, Position
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.server.append_stream import append_response, serve_appends
from quorumlog.server.calls import Context, Shell, guarded
from quorumlog.server.latency import latency
from quorumlog.server.reads import owner_of, read, read_response, serve_subscription
from quorumlog.v1 import log_pb2 as pb
from quorumlog.v1 import log_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quorumlog.machine import ProducerOpened


class LogService(log_pb2_grpc.LogServicer):
    """See the module."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.append_seconds = latency("append", "From the arrival of a batch to its acknowledgement")

    @guarded
    async def Append(self, request: pb.AppendRequest, context: Context) -> pb.AppendResponse:
        began = time.perf_counter()
        shell = self.shell
        timeout_ms = shell.timeout_ms(context, request.timeout_ms)
        result: Appended | Failure = await shell.node_loop.ask(
            lambda node, done: node.append(request.topic, request.partition, request.batch, timeout_ms, done)
        )
        if isinstance(result, Failure):
            await shell.errors.abort(context, result)
        self.append_seconds.observe(time.perf_counter() - began)
        return append_response(result)

    # gRPC tells by looking at a handler whether it streams: the two that do must be generators themselves.
    async def AppendStream(
        self, request_iterator: AsyncIterator[pb.AppendStreamRequest], context: Context
    ) -> AsyncIterator[pb.AppendStreamResponse]:
        try:
            async for answer in serve_appends(self.shell, request_iterator, context, self.append_seconds):
                yield answer
        except Exception as error:
            await self.shell.fail(context, "AppendStream", error)

    @guarded
    async def Read(self, request: pb.ReadRequest, context: Context) -> pb.ReadResponse:
        wait_ms = self.shell.timeout_ms(context, request.max_wait_ms) if request.max_wait_ms else 0
        result = await read(
            self.shell,
            request.topic,
            request.partition,
            request.offset,
            request.max_bytes,
            wait_ms,
            owner_of(request),
        )
        if isinstance(result, Failure):
            await self.shell.errors.abort(context, result)
        return read_response(result)

    async def Subscribe(self, request: pb.SubscribeRequest, context: Context) -> AsyncIterator[pb.ReadResponse]:
        try:
            async for response in serve_subscription(self.shell, request, context):
                yield response
        except Exception as error:
            await self.shell.fail(context, "Subscribe", error)

    @guarded
    async def ListOffsets(self, request: pb.ListOffsetsRequest, context: Context) -> pb.ListOffsetsResponse:
        position = _position(request)
        if isinstance(position, Failure):
            await self.shell.errors.abort(context, position)
        found: OffsetFound = await self.shell.ask(
            context, lambda node, done: node.list_offsets(request.topic, request.partition, position, done)
        )
        return pb.ListOffsetsResponse(
            offset=found.offset, start_offset=found.start_offset, end_offset=found.end_offset
        )

    @guarded
    async def OpenProducer(self, request: pb.OpenProducerRequest, context: Context) -> pb.OpenProducerResponse:
        opened: ProducerOpened = await self.shell.ask(
            context, lambda node, done: node.open_producer(request.name, done), late=Outcome.UNKNOWN
        )
        return pb.OpenProducerResponse(producer_id=opened.producer_id, epoch=opened.epoch)


def _position(request: pb.ListOffsetsRequest) -> Position | Failure:
    match request.WhichOneof("position"):
        case "earliest":
            return Earliest()
        case "end":
            return End()
        case "timestamp_ms":
            return AtTime(request.timestamp_ms)
        case _:
            return Failure(Reason.INVALID_REQUEST, "no position asked for", fields={"field": "position"})
