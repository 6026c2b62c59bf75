"""A network namespace for every node, wired up with veth pairs and a bridge.

::

    this host (clients)                  node 1's namespace              the hub's namespace
    198.18.K.2 ---- a wire per node ---- client 198.18.K.3
                                         peer   198.19.0.1 ------------- port-1 --+
                                                                                  bridge
                                         node 2: peer 198.19.0.2 ------- port-2 --+

The wires to clients are never cut, and no packet between two nodes can take them: they are point to point. The hub
is a namespace of its own, so that no firewall of this host (a container engine's, say) sees what nodes tell each
other, and so that every run has the same peer addresses. All addresses are of 198.18.0.0/15, set aside for tests
(RFC 2544).
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from quorumlog.chaos.places import owner
from quorumlog.chaos.places.commands import CommandFailed, run
from quorumlog.chaos.places.node_network import why_no_iptables
from quorumlog.chaos.places.place import NotPossible
from quorumlog.cluster.processes import ProcessIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CLIENTS_NET = "198.18"
#: Third numbers to try for the clients' wires; below are compose.yaml's and containers' subnets.
SUBNETS = range(200, 250)
PEERS_NET = "198.19.0"


class Namespaces:
    """See the module. All methods block and raise CommandFailed."""

    def __init__(self, nodes: Sequence[int]) -> None:
        self._names = {node: _fresh(f"node-{node}") for node in nodes}
        self._hub = _fresh("hub")
        self._number = 0

    def make(self) -> None:
        """Raises NotPossible, too."""
        self._number = self._lay_wires()
        for name in (self._hub, *self._names.values()):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", self._hub, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", self._hub, "link", "set", "bridge", "up")
        for node, name in self._names.items():
            self._wire_to_clients(node, name)
            self._wire_to_hub(node, name)

    def remove(self) -> None:
        """Takes away what is there of it, also after ``make`` failed half way."""
        # Wires before namespaces: these would take them along some time later, when another run may already have
        # made wires of the same names.
        if self._number:
            for wire in _wires(self._number, self._names):
                run("ip", "link", "del", wire)
            self._number = 0
        there = _namespaces()
        for name in (self._hub, *self._names.values()):
            if name in there:
                run("ip", "netns", "del", name)

    def enter(self, node: int) -> tuple[str, ...]:
        """The command that leads into the node's namespace."""
        return ("ip", "netns", "exec", self._names[node])

    def client_host(self, node: int) -> str:
        return f"{CLIENTS_NET}.{self._number}.{2 * node + 1}"

    @staticmethod
    def peer_host(node: int) -> str:
        return f"{PEERS_NET}.{node}"

    def unplug(self, node: int) -> None:
        """The node's peer interface loses its carrier, as when somebody pulls the plug."""
        run("ip", "-n", self._hub, "link", "set", f"port-{node}", "down")

    def plug(self, node: int) -> None:
        run("ip", "-n", self._hub, "link", "set", f"port-{node}", "up")

    def _lay_wires(self) -> int:
        """Makes the wires to clients with both ends here: their names are how concurrent runs keep apart."""
        for number in SUBNETS:
            wires = _wires(number, self._names)
            made = []
            try:
                for wire in wires:
                    run("ip", "link", "add", wire, "type", "veth", "peer", "name", f"{wire}p")
                    made.append(wire)
            except CommandFailed as error:
                for wire in made:
                    run("ip", "link", "del", wire)
                if "File exists" not in str(error):
                    raise
                continue
            return number
        raise NotPossible(f"{len(SUBNETS)} runs have network namespaces on this machine already")

    def _wire_to_clients(self, node: int, name: str) -> None:
        wire = _wire(self._number, node)
        here = f"{CLIENTS_NET}.{self._number}.{2 * node}/31"
        run("ip", "link", "set", f"{wire}p", "netns", name, "name", "client")
        run("ip", "addr", "add", here, "dev", wire)
        run("ip", "link", "set", wire, "up")
        run("ip", "-n", name, "addr", "add", f"{self.client_host(node)}/31", "dev", "client")
        run("ip", "-n", name, "link", "set", "client", "up")

    def _wire_to_hub(self, node: int, name: str) -> None:
        port = f"port-{node}"
        run("ip", "-n", self._hub, "link", "add", port, "type", "veth", "peer", "name", "peer", "netns", name)
        run("ip", "-n", self._hub, "link", "set", port, "master", "bridge", "up")
        run("ip", "-n", name, "addr", "add", f"{self.peer_host(node)}/24", "dev", "peer")
        run("ip", "-n", name, "link", "set", "peer", "up")


def sweep() -> None:
    """Ends the nodes and removes the namespaces of runs that do not live any more."""
    for name in _namespaces():
        # Another run may be sweeping, too: what it was quicker with is no failure.
        with suppress(CommandFailed, ProcessLookupError):
            if owner.is_leftover(name):
                _remove(name)


def _remove(name: str) -> None:
    for pid in run("ip", "netns", "pids", name).split():
        node = ProcessIdentity.of(int(pid))
        node.send(signal.SIGKILL)
        node.wait(5.0)
    run("ip", "netns", "del", name)


def why_not() -> str:
    """Why there can be no namespaces here; "" if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "no ip here (iproute2)"
    trial = Namespaces([1])
    try:
        trial.make()
    except (CommandFailed, NotPossible) as error:
        return str(error)
    finally:
        trial.remove()
    return why_no_iptables()


def _fresh(what: str) -> str:
    return owner.named(owner.mark(), f"{secrets.token_hex(2)}-{what}")


def _wire(number: int, node: int) -> str:
    """Names of interfaces have at most 15 characters."""
    return f"qlog{number}-{node}"


def _wires(number: int, nodes: Iterable[int]) -> list[str]:
    return [_wire(number, node) for node in nodes]


def _namespaces() -> list[str]:
    return [line.split()[0] for line in run("ip", "netns", "list").splitlines()]
