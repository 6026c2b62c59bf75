"""Which member of a consumer group is to own which partition: pure functions of what a coordinator has replicated.

*Range* and *round-robin* look at the members only, and are Kafka's (``RangeAssignor``, ``RoundRobinAssignor``).
*Sticky* starts from what is (KIP-54, KIP-848) and has two aims, in this order: loads as even as the subscriptions
allow (the sum of their squares is as small as it can be, which no exchange between two members can then improve),
and among all assignments that are as even, one that moves the fewest partitions. Both are met exactly, not nearly:

- Members who want the same topics: a quota each, the higher ones to those who have most.
- Members who want different ones: partitions travel from a heavy member to a light one over members in between
  (a path in the graph of Harvey, Ladner, Lovász, Tamir, "Semi-matchings for bipartite graphs and load balancing",
  2003), each time the way that moves fewest. Even-spread plus moves is an M-convex function of the loads (Murota,
  "Discrete convex analysis", 2003), so where no single exchange between two members helps, nothing does: greedy
  is exact. The tests hold it against every assignment there is, on small groups.

Partitions of one topic differ only in who has them: everything is computed in counts, which partition is said last.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.machine.coordinator_commands import GroupPartition, Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Partitions, each with the member that is to own it.
Targets = dict[GroupPartition, str]


class Subscriber(NamedTuple):
    """A member, and the topics it wants."""

    member: str
    topics: tuple[str, ...]


def assign(
    strategy: Strategy,
    members: Sequence[Subscriber],
    partitions: Mapping[str, int],
    current: Mapping[GroupPartition, str],
    held: Mapping[GroupPartition, str],
) -> Targets:
    """The new owner of every partition of every topic that a member wants; in the order of the partitions.

    The order of ``members`` decides between equals, and who comes first in range and round-robin. ``partitions``
    says how many each topic has. ``current`` is who has each partition now, as far as anybody does; ``held`` is
    what members are really reading: of two partitions that a member might give up, the one it does not hold yet
    goes.
    """
    if strategy is Strategy.RANGE:
        targets = _range(members, partitions)
    elif strategy is Strategy.ROUND_ROBIN:
        targets = _round_robin(members, partitions)
    else:
        targets = _sticky(members, partitions, current, held)
    return dict(sorted(targets.items()))


def _range(members: Sequence[Subscriber], partitions: Mapping[str, int]) -> Targets:
    targets: Targets = {}
    for topic, count in sorted(partitions.items()):
        subscribers = [member for member, topics in members if topic in topics]
        if subscribers:
            share, more = divmod(count, len(subscribers))
            number = 0
            for place, member in enumerate(subscribers):
                for _ in range(share + (place < more)):
                    targets[topic, number] = member
                    number += 1
    return targets


def _round_robin(members: Sequence[Subscriber], partitions: Mapping[str, int]) -> Targets:
    targets: Targets = {}
    turn = 0
    for topic, count in sorted(partitions.items()):
        if not any(topic in topics for _, topics in members):
            continue
        for number in range(count):
            while topic not in members[turn % len(members)].topics:
                turn += 1
            targets[topic, number] = members[turn % len(members)].member
            turn += 1
    return targets


# --- sticky ---------------------------------------------------------------------------------------------------


def _sticky(
    members: Sequence[Subscriber],
    partitions: Mapping[str, int],
    current: Mapping[GroupPartition, str],
    held: Mapping[GroupPartition, str],
) -> Targets:
    topics_of = {member: frozenset(topics) for member, topics in members}
    wanted = [topic for topic in sorted(partitions) if any(topic in topics for topics in topics_of.values())]
    kept: dict[str, list[GroupPartition]] = {member: [] for member in topics_of}
    free: list[GroupPartition] = []
    for topic in wanted:
        for number in range(partitions[topic]):
            owner = current.get((topic, number), "")
            if owner in topics_of and topic in topics_of[owner]:
                kept[owner].append((topic, number))
            else:
                free.append((topic, number))
    for member, mine in kept.items():
        reading = [partition for partition in mine if held.get(partition) == member]
        kept[member] = reading + [partition for partition in mine if held.get(partition) != member]
    if len(set(topics_of.values())) <= 1:
        return _by_quota(kept, free)
    return _Spread(members, kept, free).targets(kept, free)


def _by_quota(kept: dict[str, list[GroupPartition]], free: list[GroupPartition]) -> Targets:
    """Everybody may own everything."""
    if not kept:
        return {}
    total = sum(len(mine) for mine in kept.values()) + len(free)
    share, more = divmod(total, len(kept))
    richest = sorted(kept, key=lambda member: -len(kept[member]))[:more]
    quota = dict.fromkeys(kept, share) | dict.fromkeys(richest, share + 1)
    targets: Targets = {}
    pool = list(free)
    for member, mine in kept.items():
        targets.update(dict.fromkeys(mine[: quota[member]], member))
        pool += mine[quota[member] :]
    remaining = iter(sorted(pool))
    for member, mine in kept.items():
        for _ in range(quota[member] - len(mine)):
            targets[next(remaining)] = member
    return targets


class _Spread:
    """How many partitions of each topic each member is to own, while they are being evened out.

    Members and topics are numbers here. ``own[m][t]`` is what m had of t before, ``has[m][t]`` what it is to have;
    every one beyond ``own`` is a move. At all times ``has`` is one of those that move fewest *for their loads*: the
    start is (only what nobody owns has moved), and a shortest path keeps it so (successive shortest paths).
    """

    __slots__ = ("_has", "_loads", "_members", "_own", "_subscribers", "_topics", "_wanted")

    def __init__(
        self, members: Sequence[Subscriber], kept: dict[str, list[GroupPartition]], free: list[GroupPartition]
    ) -> None:
        self._members = [member for member, _ in members]
        self._topics = sorted({topic for _, topics in members for topic in topics})
        numbers = {topic: number for number, topic in enumerate(self._topics)}
        self._wanted = [sorted(numbers[topic] for topic in set(topics)) for _, topics in members]
        self._subscribers: list[list[int]] = [[] for _ in self._topics]
        for member, topics in enumerate(self._wanted):
            for topic in topics:
                self._subscribers[topic].append(member)
        self._own = [dict.fromkeys(topics, 0) for topics in self._wanted]
        for member, name in enumerate(self._members):
            for topic_name, _ in kept[name]:
                self._own[member][numbers[topic_name]] += 1
        self._has = [dict(own) for own in self._own]
        self._loads = [len(kept[name]) for name in self._members]
        for topic_name, _ in free:
            topic = numbers[topic_name]
            member = min(self._subscribers[topic], key=lambda one: self._loads[one])
            self._has[member][topic] += 1
            self._loads[member] += 1
        while self._exchange():
            pass

    def _exchange(self) -> bool:
        """Makes one exchange that evens the loads out, or leaves them as even and undoes a move; False if there is
        none."""
        loads = self._loads
        for load in sorted(set(loads), reverse=True):
            costs, came = self._reach([member for member in range(len(loads)) if loads[member] == load])
            lighter = [
                (loads[member], cost, member)
                for member, cost in costs.items()
                if loads[member] <= load - 2 or (loads[member] == load - 1 and cost < 0)
            ]
            if lighter:
                self._carry(min(lighter)[2], came)
                return True
        return False

    def _reach(self, sources: list[int]) -> tuple[dict[int, int], dict[int, tuple[int, int]]]:
        """For the members that can gain a partition when one of ``sources`` loses one: the fewest moves that takes
        (negative: moves undone), and the (member, topic) that the partition comes from.

        Bellman and Ford's, with a queue: costs are -1, 0 or 1, and no circle is negative, or ``has`` would not be
        one of those that move fewest.
        """
        costs = dict.fromkeys(sources, 0)
        cheapest: dict[int, int] = {}
        came: dict[int, tuple[int, int]] = {}
        queue, queued = deque(sources), set(sources)
        while queue:
            member = queue.popleft()
            queued.discard(member)
            own, has = self._own[member], self._has[member]
            for topic in self._wanted[member]:
                if not has[topic]:
                    continue
                # What it gives up was moved to it, and then is not; or was its own.
                given = costs[member] - (has[topic] > own[topic])
                if cheapest.get(topic, given + 1) <= given:
                    continue
                cheapest[topic] = given
                for taker in self._subscribers[topic]:
                    taken = given + (self._has[taker][topic] >= self._own[taker][topic])
                    if taken < costs.get(taker, taken + 1):
                        costs[taker] = taken
                        came[taker] = (member, topic)
                        if taker not in queued:
                            queue.append(taker)
                            queued.add(taker)
        return costs, came

    def _carry(self, target: int, came: dict[int, tuple[int, int]]) -> None:
        """Moves partitions along the path that ends at ``target``: as many as have the same cost, while that evens
        the loads out and carries neither end past the average (it would have to be carried back)."""
        path: list[tuple[int, int, int]] = []
        member = target
        while member in came:
            giver, topic = came[member]
            path.append((giver, topic, member))
            member = giver
        loads, mean = self._loads, sum(self._loads) // len(self._loads)
        count = max(1, min((loads[member] - loads[target]) // 2, loads[member] - mean, mean - loads[target]))
        for giver, topic, taker in path:
            surplus = self._has[giver][topic] - self._own[giver][topic]
            count = min(count, surplus if surplus > 0 else self._has[giver][topic])
            missing = self._own[taker][topic] - self._has[taker][topic]
            count = min(count, missing) if missing > 0 else count
        for giver, topic, taker in path:
            self._has[giver][topic] -= count
            self._has[taker][topic] += count
        loads[member] -= count
        loads[target] += count

    def targets(self, kept: dict[str, list[GroupPartition]], free: list[GroupPartition]) -> Targets:
        """Who is to own which: as many of its own as it is to have, and then of what others gave up."""
        targets: Targets = {}
        pool: dict[str, list[GroupPartition]] = {topic: [] for topic in self._topics}
        for partition in free:
            pool[partition[0]].append(partition)
        left = [{self._topics[topic]: count for topic, count in has.items()} for has in self._has]
        for member, name in enumerate(self._members):
            for partition in kept[name]:
                if left[member][partition[0]]:
                    left[member][partition[0]] -= 1
                    targets[partition] = name
                else:
                    pool[partition[0]].append(partition)
        for given_up in pool.values():
            given_up.sort(reverse=True)
        for member, name in enumerate(self._members):
            for topic, count in left[member].items():
                for _ in range(count):
                    targets[pool[topic].pop()] = name
        return targets
