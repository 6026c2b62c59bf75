"""Damage at rest: what lies on the disk of a node that does not run is changed, and the node is started with it.

A victim is killed, one of its files is damaged, and it comes back. What was observed of it is what the node says: a
damaged replica (``ReplicaDamaged``), a checkpoint or a torn tail that it did without (``LogRepaired``), an identity
that it took from its copy. Nodes come to notice damage in sealed segments only when they read them, be it for a
consumer, a follower or the scrub; so the undoing waits a while for the word.

Of partitions only those are damaged that keep what they have: what retention or a deletion takes away soon nobody
may ever read again, and then nobody notices.

A bit that flips in the very last write before a kill cannot be told from a write that a power cut tore: nothing
after it vouches for it. So what is damaged here is never on more than a minority of the nodes, and the others live.

The layout of a node's files is told by name and by the few bytes below (``quorumlog.storage`` has the whole of it;
``tests/chaos/test_file_damage.py`` holds this against it).
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from quorumlog.chaos import targets
from quorumlog.chaos.faults.disk import share, spared_majority
from quorumlog.chaos.faults.fault import Scene, Struck
from quorumlog.chaos.places.place import Ability

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from quorumlog.chaos.targets import Role

BLOCK_BYTES = 4096
IDENTITY = "node.json"
SEGMENT, CHECKPOINT = ".segment", ".checkpoint"
#: Group 1 is the controller's, those up to here belong to coordinators, all beyond to partitions of topics.
CONTROLLER_GROUP, LAST_COORDINATOR_GROUP = 1, 15
#: Of a segment: its header's size, where in it the number in the order of creation stands, how a record begins,
#: where its kind stands, the kinds of hard states and of entries, where a body's length stands, and a head's size.
HEADER_BYTES, SEQUENCE_AT = 96, 40
MAGIC, KIND_AT, LENGTH_AT, HEAD_BYTES = b"qRec", 12, 8, 40
HARD_STATE, ENTRY = 1, 2

#: What a node logs about damage (``quorumlog.replica.events``, ``quorumlog.storage.node_directory``).
SAID = ("ReplicaDamaged", "LogRepaired", "identity repaired")
#: How long the undoing waits for the word.
_WORD_TIMEOUT_S = 30.0
_LOOK_S = 0.1
#: Between the older copy of a block and the stop, for a stale block to be older by something.
_AGEING_S = 0.7


class Where(StrEnum):
    """What is damaged."""

    SEALED = "sealed segment"
    TAIL = "last record"
    VOTE = "vote"
    CHECKPOINT = "checkpoint"
    IDENTITY = "identity"


class How(StrEnum):
    """What is done to it."""

    FLIP = "bit flip"
    TRUNCATE = "truncation"
    STALE = "stale block"
    MISDIRECT = "misdirected block"


class Groups(StrEnum):
    """Whose replicas."""

    PARTITIONS = "partitions"
    COORDINATORS = "coordinators"
    CONTROLLER = "controller"


class Done(NamedTuple):
    """One damage: the file below the data directory, and where in it."""

    file: str
    position: int


@dataclass(frozen=True, slots=True)
class Damage:
    """See the module."""

    where: Where
    how: How
    role: Role
    groups: Groups = Groups.PARTITIONS
    needs = frozenset({Ability.FILES, Ability.KILL})

    @property
    def name(self) -> str:
        whose = "" if self.groups is Groups.PARTITIONS or self.where is Where.IDENTITY else f" of {self.groups}"
        return f"{self.how} in {self.where}{whose} {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = spared_majority(scene, await self.role.choose(scene))
        if not nodes:
            return None
        kept = await _keeping(scene)
        before = {node: _said(scene, node) for node in nodes}
        older = {node: _tails(scene.place.data_directory(node), self.groups) for node in nodes}
        if self.how is How.STALE:
            await asyncio.sleep(_AGEING_S)
        for node in nodes:
            await scene.place.kill(node)
        done = {}
        for index, node in enumerate(nodes):
            digits = share(index, len(nodes))
            damaged = self._damage(scene.place.data_directory(node), older[node], scene.random, digits, kept)
            if damaged is not None:
                done[node] = damaged
        if not done:
            # There is no such file yet, or nothing in it has changed: the plan tries again.
            for node in nodes:
                await scene.start_again(node)
            return None
        told: dict[str, Any] = {"nodes": list(nodes), "files": {node: one._asdict() for node, one in done.items()}}

        async def undo() -> int:
            for node in nodes:
                await scene.start_again(node)
            return await _word(scene, {node: before[node] for node in done})

        return Struck(told, undo)

    def _damage(
        self,
        data: Path,
        older: dict[Path, bytes],
        random: Random,
        digits: str = "0123456789",
        kept: frozenset[str] = frozenset(),
    ) -> Done | None:
        """``digits``: the last ones of groups that may be harmed here, another victim's not being among them.
        ``kept``: only these partitions' groups; none named: any."""

        def may_be_harmed(path: Path) -> bool:
            if self.groups is not Groups.PARTITIONS or self.where is Where.IDENTITY:
                return True
            group = _group_of(path)
            return group[-1] in digits and (not kept or group in kept)

        if self.how is How.STALE:
            spots = [spot for spot in _stale_blocks(older) if may_be_harmed(spot[0])]
            if not spots:
                return None
            path, position, block = random.choice(spots)
            _overwrite(path, position, block)
            return Done(str(path.relative_to(data)), position)
        found = [spot for spot in spots_of(data, self.where, self.groups) if may_be_harmed(spot[0])]
        if not found:
            return None
        path, start, end = random.choice(found)
        position = random.randrange(start + 1, end)
        if self.how is How.FLIP:
            byte = path.read_bytes()[position]
            _overwrite(path, position, bytes((byte ^ (1 << random.randrange(8)),)))
        elif self.how is How.TRUNCATE:
            os.truncate(path, position)
        else:
            position = max(start, position - position % BLOCK_BYTES)
            _overwrite(path, position, _other_block(path.read_bytes(), position, random))
        return Done(str(path.relative_to(data)), position)


