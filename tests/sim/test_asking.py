"""Simulated clients' calls: whom they ask next after a silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.check import Recorder
from quorumlog.client.policy.routing import ClusterView, PartitionView, TopicView
from quorumlog.sim.asking import Asker
from quorumlog.sim.calls import Lost
from quorumlog.sim.clients import CALL_TIMEOUT_MS, Shared, Values
from quorumlog.sim.schedule import Without
from quorumlog.sim.world import MS, World

if TYPE_CHECKING:
    from collections.abc import Callable

NODES = (1, 2, 3)


class SilentNodes:
    """Connections to nodes that take every request and answer none; ``looked_up`` are the metadata requests."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.looked_up: list[int] = []

    def connects(self, node: int) -> bool:
        return True

    def call(self, client: int, node: int, request: Any, answer: Callable[[Any], None], timeout_ms: int) -> None:
        request(_Node(node, self.looked_up), answer)
        self._world.after(timeout_ms * MS, answer, Lost(True))


class _Node:
    def __init__(self, node: int, looked_up: list[int]) -> None:
        self._node = node
        self._looked_up = looked_up

    def metadata(self, topics: list[str], done: Callable[[Any], None]) -> None:
        self._looked_up.append(self._node)


def test_who_gives_up_on_a_silent_leader_asks_who_leads_before_the_next_question() -> None:
    """Found by the simulator, consumers' seed 3946: patience was as long as a call, so each question met the same
    node, which had been deposed and whose disk hung."""
    world = World(1)
    calls = SilentNodes(world)
    recorder, values = Recorder(), Values(world.random("values"), 10)
    asker = Asker(Shared(world, calls, recorder, values, NODES, Without()))  # type: ignore[arg-type]
    nodes = {node: f"node-{node}" for node in NODES}
    asker.locator.router.learn(ClusterView(nodes, {"t": TopicView(1, 1, (PartitionView(1, 1),))}, 0))
    ended: list[object] = []
    asker.ask("t", 0, lambda node, done: None, lambda *answer: ended.append(answer), patience_ms=CALL_TIMEOUT_MS)
    world.run_until(CALL_TIMEOUT_MS * MS + 1)
    assert ended == [(Lost(True), True, 0)]
    assert calls.looked_up
