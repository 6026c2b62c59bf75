"""Who is in the group: configurations, how one becomes another, and how they travel as log entries.

A replica uses the newest configuration in its log, committed or not (§6 of the paper). So configurations live and
die with the entries that hold them: when such an entry is truncated, the one before it is in force again.

A change of at most one voter is taken in one step: old and new majorities overlap anyway (dissertation §4.1).
Anything more goes through a joint configuration, which the leader leaves by itself once it is committed (§4.3).
Learners may change freely in either form.

On the wire and on disk, version 1, little-endian, ids ascending so that equal configurations are equal bytes:

    u8   version = 1
    4 x  { u32 count, count x u64 replica id }     voters, outgoing, learners, learners_next

Bytes are a configuration if and only if the version is 1, the four lists fill them exactly, each list is strictly
ascending, voters and learners are disjoint, and ``learners_next`` is a part of ``outgoing``.

Prior art: etcd-io/raft ``confchange/confchange.go``.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

from .errors import InvalidChange, InvariantViolated, ensure
from .types import Checkpoint, Configuration, ConfigurationChange, Entry, EntryKind, ReplicaId

if TYPE_CHECKING:
    from collections.abc import Iterable

_VERSION = 1
_COUNT = struct.Struct("<I")


class MalformedConfiguration(ValueError):
    """Bytes that should be a configuration are not."""


def encode_configuration(configuration: Configuration) -> bytes:
    """The bytes of a CONFIGURATION entry; equal configurations give equal bytes."""
    parts = [bytes((_VERSION,))]
    for replicas in (
        configuration.voters,
        configuration.outgoing,
        configuration.learners,
        configuration.learners_next,
    ):
        parts.append(_COUNT.pack(len(replicas)))
        parts.append(struct.pack(f"<{len(replicas)}Q", *sorted(replicas)))
    return b"".join(parts)


def decode_configuration(data: bytes) -> Configuration:
    """The inverse of ``encode_configuration``. Raises MalformedConfiguration, whatever the bytes."""
    if not data or data[0] != _VERSION:
        raise MalformedConfiguration(f"unknown version {data[0] if data else 'none'}")
    position = 1
    lists: list[frozenset[ReplicaId]] = []
    for _ in range(4):
        replicas, position = _decode_list(data, position)
        lists.append(replicas)
    if position != len(data):
        raise MalformedConfiguration(f"{len(data) - position} bytes too many")
    configuration = Configuration(*lists)
    if configuration.voters & configuration.learners or not configuration.learners_next <= configuration.outgoing:
        raise MalformedConfiguration("a replica in two roles at once")
    return configuration


def _decode_list(data: bytes, position: int) -> tuple[frozenset[ReplicaId], int]:
    if position + _COUNT.size > len(data):
        raise MalformedConfiguration("cut short")
    (count,) = _COUNT.unpack_from(data, position)
    start = position + _COUNT.size
    end = start + 8 * count
    if end > len(data):  # before anything is allocated by a count that may be garbage
        raise MalformedConfiguration("cut short")
    replicas = struct.unpack_from(f"<{count}Q", data, start)
    if any(low >= high for low, high in pairwise(replicas)):
        raise MalformedConfiguration("ids not ascending")
    return frozenset(replicas), end


def plan_change(current: Configuration, change: ConfigurationChange) -> Configuration:
    """The configuration to append for ``change``: the wish itself, or the joint one that leads there.

    Raises InvalidChange if the wish is no configuration. ``current`` is not joint.
    """
    if not change.voters:
        raise InvalidChange("a group needs a voter")
    if change.voters & change.learners:
        raise InvalidChange(f"both voter and learner: {sorted(change.voters & change.learners)}")
    ensure(not current.joint, "a change starts from a configuration that is not joint")
    if len(current.voters ^ change.voters) <= 1:
        return Configuration(change.voters, learners=change.learners)
    return Configuration(
        voters=change.voters,
        outgoing=current.voters,
        # A voter of the old half stays one until that half is gone; only then may it turn learner.
        learners=change.learners - current.voters,
        learners_next=change.learners & current.voters,
    )


def leave_joint(configuration: Configuration) -> Configuration:
    """What a joint configuration ends in."""
    ensure(configuration.joint, "only a joint configuration is left")
    return Configuration(configuration.voters, learners=configuration.learners | configuration.learners_next)


def members(configuration: Configuration) -> frozenset[ReplicaId]:
    """Everyone who receives the log."""
    return configuration.voters | configuration.outgoing | configuration.learners


def is_voter(configuration: Configuration, replica: ReplicaId) -> bool:
    """Whether its vote and its copy count in either half."""
    return replica in configuration.voters or replica in configuration.outgoing


class Membership:
    """The configurations of a log, oldest first, each from its index on; the last one is in force."""

    __slots__ = ("_history", "current", "current_index")

    def __init__(self, checkpoint: Checkpoint, later: Iterable[tuple[int, Configuration]]) -> None:
        self._history: list[tuple[int, Configuration]] = [(checkpoint.index, checkpoint.configuration)]
        self._history += [(index, found) for index, found in later if index > checkpoint.index]
        self._refresh()

    def _refresh(self) -> None:
        self.current_index, self.current = self._history[-1]

    def note(self, entries: tuple[Entry, ...]) -> bool:
        """Entries were appended: a configuration among them is in force from now on. True if there was one."""
        found = False
        for entry in entries:
            if entry.kind == EntryKind.CONFIGURATION:
                ensure(entry.index > self.current_index, "configurations are appended in order")
                self._history.append((entry.index, self._decode(entry)))
                found = True
        if found:
            self._refresh()
        return found

    @staticmethod
    def _decode(entry: Entry) -> Configuration:
        try:
            return decode_configuration(entry.data)
        except MalformedConfiguration as error:
            raise InvariantViolated(f"entry {entry.index} holds no configuration: {error}") from error

    def roll_back(self, index: int) -> bool:
        """Entries at and above ``index`` were truncated, and the configurations in them with them. True if any."""
        before = len(self._history)
        while len(self._history) > 1 and self._history[-1][0] >= index:
            self._history.pop()
        self._refresh()
        return len(self._history) < before

    def restore(self, checkpoint: Checkpoint) -> None:
        """The whole log was replaced by a checkpoint."""
        self._history = [(checkpoint.index, checkpoint.configuration)]
        self._refresh()

    def forget_below(self, index: int) -> None:
        """Nobody will ask about indices below ``index`` again: keep the one in force there and all after it."""
        history = self._history
        while len(history) > 1 and history[1][0] <= index:
            del history[0]

    def at(self, index: int) -> Configuration:
        """The configuration in force at ``index``, which ``forget_below`` has not passed."""
        ensure(index >= self._history[0][0], "that configuration was forgotten")
        return next(found for start, found in reversed(self._history) if start <= index)
