"""What a user allows to be done to a cluster of their own, and with which commands: a TOML file.

::

    engine = "raft"

    [nodes.1]                           # every node of the cluster, by its id
    host = "log-1.example"              # any keys; commands name them

    [commands]                          # run by the shell, on the machine of whoever runs the suite
    log    = "ssh {host} journalctl -u quorumlog -o cat -n 0 -f"
    kill   = "ssh {host} sudo systemctl kill -s KILL quorumlog"
    start  = "ssh {host} sudo systemctl start quorumlog"
    pause  = "ssh {host} sudo systemctl kill -s STOP quorumlog"
    resume = "ssh {host} sudo systemctl kill -s CONT quorumlog"
    cut    = "ssh {target_host} sudo iptables -I INPUT -s {source_host} -p tcp --dport 7501 -j DROP"
    heal   = "ssh {target_host} sudo iptables -D INPUT -s {source_host} -p tcp --dport 7501 -j DROP"

A command about a node may use ``{node}`` and the node's keys; one about a link ``{source}``, ``{target}`` and the
keys of both with ``source_`` or ``target_`` before them. ``log`` must be there: it runs throughout and prints what
the node says from then on, by which it is seen that a fault had an effect. An ability exists if all commands that
it takes are there (``COMMANDS_OF``); everything else is left alone.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quorumlog.chaos.places.place import Ability, NotPossible

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOG = "log"
#: To do it, and to undo it.
COMMANDS_OF: Mapping[Ability, tuple[str, ...]] = {
    Ability.KILL: ("kill", "start"),
    Ability.STOP: ("stop", "start"),
    Ability.PAUSE: ("pause", "resume"),
    Ability.CUT: ("cut", "heal"),
    Ability.REJECT: ("reject", "heal"),
    Ability.RESET: ("reset",),
    Ability.DISCONNECT: ("disconnect", "reconnect"),
}
_OF_LINKS = frozenset({"cut", "reject", "heal", "reset"})
_KNOWN = frozenset({LOG}).union(*COMMANDS_OF.values())


@dataclass(frozen=True, slots=True)
class Grants:
    """A grants file, read and found sound: every command can be filled in for every node, or every two."""

    nodes: Mapping[int, Mapping[str, str]]
    commands: Mapping[str, str]
    engine: str = "raft"

    @property
    def abilities(self) -> frozenset[Ability]:
        return frozenset(
            ability for ability, needed in COMMANDS_OF.items() if all(each in self.commands for each in needed)
        )

    @property
    def lacks(self) -> dict[Ability, str]:
        """Why the other abilities are not there, as far as they could be granted."""
        return {
            ability: "not granted: needs " + " and ".join(each for each in needed if each not in self.commands)
            for ability, needed in COMMANDS_OF.items()
            if ability not in self.abilities
        }

    def of_node(self, command: str, node: int) -> str:
        """The command line. Raises NotPossible when the command was not granted."""
        return self._filled(command, {"node": str(node), **self.nodes[node]})

    def of_link(self, command: str, source: int, target: int) -> str:
        """The command line. Raises NotPossible when the command was not granted."""
        keys = {"source": str(source), "target": str(target)}
        keys.update({f"source_{key}": value for key, value in self.nodes[source].items()})
        keys.update({f"target_{key}": value for key, value in self.nodes[target].items()})
        return self._filled(command, keys)

    def _filled(self, command: str, keys: Mapping[str, str]) -> str:
        template = self.commands.get(command)
        if template is None:
            raise NotPossible(f"the grants have no command {command!r}")
        try:
            return template.format_map(keys)
        except (KeyError, ValueError, IndexError) as error:
            raise NotPossible(f"command {command!r} cannot be filled in: {error!r}") from None

    def check(self) -> None:
        """Raises NotPossible for the first command that cannot be filled in."""
        for command in sorted(self.commands):
            for node in self.nodes:
                if command not in _OF_LINKS:
                    self.of_node(command, node)
                    continue
                for other in self.nodes:
                    if other != node:
                        self.of_link(command, node, other)


def read_grants(path: Path) -> Grants:
    """Raises NotPossible when the file cannot be read or makes no sense; the message is one line."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        grants = _grants(content)
        grants.check()
    except (OSError, ValueError, NotPossible) as error:
        raise NotPossible(f"{path}: {error}") from None
    return grants


def _grants(content: Mapping[str, Any]) -> Grants:
    """Raises ValueError."""
    if unknown := sorted(content.keys() - {"nodes", "commands", "engine"}):
        raise ValueError(f"unknown key {unknown[0]!r}")
    nodes, commands, engine = content.get("nodes"), content.get("commands"), content.get("engine", "raft")
    if not isinstance(nodes, dict) or not nodes or not all(isinstance(keys, dict) for keys in nodes.values()):
        raise ValueError("there must be a table [nodes.ID] for every node of the cluster")
    if not all(node.isdecimal() for node in nodes):
        raise ValueError("nodes are called by their ids: [nodes.1], [nodes.2], …")
    if not isinstance(commands, dict) or LOG not in commands:
        raise ValueError(f"[commands] must have {LOG!r}: without what nodes say, no effect of a fault is seen")
    if unknown := sorted(commands.keys() - _KNOWN):
        raise ValueError(f"unknown command {unknown[0]!r}; known: {', '.join(sorted(_KNOWN))}")
    if not all(isinstance(each, str) for each in commands.values()) or not isinstance(engine, str):
        raise ValueError("commands and the engine are strings")
    keyed = {int(node): {key: str(value) for key, value in nodes[node].items()} for node in nodes}
    return Grants({node: keyed[node] for node in sorted(keyed)}, commands, engine)
