"""The negative control: a world in which PySyncObj must be seen to lose what it acknowledged (CHAOS.md §5).

A suite that finds nothing may be blind. So the same clusters, clients and checkers run over the second engine, in
the weather that its losses need and nothing more: links keep their order and lose nothing while they live, no
disk fails, no machine but the leader's dies. What remains is a follower that lags, and a leader that crashes.

A crash here takes with it what had left the node and not yet arrived. That is what happens to the send buffer of a
machine that dies, and on Linux to that of a process that is killed while input waits for it.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from quorumlog.sim.options import Options, Workload, draw, draw_consumers
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from quorumlog.sim.faults import Fault, Undo
    from quorumlog.sim.nemesis import Nemesis

#: Seeds within which the loss must be found; a test holds it.
SEED_BUDGET = 60
#: The violation that must be among those found.
LOSS = "lost write"


def draw_control(seed: int) -> Options:
    """The options of ``seed``, for any engine: a steady load of more than the 64 KiB that PySyncObj sends at
    once."""
    random = Random(f"{seed}/control")
    return Options(
        seed,
        faults=("lagging follower", "leader crash", "leader crash"),
        fault_every_ms=300,
        fault_lasts_ms=1500,
        duration_ms=random.randrange(3000, 5000),
        producers=random.choice((2, 3)),
        send_every_ms=random.choice((10, 20)),
        burst=6,
        record_bytes=random.choice((6000, 12_000)),
        delivery_timeout_ms=8000,
        read_bytes=64 << 10,
        link_bytes_per_ms=random.choice((4000, 8000, 16_000)),
    )


def options_of(seed: int, engine: str, workload: Workload = Workload.LOG, *, control: bool) -> Options:
    """What ``seed`` is run with. Another engine than our own is always run in the control's worlds: in rougher
    ones it would break for reasons that nobody doubts."""
    if engine == "raft" and not control:
        return draw(seed, workload)
    options = replace(draw_control(seed), engine=engine, workload=workload)
    if workload is Workload.LOG:
        return options
    # The producers keep their load: without it nothing is lost.
    drawn = draw_consumers(Random(f"{seed}/consumers"), options)
    return replace(
        drawn,
        producers=options.producers,
        send_every_ms=options.send_every_ms,
        duration_ms=options.duration_ms,
    )


def variations(options: Options) -> list[Options]:
    """Smaller worlds than this one, the smallest change last: what is tried to shrink a world once its schedule is
    as short as can be. None of them draws another schedule."""
    smaller = []
    if options.duration_ms > 1000:
        smaller.append(replace(options, duration_ms=options.duration_ms // 2))
        smaller.append(replace(options, duration_ms=options.duration_ms * 3 // 4))
    if options.producers > 1:
        smaller.append(replace(options, producers=options.producers - 1))
    if options.topics > 1:
        smaller.append(replace(options, topics=options.topics - 1))
    if options.partitions > 1:
        smaller.append(replace(options, partitions=options.partitions - 1))
    if options.burst > 1:
        smaller.append(replace(options, burst=options.burst // 2))
    return smaller


def lagging_follower(nemesis: Nemesis) -> Undo | None:
    """Whatever is sent to one follower takes longer, in order."""
    cluster = nemesis.cluster
    led = nemesis.a_leader()
    if led is None:
        return None
    node = nemesis.random.choice([node for node in cluster.nodes if node != led[1]])
    lag_us = nemesis.random.randrange(100, 600) * MS
    pairs = [(other, node) for other in cluster.nodes if other != node]
    for pair in pairs:
        cluster.network.lag[pair] = lag_us
    cluster.world.trace.note(0, "lags", node, lag_us)

    def undo() -> int:
        for pair in pairs:
            cluster.network.lag.pop(pair, None)
        return 1

    return undo


def leader_crash(nemesis: Nemesis) -> Undo | None:
    """A leader is killed, and what it had sent and nobody had received yet is gone. One node is dead at a time."""
    cluster = nemesis.cluster
    led = nemesis.a_leader()
    if led is None or any(not host.life for host in cluster.hosts.values()):
        return None
    group, node = led
    nemesis.killed_leaders.append((cluster.world.now_us, group, node))
    lost = {(node, other) for other in cluster.nodes if other != node} - cluster.network.cut
    cluster.network.cut |= lost
    cluster.kill(node)
    cluster.world.trace.note(0, "crashes", node, "leader of", group)

    def undo() -> int:
        cluster.network.cut -= lost
        cluster.revive(node)
        return 1

    return undo


CONTROL_FAULTS: dict[str, Fault] = {"lagging follower": lagging_follower, "leader crash": leader_crash}
