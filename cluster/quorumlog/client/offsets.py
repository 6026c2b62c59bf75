"""Looking a start position up at the leader of a partition: linearizable, so an end is never older than the
question."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from quorumlog.client.errors import OffsetOutOfRange
from quorumlog.client.start import Age, AtOffset, AtTime, Earliest, FromBegin, FromEnd, Latest, clamped
from quorumlog.client.types import Offsets
from quorumlog.v1 import log_pb2

if TYPE_CHECKING:
    from quorumlog.client.channel import NodeChannel
    from quorumlog.client.network import Network
    from quorumlog.client.start import Start


async def find_offset(network: Network, topic: str, partition: int, start: Start, *, timeout_ms: float) -> Offsets:
    """Where ``start`` lies in the partition now.

    Raises OffsetOutOfRange for an ``AtOffset`` that the log does not hold, and what any call to a leader may raise.
    """
    request = log_pb2.ListOffsetsRequest(topic=topic, partition=partition)
    match start:
        case AtTime(timestamp_ms):
            request.timestamp_ms = timestamp_ms
        case Age(age_ms):
            request.timestamp_ms = max(time.time_ns() // 1_000_000 - age_ms, 0)
        case Latest() | FromEnd():
            request.end = True
        case Earliest() | AtOffset() | FromBegin():
            request.earliest = True

    async def call(channel: NodeChannel, seconds: float) -> log_pb2.ListOffsetsResponse:
        return await channel.log.ListOffsets(request, timeout=seconds)

    answer = await network.call_leader(topic, partition, call, timeout_ms=timeout_ms)
    offset = answer.offset
    if isinstance(start, FromBegin | FromEnd):
        offset = clamped(start, answer.start_offset, answer.end_offset)
    elif isinstance(start, AtOffset):
        offset = start.offset
        if not answer.start_offset <= offset <= answer.end_offset:
            raise OffsetOutOfRange(
                f"{topic}/{partition} holds {answer.start_offset} to {answer.end_offset}, not {offset}",
                fields={
                    "offset": str(offset),
                    "start_offset": str(answer.start_offset),
                    "end_offset": str(answer.end_offset),
                },
            )
    return Offsets(offset, answer.start_offset, answer.end_offset)