# --- what lies where


async def _keeping(scene: Scene) -> frozenset[str]:
    """The groups of the topic that keeps all that is written."""
    told = await targets.replicas(scene)
    return frozenset(
        str(replica.group_id)
        for replicas in told.values()
        for replica in replicas
        if scene.topics and replica.topic == scene.topics[0]
    )


def _group_of(path: Path) -> str:
    """The id of the group whose replica the file belongs to."""
    return path.parent.parent.name


def replica_directories(data: Path, groups: Groups) -> list[Path]:
    """The latest incarnation of each replica of those groups, ascending by group."""
    found = []
    for group in sorted((data / "groups").iterdir(), key=lambda path: int(path.name)):
        number = int(group.name)
        kind = (
            Groups.CONTROLLER
            if number == CONTROLLER_GROUP
            else Groups.COORDINATORS
            if number <= LAST_COORDINATOR_GROUP
            else Groups.PARTITIONS
        )
        lives = [path for path in group.glob("replica-*") if path.name.removeprefix("replica-").isdigit()]
        if kind is groups and lives:
            found.append(max(lives, key=lambda path: int(path.name.removeprefix("replica-"))))
    return found


def segments(replica: Path) -> list[Path]:
    """Ascending in the order of creation: the last is the one that is, or was last, written to."""

    def sequence(path: Path) -> int:
        with path.open("rb") as file:
            return int.from_bytes(file.read(HEADER_BYTES)[SEQUENCE_AT : SEQUENCE_AT + 8], "little")

    return sorted(replica.glob(f"*{SEGMENT}"), key=sequence)


def spots_of(data: Path, where: Where, groups: Groups) -> list[tuple[Path, int, int]]:
    """(file, start, end) of every stretch that is ``where``; none if there is none."""
    if where is Where.IDENTITY:
        path = data / IDENTITY
        return [(path, 0, path.stat().st_size)]
    found: list[tuple[Path, int, int]] = []
    for replica in replica_directories(data, groups):
        chain = segments(replica)
        if where is Where.SEALED:
            found += [(path, HEADER_BYTES, path.stat().st_size) for path in chain[:-1]]
        elif where is Where.CHECKPOINT:
            # The one that a start loads: the newest.
            newest = sorted(replica.glob(f"*{CHECKPOINT}"))[-1:]
            found += [(path, 0, path.stat().st_size) for path in newest]
        elif chain:
            kind = HARD_STATE if where is Where.VOTE else ENTRY
            span = _last_record(chain[-1].read_bytes(), kind)
            if span is not None:
                found.append((chain[-1], *span))
    return found


def _last_record(data: bytes, kind: int) -> tuple[int, int] | None:
    """(start, end without padding) of the last record of that kind."""
    at = data.rfind(MAGIC)
    while at >= HEADER_BYTES:
        if at % 8 == 0 and data[at + KIND_AT] == kind:
            length = int.from_bytes(data[at + LENGTH_AT : at + LENGTH_AT + 4], "little")
            return at, at + HEAD_BYTES + length
        at = data.rfind(MAGIC, 0, at)
    return None


def _tails(data: Path, groups: Groups) -> dict[Path, bytes]:
    """The segments that are written to just now, as they are."""
    return {
        chain[-1]: chain[-1].read_bytes() for one in replica_directories(data, groups) if (chain := segments(one))
    }


def _stale_blocks(older: dict[Path, bytes]) -> list[tuple[Path, int, bytes]]:
    """(file, position, what stood there once) of blocks that have changed since, but for a file's last: what comes
    behind them vouches for what they should hold."""
    found = []
    for path, then in older.items():
        if not path.exists():
            continue
        now = path.read_bytes().rstrip(b"\0")
        last = len(now) - len(now) % BLOCK_BYTES
        found += [
            (path, position, then[position : position + BLOCK_BYTES].ljust(BLOCK_BYTES, b"\0"))
            for position in range(0, last, BLOCK_BYTES)
            if then[position : position + BLOCK_BYTES] != now[position : position + BLOCK_BYTES]
        ]
    return found


def _other_block(data: bytes, position: int, random: Random) -> bytes:
    """Some other block of the file, or one of another file's kind if it has but one."""
    size = min(BLOCK_BYTES, len(data) - position)
    starts = [start for start in range(0, len(data), BLOCK_BYTES) if start != position]
    start = random.choice(starts) if starts else 0
    other = data[start : start + size].ljust(size, b"\xa5")
    return other if other != data[position : position + size] else bytes(size)


def _overwrite(path: Path, position: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(data)


# --- what nodes say


def _said(scene: Scene, node: int) -> int:
    return sum(scene.place.said(node, word) for word in SAID)


async def _word(scene: Scene, before: dict[int, int]) -> int:
    """What these nodes have said of damage since, once each has said something; 0 if none does in time."""
    for _ in range(int(_WORD_TIMEOUT_S / _LOOK_S)):
        if all(_said(scene, node) > said for node, said in before.items()):
            break
        await asyncio.sleep(_LOOK_S)
    return sum(_said(scene, node) - said for node, said in before.items())
