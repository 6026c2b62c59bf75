"""Every shape of a broken network (CHAOS.md §3), on three and on five nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.chaos import targets
from quorumlog.chaos.faults import shapes
from quorumlog.chaos.faults.network import (
    Disconnect,
    Flapping,
    ResetStorm,
    cut,
    jitter,
    lossy,
    narrow,
    reject,
    slow,
)
from quorumlog.chaos.scenario import Load, Scenario, Strike, Suite

if TYPE_CHECKING:
    from quorumlog.chaos.faults import Fault
    from quorumlog.chaos.faults.shapes import Shape

_BOTH = frozenset({Suite.SMOKE, Suite.FULL})
_FULL = frozenset({Suite.FULL})
#: Long enough for a cut-off leader to be noticed, replaced and forgotten by its clients, and for a time of service.
_LASTS_S = 7.0
_UNSERVED_S = 5.0
#: Where the leader is not among those cut off, nobody has a reason to stand. But for other groups the same link is
#: one between a leader and a follower, and of those at rest (the controller's, four of coordinators) each may
#: change its leader once: who is woken by a vote request hears nothing of a leader that goes on resting. An
#: election every second is not allowed.
_CALM = 5

_SIZES = (3, 5)


def scenarios() -> list[Scenario]:
    return [
        *(one for nodes in _SIZES for one in _partitions(nodes)),
        *(one for nodes in _SIZES for one in _partial(nodes)),
        *(one for nodes in _SIZES for one in _bad_links(nodes)),
        *_of_offsets(),
    ]


def _named(name: str, nodes: int) -> str:
    return name if nodes == 3 else f"{name}-{nodes}"


def _scenario(
    name: str,
    summary: str,
    fault: Fault,
    nodes: int,
    *,
    smoke: bool = False,
    failover: bool = False,
    elections_max: int | None = None,
    unserved_max_s: float | None = _UNSERVED_S,
    load: Load | None = None,
) -> Scenario:
    return Scenario(
        _named(name, nodes),
        summary,
        (Strike(fault, 1.5, _LASTS_S),),
        # Where elections are counted, no topic may come into being meanwhile: each begins with one.
        load=load or Load("mixed" if elections_max is None else "log"),
        nodes=nodes,
        duration_s=_LASTS_S + 3.0,
        suites=_BOTH if smoke and nodes == 3 else _FULL,
        failover=failover,
        elections_max=elections_max,
        unserved_max_s=unserved_max_s,
    )


def _partitions(nodes: int) -> list[Scenario]:
    """Two sides that do not hear each other."""
    off = shapes.around
    return [
        _scenario("cut-one", "one node hears no other; the others serve", cut(off(targets.ONE)), nodes),
        _scenario(
            "cut-leader",
            "a leader is cut off from all others while its clients still reach it; it acknowledges nothing more",
            cut(off(targets.LEADER)),
            nodes,
            smoke=True,
            failover=True,
        ),
        _scenario(
            "reject-leader",
            "as cut-leader, but connections break at once",
            reject(off(targets.LEADER)),
            nodes,
            failover=True,
        ),
        _scenario(
            "cut-minority",
            "the smaller side with the leader is cut off; the larger side serves",
            cut(off(targets.MINORITY_WITH_LEADER)),
            nodes,
            failover=True,
        ),
        _scenario(
            "disconnect-leader",
            "the leader's plug is pulled",
            Disconnect(targets.LEADER),
            nodes,
            failover=True,
        ),
        _scenario(
            "cut-everywhere",
            "nobody hears anybody; nothing is served, nothing is made up",
            cut(shapes.EVERYWHERE),
            nodes,
            unserved_max_s=None,
        ),
    ]


def _partial(nodes: int) -> list[Scenario]:
    """Some hear each other and some do not: where most systems' elections never end."""
    return [
        _scenario(
            "cut-followers",
            "two followers lose each other, the leader hears both; no endless elections",
            cut(shapes.TWO_FOLLOWERS),
            nodes,
            smoke=True,
            elections_max=_CALM,
        ),
        _scenario(
            "cut-leader-and-follower",
            "a leader and one follower lose each other",
            cut(shapes.LEADER_AND_FOLLOWER),
            nodes,
        ),
        _scenario(
            "deaf-leader",
            "the leader can send and not receive; it is replaced",
            cut(shapes.into(targets.LEADER)),
            nodes,
            smoke=True,
            failover=True,
        ),
        _scenario(
            "mute-leader",
            "the leader can receive and not send; it is replaced",
            cut(shapes.out_of(targets.LEADER)),
            nodes,
            failover=True,
        ),
        _scenario(
            "deaf-follower", "one follower can send and not receive", cut(shapes.into(targets.FOLLOWER)), nodes
        ),
        _scenario(
            "mute-follower", "one follower can receive and not send", cut(shapes.out_of(targets.FOLLOWER)), nodes
        ),
        _scenario(
            "one-way-leader-to-follower",
            "one direction of one link swallows everything",
            cut(shapes.LEADER_TO_FOLLOWER),
            nodes,
        ),
        _scenario(
            "one-way-follower-to-leader",
            "the other direction of one link swallows everything",
            cut(shapes.FOLLOWER_TO_LEADER),
            nodes,
        ),
        _scenario("ring", "every node hears a majority, no two the same one", cut(shapes.RING), nodes, smoke=True),
        _scenario("bridge", "two sides that only one node can talk to", cut(shapes.BRIDGE), nodes),
        _scenario("chain", "every node hears its neighbours only", cut(shapes.CHAIN), nodes, unserved_max_s=None),
    ]


def _bad_links(nodes: int) -> list[Scenario]:
    """Links that are neither whole nor cut."""
    everywhere: Shape = shapes.EVERYWHERE
    leader = shapes.around(targets.LEADER)
    return [
        _scenario("flap-leader", "the leader's links come and go", Flapping(leader), nodes, smoke=True),
        _scenario("flap-one-link", "one link comes and goes", Flapping(shapes.ONE_LINK), nodes),
        _scenario("reset-storm", "connections break several times a second", ResetStorm(everywhere), nodes),
        _scenario("slow-links", "every message takes 60 ms", slow(everywhere), nodes, elections_max=_CALM),
        _scenario("jitter", "what one node says overtakes what another said before", jitter(everywhere), nodes),
        # What goes through it must fit: the large records of the mixed load alone are several times that.
        _scenario("narrow-leader", "64 kB/s in and out of the leader", narrow(leader), nodes, load=Load("log")),
        _scenario("lossy-links", "one piece in twenty waits for a retransmission", lossy(everywhere), nodes),
    ]


def _of_offsets() -> list[Scenario]:
    """The same blows while offsets are what is watched."""
    return [
        Scenario(
            "registers-cut-leader",
            "owners fight for offsets while leaders are cut off: no stale fetch, no zombie's commit",
            (Strike(cut(shapes.around(targets.LEADER)), 1.0, 4.0, every_s=6.0),),
            load=Load("registers", partitions=2, operations_per_s=400),
            duration_s=13.0,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
        Scenario(
            "groups-cut-coordinator",
            "the coordinator's leader is cut off while members come and go",
            (Strike(cut(shapes.around(targets.COORDINATOR)), 1.0, 4.0, every_s=6.0),),
            load=Load("groups"),
            duration_s=13.0,
            failover=True,
        ),
        Scenario(
            "groups-ring",
            "consumers rebalance while no two nodes hear the same majority",
            (Strike(cut(shapes.RING), 1.0, 8.0),),
            load=Load("groups"),
            nodes=5,
            duration_s=11.0,
        ),
    ]
