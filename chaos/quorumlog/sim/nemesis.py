"""The nemesis: carries out the strikes of a schedule, and undoes each when its time is over.

Each fault is a function that does something to the cluster and returns how to undo it, with a count of what it was
seen to do; both go into the history, so that a fault without an effect is noticed. Nothing here protects a
majority from being stopped: the first phase may kill every node. What it protects is the last good copy of
committed data (``quorumlog.sim.atlas``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.check import EventType
from quorumlog.sim.control import CONTROL_FAULTS
from quorumlog.sim.faults import FAULTS, LONGER
from quorumlog.sim.network import Weather, apart
from quorumlog.sim.schedule import strikes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from quorumlog.sim.cluster import Cluster
    from quorumlog.sim.faults import Undo
    from quorumlog.sim.schedule import Strike

#: The history's process id of the nemesis.
NEMESIS = -1


class Nemesis:
    """See the module. Of each kind of fault: ``struck`` says how often it was done, ``counts`` how often it had an
    effect, ``effects`` how large they were together."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.random: Random = cluster.world.random("nemesis at large")
        """While a fault is done: the strike's own stream."""
        self.struck: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.effects: dict[str, int] = {}
        self.killed_leaders: list[tuple[int, int, int]] = []
        """(time in µs, group, node) of each leader that was killed."""
        self.stopping: dict[int, int] = {}
        """node -> the life of its process that is on its way out."""
        self.extra_topics: list[str] = []
        """Topics that a fault has made, and another may remove."""
        self.over = False
        """Nothing new happens; what a fault had still planned is off."""
        self._topics_made = 0
        self._open: dict[int, tuple[str, Undo, int]] = {}
        options = cluster.options
        network = cluster.network
        network.weather = Weather(
            slow=options.slow_frames,
            bytes_per_ms=options.link_bytes_per_ms,
            loss=options.loss,
            duplicate=options.duplicate,
            reorder=options.reorder,
            reset=options.resets,
        )
        network.fair_slices = options.without.slices
        cluster.calls.loss = options.lost_answers

    def begin(self) -> None:
        """The first phase begins: the schedule runs from here on."""
        world, options = self.cluster.world, self.cluster.options
        for strike in strikes(world, options):
            if strike.number not in options.without.strikes:
                world.after(strike.at_us, self._strike, strike)

    def _strike(self, strike: Strike) -> None:
        if self.over:
            return
        cluster, name = self.cluster, strike.fault
        world = cluster.world
        world.trace.note(0, "fault", name, strike.number)
        self.random = world.random(f"strike {strike.number}")
        undo = (FAULTS.get(name) or CONTROL_FAULTS[name])(self)
        if undo is None:
            return
        self.struck[name] = self.struck.get(name, 0) + 1
        invocation = cluster.recorder.invoke(cluster.shared.now_ns, NEMESIS, "fault", name)
        self._open[strike.number] = (name, undo, invocation)
        world.after(strike.lasts_us * LONGER.get(name, 1), self._undo, strike.number)

    def _undo(self, number: int) -> None:
        found = self._open.pop(number, None)
        if found is None:
            return
        name, undo, invocation = found
        cluster = self.cluster
        effect = undo()
        cluster.world.trace.note(0, "fault ends", name, number, effect)
        if effect:
            self.counts[name] = self.counts.get(name, 0) + 1
            self.effects[name] = self.effects.get(name, 0) + effect
        cluster.recorder.complete(cluster.shared.now_ns, invocation, EventType.OK, {"effect": effect})

    def later(self, delay_us: int, action: Callable[[], None]) -> None:
        """What a fault does after it began; nothing once everything is to be healed."""

        def act() -> None:
            if not self.over:
                action()

        self.cluster.world.after(delay_us, act)

    # --- the end of the first phase ---

    def end(self) -> None:
        """From here on nothing new happens, and what was done is undone."""
        self.over = True
        for number in list(self._open):
            self._undo(number)

    def heal(self, nodes: Iterable[int]) -> None:
        """Whatever was done to ``nodes`` and between them is undone for good."""
        self.end()
        cluster = self.cluster
        healthy = frozenset(nodes)
        cluster.network.weather = Weather()
        cluster.network.cut = {pair for pair in cluster.network.cut if not healthy.issuperset(pair)}
        cluster.calls.loss = 0.0
        for node in sorted(healthy):
            host = cluster.hosts[node]
            host.unstall_disk()
            if host.life and self.stopping.get(node) == host.life:
                cluster.kill(node)
            cluster.revive(node)

    def leave_broken(self, nodes: Iterable[int]) -> None:
        """These stay out of order for good: dead, hung, cut off, or able to speak and not to hear."""
        self.end()
        cluster = self.cluster
        broken = tuple(nodes)
        random = cluster.world.random("left broken")
        for node in broken:
            others = [other for other in cluster.nodes if other not in broken]
            fate = random.choice(("dead", "off", "hung", "cut", "deaf", "mute", "stalled"))
            cluster.world.trace.note(0, "left broken", node, fate)
            if fate == "dead":
                cluster.kill(node)
            elif fate == "off":
                cluster.power_off(node)
            else:
                cluster.revive(node)
                if fate == "hung":
                    cluster.hosts[node].pause()
                elif fate == "stalled":
                    cluster.hosts[node].stall_disk()
                elif fate == "cut":
                    cluster.network.cut |= apart([node], others)
                elif fate == "deaf":
                    cluster.network.cut |= {(other, node) for other in others}
                else:
                    cluster.network.cut |= {(node, other) for other in others}

    # --- choosing victims ---

    def any_node(self) -> int:
        return self.random.choice(self.cluster.nodes)

    def a_leader(self) -> tuple[int, int] | None:
        """(group, node) of a group that has a leader."""
        led = [
            (group, leader) for group in self.cluster.groups() if (leader := self.cluster.leader(group)) is not None
        ]
        return self.random.choice(led) if led else None

    def a_fragile_replica(self) -> tuple[int, int] | None:
        """(node, group) of a replica whose disk may be harmed."""
        cluster = self.cluster
        found = [
            (node, group)
            for group, voters in cluster.groups().items()
            for node in cluster.atlas.fragile(group, voters)
        ]
        return self.random.choice(found) if found else None

    def new_topic_name(self) -> str:
        self._topics_made += 1
        return f"extra-{self._topics_made}"
