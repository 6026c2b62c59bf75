"""Where a local cluster lives: its directory, its addresses, the configuration file of each node, its state file.

::

    DIR/cluster.json          what was started, and as which processes (private to the launcher)
    DIR/lock                  held while a launcher starts or stops nodes
    DIR/node-1/node.toml      what the node is given
    DIR/node-1/node.log       what the node said, over all its lives
    DIR/node-1/data/          the node's own

``cluster.json`` is replaced whole by rename, so a reader sees the old or the new one and a crash leaves one of
them.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from quorumlog.cluster.processes import ProcessIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

STATE_FORMAT = 1
#: Client, peer and metrics listeners begin this far above the base port: 7401…, 7501…, 7601… by default.
CLIENT_PORT, PEER_PORT, METRICS_PORT = 1, 101, 201
#: Relays between nodes, where there are any (``quorumlog.cluster.links``).
LINK_PORT = 301
DEFAULT_BASE_PORT = 7400
HOST = "127.0.0.1"
LAST_PORT = 65535


class Engine(StrEnum):
    """What replicates, as options name it."""

    raft = "raft"
    pysyncobj = "pysyncobj"


DEFAULT_ENGINE = Engine.raft.value

Setting = str | int | float | bool
"""A value in a node's configuration file."""


class LayoutError(Exception):
    """The directory does not hold a cluster, or not one this launcher can work with. The message is for people."""


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """One node: its id from 1, host:port of its three listeners, and the process that was last started for it."""

    node_id: int
    client_address: str
    peer_address: str
    metrics_address: str
    process: ProcessIdentity | None = None


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    """A local cluster as its state file has it."""

    cluster_id: str
    nodes: tuple[NodeLayout, ...]
    engine: str = DEFAULT_ENGINE

    def node(self, node_id: int) -> NodeLayout:
        """Raises LayoutError when there is no such node."""
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        raise LayoutError(f"no node {node_id}: this cluster has nodes 1 to {len(self.nodes)}")

    def with_process(self, node_id: int, process: ProcessIdentity | None) -> ClusterLayout:
        nodes = tuple(replace(node, process=process) if node.node_id == node_id else node for node in self.nodes)
        return replace(self, nodes=nodes)


def plan(cluster_id: str, node_count: int, base_port: int = DEFAULT_BASE_PORT) -> ClusterLayout:
    """A new cluster on ports that are free now, each the first free one from its place above ``base_port``.

    Ports are kept for the cluster's life. A base below the kernel's ephemeral range (32768 and up) is wise:
    there, an outgoing connection could take a node's port while the node is down. Raises LayoutError when the
    ports run out.
    """
    clients = list(free_ports(base_port + CLIENT_PORT, node_count))
    peers = list(free_ports(base_port + PEER_PORT, node_count, taken=clients))
    metrics = list(free_ports(base_port + METRICS_PORT, node_count, taken=clients + peers))
    nodes = (
        NodeLayout(node_id, f"{HOST}:{client}", f"{HOST}:{peer}", f"{HOST}:{metric}")
        for node_id, (client, peer, metric) in enumerate(zip(clients, peers, metrics, strict=True), 1)
    )
    return ClusterLayout(cluster_id, tuple(nodes))


def free_ports(first: int, count: int, taken: Iterable[int] = ()) -> Iterator[int]:
    """The first ``count`` ports from ``first`` on that are free now and not ``taken``. Raises LayoutError."""
    used = set(taken)
    for port in range(first, LAST_PORT + 1):
        if count == 0:
            return
        if port not in used and port_is_free(port):
            yield port
            count -= 1
    if count:
        raise LayoutError(f"no free ports from {first} on")


def port_is_free(port: int) -> bool:
    """A listener could be bound there now.

    SO_REUSEADDR as servers set it: connections in TIME_WAIT do not count.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def node_directory(directory: Path, node_id: int) -> Path:
    return directory / f"node-{node_id}"


def config_path(directory: Path, node_id: int) -> Path:
    return node_directory(directory, node_id) / "node.toml"


def log_path(directory: Path, node_id: int) -> Path:
    return node_directory(directory, node_id) / "node.log"


def node_config(
    layout: ClusterLayout,
    node_id: int,
    data_directory: Path,
    log_level: str = "info",
    settings: Mapping[str, Setting] | None = None,
) -> str:
    """The node's configuration file (TOML), with further keys. JSON's strings and numbers are TOML's too."""
    keys: dict[str, Setting] = {
        "cluster_id": layout.cluster_id,
        "node_id": node_id,
        "data_dir": str(data_directory),
        "engine": layout.engine,
        "log_level": log_level,
        "log_format": "console",
    }
    keys.update(settings or {})
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    for node in layout.nodes:
        lines += [
            "",
            "[[nodes]]",
            f"node_id = {node.node_id}",
            f"client_address = {json.dumps(node.client_address)}",
            f"peer_address = {json.dumps(node.peer_address)}",
            f"metrics_address = {json.dumps(node.metrics_address)}",
        ]
    return "\n".join(lines) + "\n"


def state_path(directory: Path) -> Path:
    return directory / "cluster.json"


def save(directory: Path, layout: ClusterLayout) -> None:
    """Replaces the state file."""
    text = json.dumps({"format": STATE_FORMAT, **asdict(layout)}, indent=2) + "\n"
    fresh = directory / "cluster.json.new"
    fresh.write_text(text)
    os.replace(fresh, state_path(directory))


def load(directory: Path) -> ClusterLayout:
    """The cluster under ``directory``. Raises LayoutError when there is none or its file makes no sense."""
    path = state_path(directory)
    try:
        state = json.loads(path.read_text())
    except FileNotFoundError:
        raise LayoutError(
            f"no cluster under {directory}: start one with `quorumlog up --data {directory}`"
        ) from None
    except (OSError, ValueError) as error:
        raise LayoutError(f"cannot read {path}: {error}") from None
    try:
        if state["format"] != STATE_FORMAT:
            raise LayoutError(f"{path} has format {state['format']}; this quorumlog knows format {STATE_FORMAT}")
        nodes = tuple(_node(item) for item in state["nodes"])
        return ClusterLayout(state["cluster_id"], nodes, state.get("engine", DEFAULT_ENGINE))
    except (KeyError, TypeError) as error:
        raise LayoutError(f"{path} is not a cluster's state file: {error!r}") from None


def _node(item: dict[str, Any]) -> NodeLayout:
    """A wrong or missing key is a TypeError, as is anything but an object."""
    node = NodeLayout(**item)
    return node if node.process is None else replace(node, process=ProcessIdentity(**item["process"]))
