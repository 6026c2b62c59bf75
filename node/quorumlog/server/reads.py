"""Reads that wait: one fetch, and the subscription that is a chain of them.

A subscription holds nothing in the node but one waiting read, and that only while there is nothing to send. When
the caller goes, the wait is withdrawn; when it reads slowly, gRPC's flow control suspends the chain between two
reads.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from quorumlog.replica.failures import Failure
from quorumlog.v1 import log_pb2 as pb
from quorumlog.wire.header import parse_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quorumlog.replica.api import ReadResult
    from quorumlog.replica.reads import Owner
    from quorumlog.server.calls import Context, Shell

#: What a read returns when it does not say, and at most.
DEFAULT_READ_BYTES = 1 << 20
MAX_READ_BYTES = 8 << 20
MAX_WAIT_MS = 60_000
#: How often a quiet subscription shows that it lives, unless it asks otherwise.
DEFAULT_HEARTBEAT_MS = 1_000


async def read(
    shell: Shell, topic: str, partition: int, offset: int, max_bytes: int, max_wait_ms: int, owner: Owner | None
) -> ReadResult | Failure:
    """One fetch on behalf of ``owner``; a caller that goes away in the meantime leaves nothing behind."""
    answer: asyncio.Future[ReadResult | Failure] = asyncio.get_running_loop().create_future()

    def done(result: ReadResult | Failure) -> None:
        if not answer.done():
            answer.set_result(result)

    size = min(max_bytes or DEFAULT_READ_BYTES, MAX_READ_BYTES)
    wait_ms = min(max_wait_ms, MAX_WAIT_MS)
    cancel = shell.node_loop.input(lambda node: node.read(topic, partition, offset, size, wait_ms, done, owner))
    try:
        return await answer
    except asyncio.CancelledError:
        shell.node_loop.input(lambda _: cancel())
        raise


async def serve_subscription(
    shell: Shell, request: pb.SubscribeRequest, context: Context
) -> AsyncIterator[pb.ReadResponse]:
    """The whole life of one Subscribe call."""
    offset, owner = request.offset, owner_of(request)
    wait_ms = 0 if request.stop_at_end else request.heartbeat_ms or DEFAULT_HEARTBEAT_MS
    while True:
        result = await read(shell, request.topic, request.partition, offset, request.max_bytes, wait_ms, owner)
        if isinstance(result, Failure):
            await shell.errors.abort(context, result)
        if result.batches:
            offset = parse_header(result.batches[-1]).end_offset
        yield read_response(result)
        if request.stop_at_end and offset >= result.end_offset:
            return


def owner_of(request: pb.ReadRequest | pb.SubscribeRequest) -> Owner | None:
    """On whose behalf to read."""
    if not request.HasField("owner"):
        return None
    return request.owner.group, request.owner.epoch


def read_response(result: ReadResult) -> pb.ReadResponse:
    """The batches as they are stored, and where the log stood."""
    return pb.ReadResponse(
        batches=result.batches,
        start_offset=result.start_offset,
        end_offset=result.end_offset,
        terms=result.terms,
    )
