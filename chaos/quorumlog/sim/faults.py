"""The nemesis: draws one fault after another from those its seed allows, and undoes each when its time is over.

Each fault is a function that does something to the cluster and returns how to undo it, with a count of what it was
seen to do; both go into the history, so that a fault without an effect is noticed. Nothing here protects a
majority: the first phase may kill every node. It never destroys what was synced, so the last good copy of committed
data is always somewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.check import EventType
from quorumlog.sim.control import CONTROL_FAULTS
from quorumlog.sim.network import Weather, apart, bridge, mute, one_way, ring
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from quorumlog.sim.cluster import Cluster

    #: Undoes a fault; returns the size of the effect it was seen to have.
    Undo = Callable[[], int]
    #: A fault: does it, or returns None if there was nothing to do it to.
    Fault = Callable[["Nemesis"], Undo | None]

#: The history's process id of the nemesis.
NEMESIS = -1


class Nemesis:
    """See the module. ``counts`` says how often each kind of fault had an effect."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.random: Random = cluster.world.random("nemesis")
        self.counts: dict[str, int] = {}
        self.killed_leaders: list[tuple[int, int, int]] = []
        """(time in µs, group, node) of each leader that was killed."""
        self.stopping: dict[int, int] = {}
        """node -> the life of its process that is on its way out."""
        self.damaged: int | None = None
        """The one node whose replicas may have lost what they had synced."""
        self._stopped = False
        self._topics_made = 0
        options = cluster.options
        network = cluster.network
        self._weather = Weather(
            slow=options.slow_frames,
            bytes_per_ms=options.link_bytes_per_ms,
            loss=options.loss,
            duplicate=options.duplicate,
            reorder=options.reorder,
            reset=options.resets,
        )
        network.weather = self._weather
        cluster.calls.loss = options.lost_answers

    def begin(self) -> None:
        if self.cluster.options.faults:
            self._plan_next()

    def _plan_next(self) -> None:
        pause_ms = self.random.expovariate(1.0 / self.cluster.options.fault_every_ms)
        self.cluster.world.after(int(pause_ms * MS) + 1, self._strike)

    def _strike(self) -> None:
        if self._stopped:
            return
        self._plan_next()
        name = self.random.choice(self.cluster.options.faults)
        cluster = self.cluster
        cluster.world.trace.note(0, "fault", name)
        fault = FAULTS.get(name) or CONTROL_FAULTS[name]
        undo = fault(self)
        if undo is None:
            return
        invocation = cluster.recorder.invoke(cluster.shared.now_ns, NEMESIS, "fault", name)
        lasts_us = self.random.randrange(10, max(11, cluster.options.fault_lasts_ms)) * MS
        cluster.world.after(lasts_us, self._undo, name, undo, invocation)

    def _undo(self, name: str, undo: Undo, invocation: int) -> None:
        cluster = self.cluster
        effect = 0 if self._stopped else undo()
        if not self._stopped:
            cluster.world.trace.note(0, "fault ends", name, effect)
        if effect:
            self.counts[name] = self.counts.get(name, 0) + 1
        cluster.recorder.complete(cluster.shared.now_ns, invocation, EventType.OK, {"effect": effect})

    # --- the end of the first phase ---

    def heal(self, nodes: Iterable[int]) -> None:
        """From here on nothing new happens, and whatever was done to ``nodes`` and between them is undone for
        good."""
        self._stopped = True
        cluster = self.cluster
        healthy = frozenset(nodes)
        cluster.network.weather = Weather()
        cluster.network.lag.clear()
        cluster.network.cut = {pair for pair in cluster.network.cut if not healthy.issuperset(pair)}
        cluster.calls.unreachable -= healthy
        cluster.calls.loss = 0.0
        for node in sorted(healthy):
            host = cluster.hosts[node]
            host.pace.slow_us_max = 0
            host.fill_disk(None)
            if host.life and self.stopping.get(node) == host.life:
                cluster.kill(node)
            cluster.revive(node)

    def leave_broken(self, nodes: Iterable[int]) -> None:
        """The rest stays out of order for good: dead, hung, cut off, or able to speak and not to hear."""
        cluster = self.cluster
        broken = tuple(nodes)
        for node in broken:
            others = [other for other in cluster.nodes if other not in broken]
            fate = self.random.choice(("dead", "off", "hung", "cut", "deaf", "mute"))
            cluster.world.trace.note(0, "left broken", node, fate)
            if fate == "dead":
                cluster.kill(node)
            elif fate == "off":
                cluster.power_off(node)
            else:
                cluster.revive(node)
                if fate == "hung":
                    cluster.hosts[node].pause()
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

    def new_topic_name(self) -> str:
        self._topics_made += 1
        return f"extra-{self._topics_made}"


