"""One node in a container: its life, its place in two networks, what may pass to it.

Everything blocks, and may be called from several threads: faults overlap.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from quorumlog.chaos.places import docker_engine
from quorumlog.chaos.places.commands import CommandFailed
from quorumlog.chaos.places.fault_door import DOOR_NAME
from quorumlog.chaos.places.node_network import NodeNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import docker

Result = TypeVar("Result")

CLIENT_PORT, PEER_PORT, METRICS_PORT = 7401, 7501, 7601
#: The last numbers of nodes' addresses begin above the gateway's.
FIRST_HOST = 10
#: As in the Dockerfile.
NODE_UID = 10001
#: Where in the container the node's home is.
HOME = "/node"
#: docker stop's patience before it kills: a node hands leadership over and flushes well within.
STOP_S = 20


@dataclass(frozen=True, slots=True)
class Home:
    """What host and container share: a directory with the node's data and its fault door."""

    directory: Path

    def make(self) -> None:
        self.directory.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            os.chown(self.directory, NODE_UID, NODE_UID)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def door(self) -> Path:
        return self.directory / DOOR_NAME


@dataclass(frozen=True, slots=True)
class Networks:
    """The clients' network, which is never cut, and the peers' network, which is."""

    clients: Any
    peers: Any
    number: str
    """The third number of both subnets."""

    def client_address(self, node: int) -> str:
        return f"{docker_engine.CLIENTS_NET}.{self.number}.{FIRST_HOST + node}"

    def peer_address(self, node: int) -> str:
        return f"{docker_engine.PEERS_NET}.{self.number}.{FIRST_HOST + node}"

    def entries(self, nodes: Sequence[int]) -> str:
        """QUORUMLOG_NODES."""
        return json.dumps(
            [
                {
                    "node_id": node,
                    "client_address": f"{self.client_address(node)}:{CLIENT_PORT}",
                    "peer_address": f"{self.peer_address(node)}:{PEER_PORT}",
                    "metrics_address": f"{self.client_address(node)}:{METRICS_PORT}",
                }
                for node in nodes
            ]
        )


class ContainerNode:
    """See the module. ``network`` acts only where packets can be dropped from outside (``cuts``)."""

    def __init__(
        self,
        engine: docker.DockerClient,
        networks: Networks,
        node: int,
        home: Home,
        nodes: Sequence[int],
        cuts: bool,
    ) -> None:
        self.node = node
        self.home = home
        self._networks = networks
        self._peers = engine.networks.get(networks.peers.id)
        self._plugged = False
        self._container: Any = None
        self._made: Any = None
        others = {other: networks.peer_address(other) for other in nodes if other != node}
        self._network = NodeNetwork(others, PEER_PORT)
        self._cuts = cuts
        #: The process whose namespace ``_network`` acts in; 0: none.
        self._entered = 0
        self._lock = RLock()

    def make(self, environment: dict[str, str]) -> None:
        """Makes the container and starts it."""
        from docker.types import EndpointConfig
        from testcontainers.core.container import DockerContainer

        self.home.make()
        clients = self._networks.clients
        address = self._networks.client_address(self.node)
        # Without root nobody can give the image's own user the directories: then the node runs as who we are.
        user = f"{NODE_UID}:{NODE_UID}" if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"
        self._made = (
            DockerContainer(docker_engine.IMAGE)
            .with_network(clients)
            .with_envs(**environment, QUORUMLOG_NODE_ID=str(self.node), QUORUMLOG_DATA_DIR=f"{HOME}/data")
            .with_command(["node", "run", "--faults", f"{HOME}/{DOOR_NAME}"])
            .with_volume_mapping(self.home.directory, HOME, "rw")
            .with_name(f"{docker_engine.labels()[docker_engine.LABEL]}-{self._networks.number}-node-{self.node}")
            .with_kwargs(
                user=user,
                labels=dict(docker_engine.labels()),
                # The place looks itself whether nodes serve; a health check would only take CPU from them.
                healthcheck={"test": ["NONE"]},
                networking_config={clients.name: EndpointConfig("1.41", ipv4_address=address)},
            )
        )
        self._container = self._made.start().get_wrapped_container()
        self._connect()
        self._enter()

    def remove(self) -> None:
        if self._made is not None:
            self._made.stop()
            self._made = None

    # --- life

    def state(self) -> dict[str, Any]:
        """The engine's: Running, Paused, Pid, ExitCode among it."""
        self._container.reload()
        state: dict[str, Any] = self._container.attrs["State"]
        return state

    def kill(self) -> None:
        with self._lock:
            self._leave()
            self._unless_it_ended(self._container.kill)
        self._container.wait(timeout=STOP_S)

    def stop(self) -> None:
        with self._lock:
            self._leave()
            self._unless_it_ended(self._container.stop, timeout=STOP_S)

    def start(self) -> None:
        """No effect on one that runs, be it paused."""
        if not self.state()["Running"]:
            self._container.start()

    def pause(self) -> None:
        if not self.state()["Paused"]:
            self._unless_it_ended(self._container.pause)

    def resume(self) -> None:
        if self.state()["Paused"]:
            self._unless_it_ended(self._container.unpause)

    def log(self) -> bytes:
        """All that it has said, in all its lives."""
        return bytes(self._container.logs()) if self._container is not None else b""

    def _unless_it_ended(self, act: Callable[..., None], **how: Any) -> None:
        """The engine refuses what makes no sense for a container that does not run; it may have ended just now."""
        from docker.errors import APIError

        try:
            act(**how)
        except APIError:
            if self.state()["Running"]:
                raise

    # --- network

    def in_network(self, act: Callable[[NodeNetwork], Result]) -> Result:
        """Acts on what may pass to the node, in the namespace that its container has now. Raises CommandFailed."""
        with self._lock:
            self._enter()
            try:
                return act(self._network)
            except CommandFailed:
                if not self._enter():
                    raise
                return act(self._network)

    def _enter(self) -> bool:
        """Whether the container had another namespace before, or has none any more."""
        pid = int(self.state()["Pid"])
        if not self._cuts or pid == self._entered:
            return False
        self._network.lose()
        if pid:
            self._network.enter(("nsenter", "--target", str(pid), "--net"))
        self._entered = pid
        return True

    def _leave(self) -> None:
        self.in_network(NodeNetwork.leave)
        self._entered = 0

    def disconnect(self) -> None:
        if self._plugged:
            self._peers.disconnect(self._container, force=True)
            self._plugged = False

    def reconnect(self) -> None:
        if not self._plugged:
            self._connect()

    def _connect(self) -> None:
        self._peers.connect(self._container, ipv4_address=self._networks.peer_address(self.node))
        self._plugged = True
