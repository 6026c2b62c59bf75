"""Where a benchmark runs: against which servers, with which bare machine beside it."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.client import Admin
from quorumlog.cluster.bench.limits import GrpcPeer, disk_megabytes_per_second, grpc_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

#: What the producer sends in one message and a node writes in one go under load, about: the limits use the same
#: size.
BATCH_BYTES = 256 << 10
LIMIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``directory`` lies on the disk whose limit counts: the nodes' own when they are ours."""

    servers: Sequence[str]
    directory: Path
    peer: GrpcPeer

    @asynccontextmanager
    async def topic(self, partitions: int, replication_factor: int = 0) -> AsyncIterator[str]:
        """A topic of its own for one measurement, deleted afterwards."""
        name = f"bench-{secrets.token_hex(4)}"
        async with Admin(self.servers) as admin:
            await admin.create_topic(name, partitions=partitions, replication_factor=replication_factor)
            try:
                yield name
            finally:
                await admin.delete_topic(name)

    def disk_limit(self) -> float:
        """MB/s of bare batches, each fdatasynced."""
        return disk_megabytes_per_second(self.directory, BATCH_BYTES, LIMIT_SECONDS)

    async def stream_limit(self) -> float:
        """MB/s of bare batches on one gRPC stream."""
        return await self.peer.megabytes_per_second_out(BATCH_BYTES, LIMIT_SECONDS)


@asynccontextmanager
async def surroundings(servers: Sequence[str], directory: Path) -> AsyncIterator[Surroundings]:
    async with grpc_peer() as peer:
        yield Surroundings(servers, directory, peer)


def mean(before: float, after: float) -> float:
    """A limit measured before and after: the machine drifts, and the figure lies between the two."""
    return (before + after) / 2