# --- processes and machines ---------------------------------------------------------------------------------------


def _kill(nemesis: Nemesis, node: int) -> Undo | None:
    cluster = nemesis.cluster
    if not cluster.hosts[node].life:
        return None
    led = [group for group, replica in cluster.hosts[node].replicas() if replica.raft.is_leader]
    nemesis.killed_leaders += [(cluster.world.now_us, group, node) for group in led]
    cluster.kill(node)
    return lambda: _revive(nemesis, node)


def _revive(nemesis: Nemesis, node: int) -> int:
    nemesis.cluster.revive(node)
    return 1


def kill(nemesis: Nemesis) -> Undo | None:
    """kill -9, and a restart later."""
    return _kill(nemesis, nemesis.any_node())


def kill_leader(nemesis: Nemesis) -> Undo | None:
    found = nemesis.a_leader()
    return None if found is None else _kill(nemesis, found[1])


def power_loss(nemesis: Nemesis) -> Undo | None:
    """One machine loses power and what it had not synced."""
    node = nemesis.any_node()
    if not nemesis.cluster.hosts[node].life:
        return None
    nemesis.cluster.power_off(node)
    return lambda: _revive(nemesis, node)


def power_loss_of_all(nemesis: Nemesis) -> Undo | None:
    """The whole room loses power in the same moment."""
    cluster = nemesis.cluster
    for node in cluster.nodes:
        cluster.power_off(node)
    return lambda: sum(_revive(nemesis, node) for node in cluster.nodes)


def stop(nemesis: Nemesis) -> Undo | None:
    """A graceful stop: the node hands its leadership over, then ends."""
    cluster = nemesis.cluster
    node = nemesis.any_node()
    host = cluster.hosts[node]
    if not host.life or host.paused:
        return None
    nemesis.stopping[node] = life = host.life
    host.request(lambda process: process.begin_shutdown())

    def end() -> None:
        if host.life == life:
            cluster.kill(node)

    cluster.world.after(200 * MS, end)
    return lambda: _revive(nemesis, node)


def _pause(nemesis: Nemesis, node: int) -> Undo | None:
    host = nemesis.cluster.hosts[node]
    if not host.life or host.paused:
        return None
    host.pause()

    def resume() -> int:
        waited = host.waiting
        host.resume()
        return waited

    return resume


def pause(nemesis: Nemesis) -> Undo | None:
    """SIGSTOP, and SIGCONT later."""
    return _pause(nemesis, nemesis.any_node())


def pause_leader(nemesis: Nemesis) -> Undo | None:
    found = nemesis.a_leader()
    return None if found is None else _pause(nemesis, found[1])


# --- the network --------------------------------------------------------------------------------------------------


def _cut(nemesis: Nemesis, pairs: set[tuple[int, int]]) -> Undo:
    network = nemesis.cluster.network
    added = pairs - network.cut
    network.cut |= added
    before = network.counts["cut"]

    def mend() -> int:
        network.cut -= added
        return network.counts["cut"] - before

    return mend


def isolate(nemesis: Nemesis) -> Undo | None:
    """One node is cut off from all others."""
    node = nemesis.any_node()
    return _cut(nemesis, apart([node], [other for other in nemesis.cluster.nodes if other != node]))


def isolate_leader(nemesis: Nemesis) -> Undo | None:
    """A leader is cut off from its followers; clients still reach it."""
    found = nemesis.a_leader()
    if found is None:
        return None
    return _cut(nemesis, apart([found[1]], [other for other in nemesis.cluster.nodes if other != found[1]]))


