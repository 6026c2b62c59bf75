"""The controller's state, and its bytes in a checkpoint.

Canonical JSON like the commands, for the same reason: it is small, rarely written, and worth reading when
something is wrong. ``topics`` are in the order of their making; ``producers`` is in the order of opening, oldest
first, because that order decides which name is forgotten.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from quorumlog.machine.commands import canonical_json, config_to_json
from quorumlog.machine.digest import DIGEST_SIZE, EMPTY_DIGEST
from quorumlog.machine.errors import MalformedSnapshot, SnapshotTooNew
from quorumlog.machine.results import ProducerOpened
from quorumlog.machine.topics import FIRST_TOPIC_GROUP_ID, Partition, Topic, TopicConfig

_MACHINE = "controller"
_VERSION = 1


@dataclass(slots=True)
class ControllerState:
    """All that is replicated of the controller."""

    applied_index: int = 0
    digest: bytes = EMPTY_DIGEST
    changes: int = 0
    next_topic_id: int = 1
    next_group_id: int = FIRST_TOPIC_GROUP_ID
    next_producer_id: int = 1
    topics: dict[str, Topic] = field(default_factory=dict)
    """In the order of their making, which is that of their groups' ids: a topic made again comes last."""
    producers: OrderedDict[str, ProducerOpened] = field(default_factory=OrderedDict)
    """The last opening of each name, the least recent first."""


def encode_state(state: ControllerState) -> bytes:
    return canonical_json(
        {
            "machine": _MACHINE,
            "version": _VERSION,
            "applied_index": state.applied_index,
            "digest": state.digest.hex(),
            "changes": state.changes,
            "next_topic_id": state.next_topic_id,
            "next_group_id": state.next_group_id,
            "next_producer_id": state.next_producer_id,
            "topics": [_topic_to_json(topic) for topic in state.topics.values()],
            "producers": [[name, last.producer_id, last.epoch] for name, last in state.producers.items()],
        }
    )


def decode_state(data: bytes) -> ControllerState:
    """Raises SnapshotTooNew, or MalformedSnapshot."""
    try:
        fields: dict[str, Any] = json.loads(data)
        machine, version = fields["machine"], fields["version"]
        if machine != _MACHINE:
            raise MalformedSnapshot(f"a snapshot of {machine!r}, not of the controller")
        if version > _VERSION:
            raise SnapshotTooNew(f"a controller's snapshot of version {version}; this program reads {_VERSION}")
        if version < 1:
            raise MalformedSnapshot(f"a controller's snapshot of version {version}")
        return _state_from_json(fields)
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedSnapshot("not a controller's snapshot") from error


def _state_from_json(fields: dict[str, Any]) -> ControllerState:
    digest = bytes.fromhex(fields["digest"])
    if len(digest) != DIGEST_SIZE:
        raise MalformedSnapshot(f"a digest of {len(digest)} bytes")
    topics = [_topic_from_json(topic) for topic in fields["topics"]]
    producers = OrderedDict((name, ProducerOpened(number, epoch)) for name, number, epoch in fields["producers"])
    return ControllerState(
        applied_index=fields["applied_index"],
        digest=digest,
        changes=fields["changes"],
        next_topic_id=fields["next_topic_id"],
        next_group_id=fields["next_group_id"],
        next_producer_id=fields["next_producer_id"],
        topics={topic.name: topic for topic in topics},
        producers=producers,
    )


def _topic_to_json(topic: Topic) -> dict[str, object]:
    return {
        "topic_id": topic.topic_id,
        "name": topic.name,
        "config": config_to_json(topic.config),
        "partitions": [[partition.group_id, *partition.replicas] for partition in topic.partitions],
    }


def _topic_from_json(fields: dict[str, Any]) -> Topic:
    partitions = tuple(
        Partition(number, group_id, tuple(replicas))
        for number, (group_id, *replicas) in enumerate(fields["partitions"])
    )
    return Topic(fields["topic_id"], fields["name"], TopicConfig(**fields["config"]), partitions)
