"""The limits that a replicated log on this machine approaches: the bare disk, and bare gRPC between two processes.

- **disk**: overwriting a preallocated, zero-filled file and ``fdatasync`` after every write: what a segment costs
  at best. Preallocation matters: without it every fdatasync also commits the file's new size, and takes twice as
  long. - **stream**: one ``grpc.aio`` stream of messages of a given size from this process to another that only
  counts. - **unary**: round trips of one message of a given size, one or many outstanding.

The gRPC peers exchange plain bytes: no protobuf, no work. They run on uvloop, as nodes do. fio and ghz measure the
same things for other programs; here it must be *this* runtime in *this* minute.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from quorumlog.cluster.bench.statistics import Distribution
from quorumlog.cluster.processes import ProcessIdentity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quorumlog.cluster.processes import ProcessUsage

MEGABYTE = 1_000_000
ECHO, SINK, SOURCE = "/quorumlog.bench.Limit/Echo", "/quorumlog.bench.Limit/Sink", "/quorumlog.bench.Limit/Source"
CHANNEL_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
DISK_FILE_BYTES = 64 << 20


def disk_rounds(directory: Path, write_bytes: int, seconds: float) -> Distribution:
    """Seconds that one write of ``write_bytes`` and its fdatasync take, over and over for ``seconds``.

    The file is laid out in full first and taken away afterwards. Raises OSError when the disk does.
    """
    path = directory / f"limit-{os.getpid()}"
    payload = os.urandom(write_bytes)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        zeros = bytes(1 << 20)
        for _ in range(DISK_FILE_BYTES >> 20):
            os.write(descriptor, zeros)
        os.fsync(descriptor)
        rounds = []
        position = 0
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            os.pwrite(descriptor, payload, position)
            os.fdatasync(descriptor)
            rounds.append(time.perf_counter() - begin)
            position = (position + write_bytes) % (DISK_FILE_BYTES - write_bytes)
        return Distribution(rounds)
    finally:
        os.close(descriptor)
        path.unlink()


def disk_megabytes_per_second(directory: Path, write_bytes: int, seconds: float) -> float:
    """Throughput of ``disk_rounds``: its median round, so that one hiccup of a shared disk does not count."""
    return write_bytes / disk_rounds(directory, write_bytes, seconds).percentile(50) / MEGABYTE


class GrpcPeer:
    """The other process's end: bare gRPC round trips and streams to it. Made by ``grpc_peer``."""

    def __init__(self, channel: grpc.aio.Channel, process: ProcessIdentity) -> None:
        self._process = process
        self._echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(ECHO, bytes, bytes)
        self._sink: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(SINK, bytes, bytes)
        self._source: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(SOURCE, bytes, bytes)

    def usage(self) -> ProcessUsage:
        """What the other process has used. Raises ProcessLookupError when it is gone."""
        usage = self._process.usage()
        if usage is None:
            raise ProcessLookupError(self._process.pid)
        return usage

    async def round_trips(self, message_bytes: int, outstanding: int, seconds: float) -> Distribution:
        """Seconds of each unary round trip, ``outstanding`` at a time, for ``seconds``."""
        payload = bytes(message_bytes)
        rounds: list[float] = []
        end = time.perf_counter() + seconds

        async def ask() -> None:
            while (begin := time.perf_counter()) < end:
                await self._echo(payload)
                rounds.append(time.perf_counter() - begin)

        await asyncio.gather(*(ask() for _ in range(outstanding)))
        return Distribution(rounds, elapsed_s=seconds)

    async def megabytes_per_second_out(self, message_bytes: int, seconds: float) -> float:
        """One stream of messages to the peer, which confirms how many bytes it had got at the end."""
        payload = bytes(message_bytes)
        begin = time.perf_counter()

        async def messages() -> AsyncIterator[bytes]:
            while time.perf_counter() - begin < seconds:
                yield payload

        received = int.from_bytes(await self._sink(messages()), "little")
        return received / (time.perf_counter() - begin) / MEGABYTE

    async def megabytes_per_second_in(self, message_bytes: int, seconds: float) -> float:
        """One stream of messages from the peer."""
        begin = time.perf_counter()
        received = 0
        call = self._source(message_bytes.to_bytes(8, "little"))
        async for message in call:
            received += len(message)
            if time.perf_counter() - begin >= seconds:
                break
        elapsed = time.perf_counter() - begin
        call.cancel()
        return received / elapsed / MEGABYTE


@asynccontextmanager
async def grpc_peer() -> AsyncIterator[GrpcPeer]:
    """Starts the other process and connects to it; ends it afterwards."""
    # Not asyncio's own subprocesses: on uvloop they fork, and gRPC complains of every fork it did not expect.
    command = [sys.executable, "-m", "quorumlog.cluster.bench.limits"]
    process = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = int(await asyncio.to_thread(process.stdout.readline))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS) as channel:
            await channel.channel_ready()
            yield GrpcPeer(channel, ProcessIdentity.of(process.pid))
    finally:
        process.kill()
        process.communicate()


async def _echo(request: bytes, _context: object) -> bytes:
    return request


async def _sink(requests: AsyncIterator[bytes], _context: object) -> bytes:
    received = 0
    async for request in requests:
        received += len(request)
    return received.to_bytes(8, "little")


async def _source(request: bytes, _context: object) -> AsyncIterator[bytes]:
    payload = bytes(int.from_bytes(request, "little"))
    while True:
        yield payload


async def _serve() -> None:
    """The other process: serves on a port of the kernel's choice, which it prints, until it is killed."""
    service, _, _ = ECHO[1:].rpartition("/")
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(_echo),
        "Sink": grpc.stream_unary_rpc_method_handler(_sink),
        "Source": grpc.unary_stream_rpc_method_handler(_source),
    }
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    from quorumlog.cluster.asynchronous import run

    run(_serve())
