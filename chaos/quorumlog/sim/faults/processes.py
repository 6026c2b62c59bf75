"""Processes that are killed, stopped, paused and started again; machines that lose power."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from quorumlog.sim.faults import Fault, Undo
    from quorumlog.sim.nemesis import Nemesis

#: What a graceful stop is given before it is forced.
_STOP_US = 200 * MS


def kill_node(nemesis: Nemesis, node: int) -> Undo | None:
    cluster = nemesis.cluster
    if not cluster.hosts[node].life:
        return None
    led = [group for group, replica in cluster.hosts[node].replicas() if replica.raft.is_leader]
    nemesis.killed_leaders += [(cluster.world.now_us, group, node) for group in led]
    cluster.kill(node)
    return lambda: revive(nemesis, node)


def revive(nemesis: Nemesis, node: int) -> int:
    nemesis.cluster.revive(node)
    return 1


def kill(nemesis: Nemesis) -> Undo | None:
    """kill -9, and a restart later."""
    return kill_node(nemesis, nemesis.any_node())


def kill_leader(nemesis: Nemesis) -> Undo | None:
    found = nemesis.a_leader()
    return None if found is None else kill_node(nemesis, found[1])


def power_loss(nemesis: Nemesis) -> Undo | None:
    """One machine loses power and what it had not synced."""
    node = nemesis.any_node()
    if not nemesis.cluster.hosts[node].life:
        return None
    nemesis.cluster.power_off(node)
    return lambda: revive(nemesis, node)


def power_loss_of_all(nemesis: Nemesis) -> Undo | None:
    """The whole room loses power in the same moment."""
    cluster = nemesis.cluster
    for node in cluster.nodes:
        cluster.power_off(node)
    return lambda: sum(revive(nemesis, node) for node in cluster.nodes)


def _begin_stop(nemesis: Nemesis, node: int) -> bool:
    """Tells the process to hand its leadership over and to end; False if it cannot be told."""
    cluster = nemesis.cluster
    host = cluster.hosts[node]
    if not host.life or host.paused:
        return False
    nemesis.stopping[node] = life = host.life
    host.request(lambda process: process.begin_shutdown())

    def end() -> None:
        if host.life == life:
            cluster.kill(node)

    cluster.world.after(_STOP_US, end)
    return True


def stop(nemesis: Nemesis) -> Undo | None:
    """A graceful stop: the node hands its leadership over, then ends."""
    node = nemesis.any_node()
    return (lambda: revive(nemesis, node)) if _begin_stop(nemesis, node) else None


def rolling_restart(nemesis: Nemesis) -> Undo | None:
    """One node after the other is stopped in order and started again, as for an upgrade."""
    cluster = nemesis.cluster
    order = list(cluster.nodes)
    nemesis.random.shuffle(order)
    down_us = nemesis.random.randrange(20, 300) * MS
    restarted = 0
    over = False

    def take(place: int) -> None:
        if place < len(order) and not over:
            _begin_stop(nemesis, order[place])
            nemesis.later(_STOP_US + down_us, lambda: bring_back(place))

    def bring_back(place: int) -> None:
        nonlocal restarted
        if not over:
            restarted += revive(nemesis, order[place])
            nemesis.later(down_us, lambda: take(place + 1))

    def undo() -> int:
        nonlocal over
        over = True
        for node in order:
            cluster.revive(node)
        return restarted

    take(0)
    return undo


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
    """Long enough for another to be elected, or not."""
    found = nemesis.a_leader()
    return None if found is None else _pause(nemesis, found[1])


def clock_jump(nemesis: Nemesis) -> Undo | None:
    """One node's wall clock jumps, by up to an hour either way."""
    clock = nemesis.cluster.hosts[nemesis.any_node()].clock
    clock.jump_ms += nemesis.random.randrange(-3_600_000, 3_600_000)
    return lambda: 1


def clock_drift(nemesis: Nemesis) -> Undo | None:
    """One node's clock, the steady one too, runs at another pace for a while: up to a fifth fast or slow."""
    host = nemesis.cluster.hosts[nemesis.any_node()]
    before = host.clock.drift
    began_us, began_ms = nemesis.cluster.world.now_us, host.clock.now_ms()
    host.clock.set_drift(before * nemesis.random.uniform(0.8, 1.2))

    def undo() -> int:
        passed_ms = (nemesis.cluster.world.now_us - began_us) * before / MS
        apart_ms = abs(host.clock.now_ms() - began_ms - passed_ms)
        host.clock.set_drift(before)
        return int(apart_ms)

    return undo


FAULTS: dict[str, Fault] = {
    "kill": kill,
    "kill leader": kill_leader,
    "power loss": power_loss,
    "power loss of all": power_loss_of_all,
    "stop": stop,
    "rolling restart": rolling_restart,
    "pause": pause,
    "pause leader": pause_leader,
    "long pause": pause_leader,
    "clock jump": clock_jump,
    "clock drift": clock_drift,
}