def halves(nemesis: Nemesis) -> Undo | None:
    """A majority and a minority."""
    nodes = list(nemesis.cluster.nodes)
    nemesis.random.shuffle(nodes)
    return _cut(nemesis, apart(nodes[: len(nodes) // 2], nodes[len(nodes) // 2 :]))


def a_bridge(nemesis: Nemesis) -> Undo | None:
    return _cut(nemesis, bridge(nemesis.any_node(), nemesis.cluster.nodes))


def a_ring(nemesis: Nemesis) -> Undo | None:
    nodes = list(nemesis.cluster.nodes)
    nemesis.random.shuffle(nodes)
    return _cut(nemesis, ring(tuple(nodes)))


def deaf(nemesis: Nemesis) -> Undo | None:
    return _cut(nemesis, one_way(nemesis.any_node(), nemesis.cluster.nodes))


def a_mute(nemesis: Nemesis) -> Undo | None:
    return _cut(nemesis, mute(nemesis.any_node(), nemesis.cluster.nodes))


def one_link(nemesis: Nemesis) -> Undo | None:
    """Two nodes lose each other; everybody else hears both."""
    one, other = nemesis.random.sample(nemesis.cluster.nodes, 2)
    return _cut(nemesis, apart([one], [other]))


def resets(nemesis: Nemesis) -> Undo | None:
    """Some connections break and are made again at once."""
    network = nemesis.cluster.network
    before = network.counts["resets"]
    for sender in nemesis.cluster.nodes:
        for to in nemesis.cluster.nodes:
            if sender != to and nemesis.random.random() < 0.5:
                network.reset(sender, to)
    return lambda: network.counts["resets"] - before


def clients_cut_off(nemesis: Nemesis) -> Undo | None:
    """Clients do not reach one node; the nodes hear each other well."""
    node = nemesis.any_node()
    calls = nemesis.cluster.calls
    if node in calls.unreachable:
        return None
    calls.unreachable.add(node)

    def mend() -> int:
        calls.unreachable.discard(node)
        return 1

    return mend


# --- disks, clocks, administration --------------------------------------------------------------------------------


def slow_disk(nemesis: Nemesis) -> Undo | None:
    """One disk takes up to a quarter of a second for what takes it a millisecond otherwise."""
    pace = nemesis.cluster.hosts[nemesis.any_node()].pace
    pace.slow_us_max = 250 * MS

    def mend() -> int:
        pace.slow_us_max = 0
        return 1

    return mend


def full_disk(nemesis: Nemesis) -> Undo | None:
    """One disk has hardly any space left."""
    host = nemesis.cluster.hosts[nemesis.any_node()]
    before = nemesis.cluster.taps.events.get("DiskFull", 0)
    host.fill_disk(nemesis.random.randrange(8 << 10))

    def mend() -> int:
        host.fill_disk(None)
        return nemesis.cluster.taps.events.get("DiskFull", 0) - before

    return mend


def failed_fsync(nemesis: Nemesis) -> Undo | None:
    """An fsync of one replica's log fails: what it was to make durable is gone, and the replica must never be
    trusted again. Only ever on one node of a run, so that the others hold every committed record."""
    cluster = nemesis.cluster
    if nemesis.damaged is None:
        nemesis.damaged = nemesis.any_node()
    host = cluster.hosts[nemesis.damaged]
    host.may_be_damaged = True
    groups = [group for group, _ in host.replicas()]
    if not groups:
        return None
    part = f"groups/{nemesis.random.choice(groups)}/"
    host.disk.fail_sync(part)
    before = cluster.taps.events.get("ReplicaDamaged", 0)

    def mend() -> int:
        host.disk.fail_sync(part, 0)
        return cluster.taps.events.get("ReplicaDamaged", 0) - before

    return mend


def transfer(nemesis: Nemesis) -> Undo | None:
    """Somebody asks for leadership to be handed to another node."""
    cluster = nemesis.cluster
    if not cluster.topics:
        return None
    topic, partition = nemesis.random.choice(cluster.partitions())
    leader = cluster.leader(partition.group_id)
    if leader is None:
        return None
    to = nemesis.random.choice(partition.replicas)
    answers: list[object] = []
    cluster.calls.call(
        cluster.shared.new_client(),
        leader,
        lambda node, done: node.transfer_leadership(topic, partition.partition, to, done),
        answers.append,
        1000,
    )
    return lambda: len(answers)


def new_topic(nemesis: Nemesis) -> Undo | None:
    """A topic is made while all this goes on."""
    cluster = nemesis.cluster
    name = nemesis.new_topic_name()
    made: list[str] = []
    cluster.create_topic(name, cluster.topic_config, lambda: made.append(name))
    return lambda: len(made)


def clock_jump(nemesis: Nemesis) -> Undo | None:
    """One node's wall clock jumps, by up to an hour either way."""
    clock = nemesis.cluster.hosts[nemesis.any_node()].clock
    clock.jump_ms += nemesis.random.randrange(-3_600_000, 3_600_000)
    return lambda: 1


FAULTS: dict[str, Fault] = {
    "kill": kill,
    "kill leader": kill_leader,
    "power loss": power_loss,
    "power loss of all": power_loss_of_all,
    "stop": stop,
    "pause": pause,
    "pause leader": pause_leader,
    "isolate": isolate,
    "isolate leader": isolate_leader,
    "halves": halves,
    "bridge": a_bridge,
    "ring": a_ring,
    "deaf": deaf,
    "mute": a_mute,
    "one link": one_link,
    "resets": resets,
    "slow disk": slow_disk,
    "full disk": full_disk,
    "failed fsync": failed_fsync,
    "transfer": transfer,
    "new topic": new_topic,
    "clients cut off": clients_cut_off,
    "clock jump": clock_jump,
}
