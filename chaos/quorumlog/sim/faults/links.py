"""Links between nodes that are cut in every shape, slow, narrow or broken; clients that do not reach a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.sim.network import apart, bridge, chain, mute, one_way, ring
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from quorumlog.sim.faults import Fault, Undo
    from quorumlog.sim.nemesis import Nemesis


def _cut(nemesis: Nemesis, pairs: set[tuple[int, int]]) -> Undo:
    network = nemesis.cluster.network
    added = pairs - network.cut
    network.cut |= added
    before = network.counts["cut"]

    def mend() -> int:
        network.cut -= added
        return network.counts["cut"] - before

    return mend


def _others(nemesis: Nemesis, node: int) -> list[int]:
    return [other for other in nemesis.cluster.nodes if other != node]


def _shuffled(nemesis: Nemesis) -> tuple[int, ...]:
    nodes = list(nemesis.cluster.nodes)
    nemesis.random.shuffle(nodes)
    return tuple(nodes)


def isolate(nemesis: Nemesis) -> Undo | None:
    """One node is cut off from all others."""
    node = nemesis.any_node()
    return _cut(nemesis, apart([node], _others(nemesis, node)))


def isolate_leader(nemesis: Nemesis) -> Undo | None:
    """A leader is cut off from its followers; clients still reach it."""
    found = nemesis.a_leader()
    return None if found is None else _cut(nemesis, apart([found[1]], _others(nemesis, found[1])))


def halves(nemesis: Nemesis) -> Undo | None:
    """A majority and a minority."""
    nodes = _shuffled(nemesis)
    return _cut(nemesis, apart(nodes[: len(nodes) // 2], nodes[len(nodes) // 2 :]))


def a_bridge(nemesis: Nemesis) -> Undo | None:
    return _cut(nemesis, bridge(nemesis.any_node(), nemesis.cluster.nodes))


def a_chain(nemesis: Nemesis) -> Undo | None:
    return _cut(nemesis, chain(_shuffled(nemesis)))


def a_ring(nemesis: Nemesis) -> Undo | None:
    return _cut(nemesis, ring(_shuffled(nemesis)))


def deaf(nemesis: Nemesis) -> Undo | None:
    return _cut(nemesis, one_way(nemesis.any_node(), nemesis.cluster.nodes))


def a_mute(nemesis: Nemesis) -> Undo | None:
    return _cut(nemesis, mute(nemesis.any_node(), nemesis.cluster.nodes))


def one_link(nemesis: Nemesis) -> Undo | None:
    """Two nodes lose each other; everybody else hears both."""
    one, other = nemesis.random.sample(nemesis.cluster.nodes, 2)
    return _cut(nemesis, apart([one], [other]))


def flapping(nemesis: Nemesis) -> Undo | None:
    """A node's links go and come again, faster than anybody can settle."""
    node, random = nemesis.any_node(), nemesis.random
    pairs = apart([node], _others(nemesis, node))
    most_us = random.choice((20, 100, 500)) * MS
    lost = 0
    over = False
    mend: Undo | None = _cut(nemesis, pairs)

    def turn() -> None:
        nonlocal mend, lost
        if over:
            return
        if mend is None:
            mend = _cut(nemesis, pairs)
        else:
            lost += mend()
            mend = None
        nemesis.later(random.randrange(5 * MS, most_us), turn)

    def undo() -> int:
        nonlocal over, lost
        over = True
        if mend is not None:
            lost += mend()
        return lost

    nemesis.later(random.randrange(5 * MS, most_us), turn)
    return undo


def resets(nemesis: Nemesis) -> Undo | None:
    """Some connections break and are made again at once."""
    network = nemesis.cluster.network
    before = network.counts["resets"]
    for sender in nemesis.cluster.nodes:
        for to in nemesis.cluster.nodes:
            if sender != to and nemesis.random.random() < 0.5:
                network.reset(sender, to)
    return lambda: network.counts["resets"] - before


def slow_link(nemesis: Nemesis) -> Undo | None:
    """Whatever is sent to one node takes longer, in order."""
    network, node = nemesis.cluster.network, nemesis.any_node()
    lag_us = nemesis.random.randrange(10, 300) * MS
    pairs = [(other, node) for other in _others(nemesis, node) if (other, node) not in network.lag]
    before = network.counts["frames"]
    for pair in pairs:
        network.lag[pair] = lag_us

    def undo() -> int:
        for pair in pairs:
            network.lag.pop(pair, None)
        return network.counts["frames"] - before if pairs else 0

    return undo


def narrow_link(nemesis: Nemesis) -> Undo | None:
    """A node's links carry little: a few dozen KiB in a second.

    At its end the connections break: what waits on them was given its times when it set out, and would go on
    crawling for longer than anybody's patience.
    """
    network, node = nemesis.cluster.network, nemesis.any_node()
    width = nemesis.random.choice((10, 40, 200))
    pairs = sorted(pair for pair in apart([node], _others(nemesis, node)) if pair not in network.narrow)
    before = network.counts["narrowed"]
    for pair in pairs:
        network.narrow[pair] = width

    def undo() -> int:
        for pair in pairs:
            network.narrow.pop(pair, None)
            network.reset(*pair)
        return network.counts["narrowed"] - before

    return undo


def clients_cut_off(nemesis: Nemesis) -> Undo | None:
    """Clients do not reach one node; the nodes hear each other well."""
    node = nemesis.any_node()
    calls = nemesis.cluster.calls
    if node in calls.unreachable:
        return None
    calls.unreachable.add(node)
    before = calls.unreached

    def mend() -> int:
        calls.unreachable.discard(node)
        return calls.unreached - before

    return mend


FAULTS: dict[str, Fault] = {
    "isolate": isolate,
    "isolate leader": isolate_leader,
    "halves": halves,
    "bridge": a_bridge,
    "chain": a_chain,
    "ring": a_ring,
    "deaf": deaf,
    "mute": a_mute,
    "one link": one_link,
    "flapping": flapping,
    "resets": resets,
    "slow link": slow_link,
    "narrow link": narrow_link,
    "clients cut off": clients_cut_off,
}
