"""Comparing what all replicas of a partition have for each group: the judge behind ``group verify``.

Each replica notes its offsets at one and the same index (an *audit*) and checks them against its own log. No
replica can see that it differs from the others; that is found here. A replica that does not answer is named and
never taken for an agreeing one.

Pure. Prior art: the comparison of state machines' digests (TigerBeetle's state checker), taken down to the group so
that a person knows what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.client.offset_types import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from quorumlog.client.offset_types import InspectedGroup, Inspection, StoredOffset

#: From harmless to grave: a group with several findings is listed under the gravest. Replicas that disagree come
#: first of all: then every other finding is that of one of two truths.
_GRAVITY = (
    Finding.OK,
    Finding.EXPIRED,
    Finding.STUCK,
    Finding.EVICTED,
    Finding.AHEAD_OF_LOG,
    Finding.FINGERPRINT_MISMATCH,
    Finding.REPLICAS_DISAGREE,
)
#: An expired offset is what somebody asked for by not using it: shown, and nothing to repair.
_NOTHING_WRONG = frozenset({Finding.OK, Finding.EXPIRED})


@dataclass(frozen=True, slots=True)
class GroupFinding:
    """One group in one partition, over all its replicas.

    ``group`` "": not one group but the partition's offsets as a whole. ``stored``: as most replicas have it.
    """

    group: str
    finding: Finding
    explanation: str
    stored: StoredOffset | None

    @property
    def wrong(self) -> bool:
        return self.finding not in _NOTHING_WRONG


@dataclass(frozen=True, slots=True)
class PartitionFindings:
    """One partition. ``index``: that of the audit, 0 when there was none; ``compared``: nodes that answered;
    ``missing``: by node, why it did not (node 0: the leader could not be asked at all)."""

    topic: str
    partition: int
    index: int
    groups: tuple[GroupFinding, ...]
    compared: tuple[int, ...]
    missing: Mapping[int, str]

    @property
    def wrong(self) -> bool:
        """A promise is broken, or somebody has to act."""
        return any(each.wrong for each in self.groups)

    @property
    def complete(self) -> bool:
        """Every replica was compared."""
        return not self.missing


def compare(inspections: Sequence[Inspection]) -> tuple[GroupFinding, ...]:
    """What the replicas' notes of one index come to, by group.

    Equal digests say that everything is equal. Unequal ones with equal groups say that something differs which is
    not told of each group (its history, its session): that becomes a finding of the partition, under the name "".
    """
    by_group: dict[str, dict[int, InspectedGroup]] = {}
    for inspection in inspections:
        for told in inspection.groups:
            by_group.setdefault(told.group, {})[inspection.node_id] = told
    nodes = [inspection.node_id for inspection in inspections]
    found = [_judge(group, nodes, by_group[group]) for group in sorted(by_group)]
    digests = {inspection.node_id: inspection.digest.hex() for inspection in inspections}
    if len(set(digests.values())) > 1 and not any(each.finding is Finding.REPLICAS_DISAGREE for each in found):
        told_apart = _camps(digests)
        found.insert(0, GroupFinding("", Finding.REPLICAS_DISAGREE, f"digests differ: {told_apart}", None))
    return tuple(found)


def damage(replicas: Iterable[tuple[int, str]]) -> Iterator[GroupFinding]:
    """What replicas come to that serve nothing because their data is damaged: node and what it said.

    A replica whose offsets were altered may be found out by its node before it is asked here: then it must not
    count as one that merely did not answer.
    """
    for node_id, why in replicas:
        explanation = f"{_nodes([node_id])} is damaged and serves nothing: {why}"
        yield GroupFinding("", Finding.REPLICAS_DISAGREE, explanation, None)


def _judge(group: str, nodes: Sequence[int], told: Mapping[int, InspectedGroup]) -> GroupFinding:
    states = {node: _state(told.get(node)) for node in nodes}
    usual = _most_common(states)
    stored = told[usual].stored if usual in told else None
    if len(set(states.values())) > 1:
        return GroupFinding(group, Finding.REPLICAS_DISAGREE, _camps(states), stored)
    gravest = max(told.values(), key=lambda each: _GRAVITY.index(each.finding))
    explanation = gravest.explanation
    if gravest.finding is not Finding.OK:
        finders = [node for node, each in sorted(told.items()) if each.finding is gravest.finding]
        # All replicas hold the same offset, but each its own log: what only one of them finds is that one's damage.
        if len(finders) < len(nodes):
            explanation = f"{_nodes(finders)}: {explanation}"
    return GroupFinding(group, gravest.finding, explanation, stored)


def _state(told: InspectedGroup | None) -> str:
    """Everything that must be equal, in words; metadata and fingerprint by what tells them apart."""
    if told is None:
        return "nothing of this group"
    owner = f", owner {told.owner or 'none'} of epoch {told.owner_epoch}"
    stored = told.stored
    if stored is None:
        return "no offset" + owner
    last = stored.fingerprint
    mark = "" if last is None else f", after {last.term}:{last.crc32c:08x}"
    attached = f", metadata {stored.metadata.hex()}" if stored.metadata else ""
    when = f" set at {stored.wall_ms}"
    return f"offset {stored.offset} of version {stored.version} in term {stored.term}{when}{mark}{attached}{owner}"


def _most_common(states: Mapping[int, str]) -> int:
    """A node of the largest camp; of equal ones that of the lowest node."""
    values = list(states.values())
    return max(sorted(states), key=lambda node: (values.count(states[node]), -node))


def _camps(states: Mapping[int, str]) -> str:
    """``nodes 1, 2: offset 41 …; node 3: offset 40 …``: the largest camp first."""
    camps: dict[str, list[int]] = {}
    for node in sorted(states):
        camps.setdefault(states[node], []).append(node)
    ordered = sorted(camps.items(), key=lambda camp: (-len(camp[1]), camp[1]))
    return "; ".join(f"{_nodes(nodes)}: {state}" for state, nodes in ordered)


def _nodes(nodes: Sequence[int]) -> str:
    return f"node{'s' if len(nodes) > 1 else ''} {', '.join(map(str, nodes))}"
