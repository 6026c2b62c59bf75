"""A cluster for one measurement or one demonstration: in a temporary directory, on free ports, gone afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from quorumlog.cluster.bench.machine import file_system
from quorumlog.cluster.launcher import LocalCluster
from quorumlog.cluster.layout import DEFAULT_ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Below the kernel's ephemeral ports, so that no outgoing connection takes a node's port while the node is dead;
#: and spread by pid, so that two runs at a time seldom look for the same ones.
FIRST_BASE_PORT = 20_000
BASE_PORT_STEP = 10
BASE_PORTS = 1_000


def base_port() -> int:
    return FIRST_BASE_PORT + BASE_PORT_STEP * (os.getpid() % BASE_PORTS)


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
