"""Several faults at once: where one is being mended when the next one comes."""

from __future__ import annotations

from quorumlog.chaos import targets
from quorumlog.chaos.faults import shapes
from quorumlog.chaos.faults.cluster import LeadershipStorm
from quorumlog.chaos.faults.disk import LosePower
from quorumlog.chaos.faults.network import OnLinks, ResetStorm, cut, narrow, slow
from quorumlog.chaos.faults.process import Kill, Pause, RollingRestart
from quorumlog.chaos.scenario import Load, Scenario, Strike, Suite

_BOTH = frozenset({Suite.SMOKE, Suite.FULL})


def scenarios() -> list[Scenario]:
    return [
        Scenario(
            "kill-amid-cut",
            "a leader is killed while another node is cut off",
            (
                Strike(cut(shapes.around(targets.ONE)), 1.0, 3.0, every_s=6.0),
                Strike(Kill(targets.LEADER), 2.0, 1.0, every_s=6.0),
            ),
            duration_s=13.0,
            suites=_BOTH,
            failover=True,
        ),
        Scenario(
            "pause-amid-kill",
            "the new leader hangs just when the old one comes back",
            (
                Strike(Kill(targets.LEADER), 1.0, 1.5, every_s=6.0),
                Strike(Pause(targets.LEADER), 2.2, 2.5, every_s=6.0),
            ),
            duration_s=13.0,
            failover=True,
        ),
        Scenario(
            "rolling-restart-on-slow-links",
            "an upgrade over links of 60 ms, with connections that break",
            (
                Strike(slow(shapes.EVERYWHERE), 0.5, 12.0),
                Strike(ResetStorm(shapes.ONE_LINK), 1.0, 10.0),
                Strike(RollingRestart(graceful=True), 1.5, 0.0),
            ),
            duration_s=15.0,
            failover=True,
        ),
        Scenario(
            "coordinator-and-leader",
            "a group's coordinator and a leader are killed in turn while consumers come and go",
            (
                Strike(Kill(targets.COORDINATOR), 1.0, 0.5, every_s=4.0),
                Strike(Kill(targets.LEADER), 3.0, 0.5, every_s=4.0),
            ),
            load=Load("groups", members=4),
            duration_s=13.0,
            failover=True,
        ),
        Scenario(
            "storm-amid-bridge",
            "leaders are handed about while two sides hear each other through one node only",
            (
                Strike(cut(shapes.BRIDGE), 1.0, 4.0, every_s=6.0),
                Strike(LeadershipStorm(), 0.5, 11.0),
            ),
            nodes=5,
            duration_s=13.0,
            failover=True,
        ),
        _killed_beside(
            "kill-leader-one-lags",
            "leaders are killed while one follower is far behind and all that is said takes its time",
            narrow(shapes.LEADER_TO_FOLLOWER),
            _BOTH,
        ),
        _killed_beside(
            "kill-leader-one-deaf",
            "leaders are killed while one follower hears nothing of them and all else takes its time",
            cut(shapes.LEADER_TO_FOLLOWER),
            frozenset({Suite.FULL}),
        ),
        _half_an_hour(),
    ]


def _killed_beside(name: str, summary: str, harm: OnLinks, suites: frozenset[Suite]) -> Scenario:
    """What loses acknowledged records wherever a message that comes late, or twice, can undo what came after it:
    much is under way at any time."""
    return Scenario(
        name,
        summary,
        (
            Strike(slow(shapes.EVERYWHERE), 0.3, 14.0),
            Strike(harm, 0.5, 2.0, every_s=3.0),
            Strike(Kill(targets.LEADER), 2.0, 0.5, every_s=3.0),
        ),
        load=Load("log", partitions=2, producers=4, operations_per_s=200, record_bytes=20_000),
        duration_s=15.0,
        suites=suites,
        failover=True,
    )


def _half_an_hour() -> Scenario:
    """What no short run shows: the same nodes through a hundred faults, in every order that their periods bring."""
    return Scenario(
        "half-an-hour",
        "power losses, pauses, partitions and kills of leaders for thirty minutes, groups at work throughout",
        (
            Strike(Kill(targets.LEADER), 10.0, 2.0, every_s=61.0),
            Strike(LosePower(targets.ONE), 25.0, 2.0, every_s=73.0),
            Strike(Pause(targets.LEADER), 40.0, 5.0, every_s=83.0),
            Strike(cut(shapes.around(targets.LEADER)), 50.0, 6.0, every_s=97.0),
            Strike(cut(shapes.RING), 70.0, 8.0, every_s=127.0),
            Strike(Kill(targets.COORDINATOR), 90.0, 1.0, every_s=139.0),
            Strike(LosePower(targets.ALL), 300.0, 1.0, every_s=600.0),
        ),
        load=Load("mixed", operations_per_s=300),
        duration_s=1800.0,
        suites=frozenset({Suite.LONG}),
        failover=True,
    )
