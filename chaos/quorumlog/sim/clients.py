"""What simulated clients have in common: values that no other record has, and the way to the leaders.

Routing is the real client's (``quorumlog.client.policy.routing``) over simulated connections; producers and readers
stand in ``producers`` and ``readers``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from quorumlog.client.errors import Reason as ClientReason
from quorumlog.client.errors import make_error
from quorumlog.client.policy.backoff import LOOKUP
from quorumlog.client.policy.routing import ClusterView, PartitionView, Router, TopicView
from quorumlog.replica import Metadata, Outcome
from quorumlog.sim.calls import Lost
from quorumlog.sim.schedule import Turns
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from quorumlog.check import Recorder
    from quorumlog.client.errors import QuorumlogError
    from quorumlog.replica import Failure
    from quorumlog.sim.calls import Calls
    from quorumlog.sim.schedule import Without
    from quorumlog.sim.world import World

#: Nodes asked for metadata at the same time, as the real client does.
_ASK_AT_ONCE = 2
#: How long a call other than an append may take.
CALL_TIMEOUT_MS = 1500


def address_of(node: int) -> str:
    return f"node-{node}"


def node_at(address: str) -> int:
    return int(address.removeprefix("node-"))


def client_error(result: Failure | Lost) -> QuorumlogError:
    """What the client library would make of it."""
    if isinstance(result, Lost):
        return make_error(ClientReason.UNREACHABLE, "the connection broke", not_done=not result.sent)
    return make_error(
        result.reason,
        result.message,
        not_done=result.outcome is Outcome.NOT_DONE,
        fields=result.fields,
        leader=address_of(result.leader_node) if result.leader_node else "",
        leader_node_id=result.leader_node,
        retry_after_ms=result.retry_after_ms,
    )


def partition_key(topic: str, partition: int) -> str:
    """How the history names a partition."""
    return f"{topic}/{partition}"


class Values:
    """The records' values: each has a number that no other has, and bytes that follow from it, so that a reader can
    tell a record that was changed or put together from others."""

    __slots__ = ("_filler", "_sizes", "made")

    def __init__(self, random: Random, size_max: int) -> None:
        self._filler = random.randbytes(size_max)
        self._sizes: dict[int, int] = {}
        self.made = 0

    def new(self, size: int) -> int:
        """The number of a new value of ``size`` bytes and a little."""
        self.made += 1
        self._sizes[self.made] = size
        return self.made

    def encode(self, number: int) -> bytes:
        return b"%d:" % number + self._filler[: self._sizes[number]]

    def decode(self, data: bytes | None) -> int | str:
        """The number; or, of bytes that are no value's, their text, which no sender has."""
        text = data or b""
        number = text[: max(text.find(b":"), 0)]
        if number.isdigit() and int(number) in self._sizes and self.encode(int(number)) == text:
            return int(number)
        return repr(text[:40])


class Shared:
    """What all clients of a world share. ``now_ms`` is their steady clock."""

    def __init__(
        self,
        world: World,
        calls: Calls,
        recorder: Recorder,
        values: Values,
        nodes: Sequence[int],
        without: Without,
    ) -> None:
        self.world = world
        self.calls = calls
        self.recorder = recorder
        self.values = values
        self.nodes = tuple(nodes)
        self.random = world.random("clients")
        self.turns: list[Turns] = []
        """Of every client that is not there to look after the run's end."""
        self._without = without
        self._clients = 0
        self._processes = 0
        self._tokens = 0

    def new_turns(self, what: str) -> Turns:
        """Those of one more client that may be left out: ``what`` it is, for people."""
        turns = Turns(self.world, len(self.turns), what, self._without)
        self.turns.append(turns)
        return turns

    def new_client(self) -> int:
        self._clients += 1
        return self._clients

    def new_process(self) -> int:
        """A process id for the history; one whose operation ended unknown is never used again."""
        self._processes += 1
        return self._processes

    def new_token(self) -> int:
        """What no other commit has."""
        self._tokens += 1
        return self._tokens

    @property
    def now_ms(self) -> float:
        return self.world.now_us / MS

    @property
    def now_ns(self) -> int:
        return self.world.now_us * 1000


class Locator:
    """One client's way to the leaders: asks one node after another until it knows what it needs."""

    def __init__(self, shared: Shared, client: int) -> None:
        self.random = shared.world.random(f"client {client}")
        """All of this client's chance."""
        self.router = Router([address_of(node) for node in shared.nodes])
        self._shared = shared
        self._client = client
        self._asking = False
        self._failures = 0
        self._wanted: dict[str, None] = {}
        self._on_news: list[Any] = []

    def watch(self, on_news: Any) -> None:
        """Has ``on_news()`` called whenever something was learned."""
        self._on_news.append(on_news)

    def look_up(self, topics: Sequence[str]) -> None:
        """Asks for these topics soon; does nothing that is under way already."""
        self._wanted.update(dict.fromkeys(topics))
        if not self._asking and self._wanted:
            self._asking = True
            delay_ms = LOOKUP.delay_ms(self._failures, self.random) if self._failures else 0.0
            self._failures += 1
            self._shared.world.after(int(delay_ms * MS), self._ask)

    def _ask(self) -> None:
        topics, self._wanted = list(self._wanted), {}
        addresses = self.router.whom_to_ask()[:_ASK_AT_ONCE]
        unanswered = len(addresses)
        over = False

        def answered(address: str, result: object) -> None:
            nonlocal unanswered, over
            unanswered -= 1
            if isinstance(result, Metadata):
                self.router.learn(self._view(result))
                self.router.node_up(address)
            elif isinstance(result, Lost):
                self.lost(address)
            known = [topic for topic in topics if self.router.topic(topic) is not None]
            if len(known) == len(topics):
                self._failures = min(self._failures, 3)
            # The first answer will do: the other may be a hung node's, which never comes.
            if not over and (isinstance(result, Metadata) or not unanswered):
                over = True
                self._asking = False
            for tell in self._on_news:
                tell()

        for address in addresses:
            self._shared.calls.call(
                self._client,
                node_at(address),
                lambda node, done: node.metadata(topics, done),
                partial(answered, address),
                CALL_TIMEOUT_MS,
            )

    def _view(self, metadata: Metadata) -> ClusterView:
        return ClusterView(
            {node: address_of(node) for node in self._shared.nodes},
            {
                topic.name: TopicView(
                    topic.topic_id,
                    topic.config.max_batch_bytes,
                    tuple(PartitionView(part.leader_node, part.leader_term) for part in topic.partitions),
                )
                for topic in metadata.topics
            },
            metadata.controller_node,
        )

    def answered(self) -> None:
        """Something came of what was looked up: the next trouble is a new one."""
        self._failures = 0

    def lost(self, address: str) -> None:
        """The connection to ``address`` broke: it is tried again until it stands."""
        if not self.router.is_down(address):
            self.router.node_down(address)
            self._shared.world.after(self.random.randrange(1 * MS, 20 * MS), self._reconnect, address)

    def _reconnect(self, address: str) -> None:
        if self._shared.calls.connects(node_at(address)):
            self.router.node_up(address)
            for tell in self._on_news:
                tell()
        else:
            self._shared.world.after(self.random.randrange(20 * MS, 60 * MS), self._reconnect, address)
