"""The controller's commands: what COMMAND entries of its log hold.

Canonical JSON (sorted keys, no spaces, ASCII): ``{"command":"create_topic","version":1,…}``. Topics are made by
people, a few a day, and a log of them should be readable by eye; canonical, because the running digest covers the
bytes. A command or version that is not known stops the replica: guessing what a newer node meant is divergence. So
is a field that is not known, hence every change of a command's fields is a new version.

The version covers what applying means, too: defaults, bounds and the rule of placement are evaluated on every
replica, so a change to one of them is a new version, or replicas would differ while a cluster is being upgraded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quorumlog.machine.errors import MachineInvariantViolated, UnknownCommand
from quorumlog.machine.topics import CONFIG_FIELDS, TopicConfig

if TYPE_CHECKING:
    from collections.abc import Callable

CONTROLLER_COMMAND_VERSION = 1


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """A new topic over ``nodes``: the configured node ids as the proposer knows them, in any order."""

    name: str
    config: TopicConfig
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AlterTopic:
    """New settings; None leaves one as it is. 0 means what it means in ``TopicConfig``."""

    name: str
    retention_ms: int | None = None
    retention_bytes: int | None = None
    segment_bytes: int | None = None
    max_batch_bytes: int | None = None

    @property
    def changes(self) -> dict[str, int]:
        """The settings that are given."""
        given = {field: getattr(self, field) for field in ALTERABLE_FIELDS}
        return {field: value for field, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class DeleteTopic:
    """The topic and its records go, for good."""

    name: str


@dataclass(frozen=True, slots=True)
class CreateCoordinators:
    """The internal topic whose ``partitions`` coordinate consumer groups, unless it is there."""

    partitions: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OpenProducer:
    """A producer session. ``name`` '': an id of its own. Otherwise the name's id, with its epoch raised."""

    name: str


#: Partitions and replicas stay as they were made.
ALTERABLE_FIELDS: tuple[str, ...] = ("retention_ms", "retention_bytes", "segment_bytes", "max_batch_bytes")

ControllerCommand = CreateTopic | AlterTopic | DeleteTopic | CreateCoordinators | OpenProducer


def canonical_json(value: object) -> bytes:
    """Equal values, equal bytes, whatever order a dict was filled in."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def config_to_json(config: TopicConfig) -> dict[str, int]:
    return {field: getattr(config, field) for field in CONFIG_FIELDS}


def encode_controller_command(command: ControllerCommand) -> bytes:
    """The data of the COMMAND entry to propose."""
    fields: dict[str, object]
    match command:
        case CreateTopic(name, config, nodes):
            kind, fields = (
                "create_topic",
                {"config": config_to_json(config), "name": name, "nodes": nodes},
            )
        case AlterTopic(name):
            kind, fields = "alter_topic", {"changes": command.changes, "name": name}
        case DeleteTopic(name):
            kind, fields = "delete_topic", {"name": name}
        case CreateCoordinators(partitions, nodes):
            kind, fields = "create_coordinators", {"nodes": nodes, "partitions": partitions}
        case OpenProducer(name):
            kind, fields = "open_producer", {"name": name}
    return canonical_json({"command": kind, "version": CONTROLLER_COMMAND_VERSION, **fields})


_DECODERS: dict[str, Callable[..., ControllerCommand]] = {
    "create_topic": lambda name, config, nodes: CreateTopic(name, TopicConfig(**config), tuple(nodes)),
    "alter_topic": lambda name, changes: AlterTopic(name, **changes),
    "delete_topic": DeleteTopic,
    "create_coordinators": lambda partitions, nodes: CreateCoordinators(partitions, tuple(nodes)),
    "open_producer": OpenProducer,
}


def decode_controller_command(data: bytes) -> ControllerCommand:
    """The command of a COMMAND entry.

    Raises UnknownCommand if a newer node wrote it, MachineInvariantViolated if nobody can have.
    """
    try:
        fields: dict[str, Any] = json.loads(data)
        kind, version = str(fields.pop("command")), fields.pop("version")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise MachineInvariantViolated(f"not a controller command: {data[:80]!r}") from error
    decoder = _DECODERS.get(kind)
    if decoder is None or version != CONTROLLER_COMMAND_VERSION:
        raise UnknownCommand(f"controller command {kind!r} of version {version}")
    try:
        return decoder(**fields)
    except TypeError as error:
        raise MachineInvariantViolated(f"controller command {kind!r} with fields {sorted(fields)}") from error
