"""Which nodes hold a new partition, and which of them leads it by preference.

Two balances are kept at once over all topics: replicas per node (disk, followers' work) and preferred leaders per
node (clients' work). Kafka's ``StripedReplicaPlacer`` shifts a ring by a random start; here nothing may be random,
and the loads that are already there count, so each partition is placed greedily:

1. *Eligible* are the nodes that could be among the least loaded ``replication_factor``, ties included. Those
   strictly below the edge must be taken. That alone keeps replica counts within one of each other.
2. The eligible node that leads least becomes the leader.
3. What is still missing comes from the tie, those that lead *most* first. It looks wrong and is the point: a node
   that leads little must stay at the low replica count, or it will not be eligible when the next leader is
   chosen. Filling the tie by the fewest leaders lets the counts of leaders drift apart.
4. Between equals, the node that has least often followed this leader: when a node dies, the partitions it led
   should fall to many others, not to the same two. A wish only, below both balances: where the replication factor
   divides the number of nodes they leave little choice.

On empty nodes with one replication factor, both counts stay within one; with mixed factors, replicas within one
and leaders within two (``tests/machine/test_machine_placement.py``). After deletions the counts are what was left,
and each new partition mends them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class _Loads:
    """What each node carries, while a topic is being placed."""

    __slots__ = ("follows", "leaders", "nodes", "replicas")

    def __init__(self, nodes: Sequence[int], existing: Iterable[tuple[int, ...]]) -> None:
        self.nodes = nodes
        self.replicas = dict.fromkeys(nodes, 0)
        self.leaders = dict.fromkeys(nodes, 0)
        self.follows: dict[tuple[int, int], int] = {}
        for replicas in existing:
            self.add(replicas)

    def add(self, replicas: tuple[int, ...]) -> None:
        """Count a partition. Nodes that are no longer configured carry nothing that matters here."""
        leader = replicas[0]
        if leader in self.leaders:
            self.leaders[leader] += 1
        for node in replicas:
            if node in self.replicas:
                self.replicas[node] += 1
        for node in replicas[1:]:
            pair = (leader, node)
            self.follows[pair] = self.follows.get(pair, 0) + 1

    def next_replicas(self, replication_factor: int) -> tuple[int, ...]:
        """Where one more partition goes; leader first."""
        replicas, leaders, follows = self.replicas, self.leaders, self.follows
        edge = sorted(replicas.values())[replication_factor - 1]
        eligible = [node for node in self.nodes if replicas[node] <= edge]
        leader = min(eligible, key=lambda node: (leaders[node], replicas[node], node))
        others = [node for node in eligible if node != leader]
        others.sort(key=lambda node: (replicas[node] == edge, -leaders[node], follows.get((leader, node), 0), node))
        return (leader, *others[: replication_factor - 1])


def place(
    partitions: int, replication_factor: int, nodes: Sequence[int], existing: Iterable[tuple[int, ...]]
) -> tuple[tuple[int, ...], ...]:
    """The node ids of each new partition's replicas, preferred leader first.

    ``nodes`` are distinct, and at least ``replication_factor`` of them; ``existing`` are the replicas of every
    partition there is. The answer depends on the values only, not on the order of ``nodes`` or ``existing``.
    """
    loads = _Loads(sorted(nodes), existing)
    placed = []
    for _ in range(partitions):
        replicas = loads.next_replicas(replication_factor)
        loads.add(replicas)
        placed.append(replicas)
    return tuple(placed)
