"""The coordinator's commands as bytes: what COMMAND entries of its log hold.

Canonical JSON for the reasons that ``quorumlog.machine.commands`` gives: a few a minute, and worth reading by eye.
Versions, too, mean what they mean there: the rules of assignment are part of them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from quorumlog.machine.commands import canonical_json
from quorumlog.machine.coordinator_commands import (
    CoordinatorCommand,
    DropGroup,
    GiveBack,
    JoinGroup,
    RemoveMember,
    Strategy,
    TopicsChanged,
)
from quorumlog.machine.errors import MachineInvariantViolated, UnknownCommand

if TYPE_CHECKING:
    from collections.abc import Callable

COORDINATOR_COMMAND_VERSION = 1


def encode_coordinator_command(command: CoordinatorCommand) -> bytes:
    """The data of the COMMAND entry to propose."""
    fields: dict[str, object]
    match command:
        case JoinGroup():
            kind = "join"
            fields = {
                "group": command.group,
                "member": command.member,
                "instance": command.instance,
                "client": command.client,
                "topics": [list(pair) for pair in zip(command.topics, command.partitions, strict=True)],
                "strategy": command.strategy,
                "session_timeout_ms": command.session_timeout_ms,
            }
        case GiveBack(group, member, generation, partitions):
            kind = "give_back"
            fields = {"group": group, "member": member, "generation": generation, "partitions": partitions}
        case RemoveMember(group, member, expired, for_good):
            kind = "remove"
            fields = {"group": group, "member": member, "expired": expired, "for_good": for_good}
        case TopicsChanged(partitions):
            kind, fields = "topics", {"partitions": partitions}
        case DropGroup(group):
            kind, fields = "drop", {"group": group}
    return canonical_json({"command": kind, "version": COORDINATOR_COMMAND_VERSION, **fields})


def _join(topics: list[tuple[str, int]], strategy: int, **fields: Any) -> JoinGroup:
    names = tuple(topic for topic, _ in topics)
    counts = tuple(count for _, count in topics)
    return JoinGroup(topics=names, partitions=counts, strategy=Strategy(strategy), **fields)


def _give_back(partitions: list[tuple[str, int]], **fields: Any) -> GiveBack:
    return GiveBack(partitions=tuple((topic, number) for topic, number in partitions), **fields)


_DECODERS: dict[str, Callable[..., CoordinatorCommand]] = {
    "join": _join,
    "give_back": _give_back,
    "remove": RemoveMember,
    "topics": lambda partitions: TopicsChanged(tuple((topic, count) for topic, count in partitions)),
    "drop": DropGroup,
}


def decode_coordinator_command(data: bytes) -> CoordinatorCommand:
    """The command of a COMMAND entry.

    Raises UnknownCommand if a newer node wrote it, MachineInvariantViolated if nobody can have.
    """
    try:
        fields: dict[str, Any] = json.loads(data)
        kind, version = str(fields.pop("command")), fields.pop("version")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise MachineInvariantViolated(f"not a coordinator's command: {data[:80]!r}") from error
    decoder = _DECODERS.get(kind)
    if decoder is None or version != COORDINATOR_COMMAND_VERSION:
        raise UnknownCommand(f"coordinator's command {kind!r} of version {version}")
    try:
        return decoder(**fields)
    except (TypeError, ValueError) as error:
        raise MachineInvariantViolated(f"coordinator's command {kind!r} with fields {sorted(fields)}") from error
