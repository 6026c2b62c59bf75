"""The coordinator's state, and its bytes in a checkpoint: canonical JSON, as the controller's.

A group's partitions are rows ``[topic, number, target, holder, generation of the grant]``; target and holder are
places in the sorted list of members, -1 for nobody.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from quorumlog.machine.commands import canonical_json
from quorumlog.machine.consumer_group import ConsumerGroup, Held, Member
from quorumlog.machine.coordinator_commands import Strategy
from quorumlog.machine.digest import DIGEST_SIZE, EMPTY_DIGEST
from quorumlog.machine.errors import MalformedSnapshot, SnapshotTooNew

_MACHINE = "coordinator"
_VERSION = 1
_NOBODY = -1


@dataclass(slots=True)
class CoordinatorState:
    """All that is replicated of a coordinator."""

    applied_index: int = 0
    digest: bytes = EMPTY_DIGEST
    floor: int = 0
    """The highest generation of a group that was forgotten: a group made again goes on above it, because partitions
    remember generations."""
    groups: dict[str, ConsumerGroup] = field(default_factory=dict)
    emptied: dict[str, None] = field(default_factory=dict)
    """Groups without members, the one that has been so for longest first."""


def encode_state(state: CoordinatorState) -> bytes:
    return canonical_json(
        {
            "machine": _MACHINE,
            "version": _VERSION,
            "applied_index": state.applied_index,
            "digest": state.digest.hex(),
            "floor": state.floor,
            "groups": [_group_to_json(group) for _, group in sorted(state.groups.items())],
            "emptied": list(state.emptied),
        }
    )


def decode_state(data: bytes) -> CoordinatorState:
    """Raises SnapshotTooNew, or MalformedSnapshot."""
    try:
        fields: dict[str, Any] = json.loads(data)
        machine, version = fields["machine"], fields["version"]
        if machine != _MACHINE:
            raise MalformedSnapshot(f"a snapshot of {machine!r}, not of a coordinator")
        if version > _VERSION:
            raise SnapshotTooNew(f"a coordinator's snapshot of version {version}; this program reads {_VERSION}")
        if version < 1:
            raise MalformedSnapshot(f"a coordinator's snapshot of version {version}")
        return _state_from_json(fields)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise MalformedSnapshot("not a coordinator's snapshot") from error


def _state_from_json(fields: dict[str, Any]) -> CoordinatorState:
    digest = bytes.fromhex(fields["digest"])
    if len(digest) != DIGEST_SIZE:
        raise MalformedSnapshot(f"a digest of {len(digest)} bytes")
    groups = [_group_from_json(group) for group in fields["groups"]]
    emptied = dict.fromkeys(fields["emptied"])
    if sorted(emptied) != sorted(group.name for group in groups if not group.members):
        raise MalformedSnapshot("a coordinator's snapshot contradicts itself")
    return CoordinatorState(
        applied_index=fields["applied_index"],
        digest=digest,
        floor=fields["floor"],
        groups={group.name: group for group in groups},
        emptied=emptied,
    )


def placement(group: ConsumerGroup) -> list[list[object]]:
    """The group's rows (see the module), sorted: what assigning and granting came to."""
    places = {member: place for place, member in enumerate(sorted(group.members))} | {"": _NOBODY}
    nobody = Held("", 0)
    rows: list[list[object]] = []
    for partition in sorted(group.targets.keys() | group.holders.keys()):
        holder, generation = group.holders.get(partition, nobody)
        rows.append([*partition, places[group.targets.get(partition, "")], places[holder], generation])
    return rows


def _group_to_json(group: ConsumerGroup) -> dict[str, object]:
    return {
        "name": group.name,
        "generation": group.generation,
        "strategy": group.strategy,
        "members": [
            [one.member, one.instance, one.client, one.topics, one.session_timeout_ms, one.predecessor]
            for _, one in sorted(group.members.items())
        ],
        "topics": sorted(group.partitions.items()),
        "partitions": placement(group),
    }


def _group_from_json(fields: dict[str, Any]) -> ConsumerGroup:
    group = ConsumerGroup(fields["name"], fields["generation"])
    group.strategy = Strategy(fields["strategy"])
    for member, instance, client, topics, session_timeout_ms, predecessor in fields["members"]:
        group.members[member] = Member(member, instance, client, tuple(topics), session_timeout_ms, predecessor)
    group.partitions = dict(fields["topics"])
    members = list(group.members)
    for topic, number, target, holder, generation in fields["partitions"]:
        if target != _NOBODY:
            group.targets[topic, number] = members[target]
        if holder != _NOBODY:
            group.holders[topic, number] = Held(members[holder], generation)
    return group
