"""Where a request should go: what a client believes about nodes, leaders and topics, and how it changes its mind.

A router asks nobody. It is told what came back: metadata from any node (which may be old: of two answers the
higher term is the newer), hints from nodes that refused, connections that came up and went down. A leader that
is known but whose connection is down is no leader to send to, until the connection is back or a higher term
names another: that is what keeps the stale answers of nodes that have not noticed yet from sending a client back
to a dead leader.

Prior art: Kafka's Metadata and its leader epochs (KIP-320), without its five-minute cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class PartitionView(NamedTuple):
    """One partition as some node saw it. ``leader_node_id`` is 0 when the node knew none."""

    leader_node_id: int
    leader_term: int


class TopicView(NamedTuple):
    """One topic as some node saw it."""

    topic_id: int
    max_batch_bytes: int
    partitions: tuple[PartitionView, ...]


class ClusterView(NamedTuple):
    """One node's answer: addresses by node id, topics by name, the node that leads the controller (0: not
    known)."""

    nodes: Mapping[int, str]
    topics: Mapping[str, TopicView]
    controller_node_id: int


class Leader(NamedTuple):
    """Who leads, and in which term it was said to; a hint carries no term and counts as the term it replaces."""

    address: str
    term: int


class Router:
    """What one client believes about its cluster."""

    __slots__ = ("_controller", "_down", "_leaders", "_next", "_nodes", "_seeds", "_topics")

    def __init__(self, seeds: Sequence[str]) -> None:
        self._seeds = tuple(dict.fromkeys(seeds))
        self._nodes: dict[int, str] = {}
        self._topics: dict[str, TopicView] = {}
        self._leaders: dict[tuple[str, int], Leader] = {}
        self._down: set[str] = set()
        self._controller: str = ""
        self._next = 0

    def learn(self, view: ClusterView) -> None:
        """Take in one node's answer: newer leaders replace older ones, never the reverse."""
        if view.nodes:
            self._nodes = dict(view.nodes)
        for name, topic in view.topics.items():
            known = self._topics.get(name)
            if known is not None and known.topic_id > topic.topic_id:
                continue
            if known is not None and known.topic_id != topic.topic_id:
                # Deleted and made again: its groups are others, so their terms cannot be compared.
                self.forget_topic(name)
            self._topics[name] = topic
            for number, partition in enumerate(topic.partitions):
                self._learn_leader(name, number, partition)
        controller = self._nodes.get(view.controller_node_id, "")
        if controller:
            self._controller = controller

    def _learn_leader(self, topic: str, partition: int, view: PartitionView) -> None:
        address = self._nodes.get(view.leader_node_id)
        if address is None:
            return
        known = self._leaders.get((topic, partition))
        if known is None or view.leader_term >= known.term:
            self._leaders[topic, partition] = Leader(address, view.leader_term)

    def topic(self, name: str) -> TopicView | None:
        """What is known of a topic."""
        return self._topics.get(name)

    def any_topic(self) -> list[str]:
        """One topic that is known, or none."""
        return list(self._topics)[:1]

    def forget_topic(self, name: str) -> None:
        """A topic turned out not to exist (any more)."""
        topic = self._topics.pop(name, None)
        for number in range(len(topic.partitions) if topic else 0):
            self._leaders.pop((name, number), None)

    def leader(self, topic: str, partition: int) -> str | None:
        """Where to send what is for the partition; None when that has to be found out first."""
        known = self._leaders.get((topic, partition))
        if known is None or known.address in self._down:
            return None
        return known.address

    def leaders(self, topics: Iterable[str]) -> frozenset[str]:
        """The nodes believed to lead any partition of these topics."""
        names = frozenset(topics)
        return frozenset(leader.address for (topic, _), leader in self._leaders.items() if topic in names)

    def leader_term(self, topic: str, partition: int) -> int:
        """The term in which the leader believed in was named; 0 when there is none."""
        known = self._leaders.get((topic, partition))
        return known.term if known else 0

    def refused(self, topic: str, partition: int, by: str, hint: str) -> None:
        """The node ``by`` said it does not lead the partition, and that ``hint`` does ("" if it does not know).

        An answer of a node that is not believed to lead says nothing new: it may have been on its way for long.
        """
        known = self._leaders.get((topic, partition))
        if known is not None and known.address != by:
            return
        if hint and hint != by:
            self._leaders[topic, partition] = Leader(hint, known.term if known else 0)
        elif known is not None:
            del self._leaders[topic, partition]

    def controller(self) -> str | None:
        """Where to send what is for the controller; None when that has to be found out first."""
        if not self._controller or self._controller in self._down:
            return None
        return self._controller

    def controller_refused(self, by: str, hint: str) -> None:
        """The node ``by`` said that it does not lead the controller, and that ``hint`` does."""
        if self._controller in ("", by):
            self._controller = hint if hint != by else ""

    def node_up(self, address: str) -> None:
        """A connection to the node stands."""
        self._down.discard(address)

    def node_down(self, address: str) -> None:
        """The connection to the node broke, or could not be made."""
        self._down.add(address)

    def is_down(self, address: str) -> bool:
        """The last thing heard of the connection to this node is that there is none."""
        return address in self._down

    def address(self, node_id: int) -> str | None:
        """A node's address."""
        return self._nodes.get(node_id)

    def node_ids(self) -> Mapping[int, str]:
        """All nodes known, by id."""
        return self._nodes

    def addresses(self) -> tuple[str, ...]:
        """All nodes, those of the last metadata first (in order of their ids), then the addresses given at the
        start."""
        known = [self._nodes[node_id] for node_id in sorted(self._nodes)]
        return tuple(dict.fromkeys((*known, *self._seeds)))

    def whom_to_ask(self, avoid: Iterable[str] = ()) -> tuple[str, ...]:
        """All nodes in the order in which to ask them for metadata: those that are up before those that are down or
        to be avoided, and each time beginning with another, so that no single hung node can hold a client up."""
        addresses = self.addresses()
        self._next += 1
        start = self._next % len(addresses)
        turned = addresses[start:] + addresses[:start]
        last = self._down.union(avoid)
        return tuple(sorted(turned, key=last.__contains__))
