"""A cluster for one measurement or one demonstration: in a temporary directory, on free ports, gone afterwards."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from quorumlog.cluster.bench.machine import file_system
from quorumlog.cluster.launcher import LocalCluster
from quorumlog.cluster.layout import DEFAULT_ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Below the kernel's ephemeral ports, so that no outgoing connection takes a node's port while the node is dead.
FIRST_BASE_PORT = 20_000
#: A cluster and its links lie within a block.
BLOCK_PORTS = 400
BLOCKS = 30
_held: list[IO[bytes]] = []


@cache
def base_port() -> int:
    """Where this process looks for ports: the beginning of a block that no other process has, while it lives.

    The ports of nodes that are dead, and of links to them, look free to everybody: of two runs at a time, one would
    take what the other wants back.
    """
    directory = Path(tempfile.gettempdir()) / f"quorumlog-ports-{os.getuid()}"
    directory.mkdir(exist_ok=True)
    first = os.getpid() % BLOCKS
    for number in range(BLOCKS):
        block = (first + number) % BLOCKS
        file = (directory / str(block)).open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)
        return FIRST_BASE_PORT + BLOCK_PORTS * block
    return FIRST_BASE_PORT + BLOCK_PORTS * first


def disk_directory() -> Path:
    """Where temporary files reach a disk: the usual place, unless it is memory, where an fsync means nothing."""
    usual = Path(tempfile.gettempdir())
    return Path("/var/tmp") if file_system(usual) in {"tmpfs", "ramfs"} else usual


@contextmanager
def planned_cluster(node_count: int = 3, engine: str = DEFAULT_ENGINE) -> Iterator[LocalCluster]:
    """A cluster laid out and not yet started; at the end its nodes are killed and its directory removed."""
    directory = Path(tempfile.mkdtemp(prefix="quorumlog-", dir=disk_directory()))
    try:
        cluster = LocalCluster.create(directory, node_count, base_port(), engine=engine)
        try:
            yield cluster
        finally:
            for node_id in cluster.node_ids:
                cluster.kill(node_id)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running_cluster(node_count: int = 3, engine: str = DEFAULT_ENGINE) -> Iterator[LocalCluster]:
    """A cluster that takes requests. Raises NodeFailed when it does not come up."""
    with planned_cluster(node_count, engine) as cluster:
        cluster.start()
        cluster.wait_ready()
        yield cluster
