"""Processes that die, leave, hang, and come back."""

from __future__ import annotations

from quorumlog.chaos import targets
from quorumlog.chaos.faults.process import Kill, Pause, RollingRestart, Stop
from quorumlog.chaos.scenario import Load, Scenario, Strike, Suite

_BOTH = frozenset({Suite.SMOKE, Suite.FULL})
#: Beyond the longest election timeout (1.6 s) and a member's default session.
_LONG_PAUSE_S = 6.0
_SHORT_PAUSE_S = 0.4
#: A majority that lost its leader has another one within an election timeout or two, and clients find it.
_UNSERVED_S = 5.0


def scenarios() -> list[Scenario]:
    return [*_kills(), *_stops(), *_pauses()]


def _kills() -> list[Scenario]:
    return [
        Scenario(
            "kill-leader",
            "a leader is killed every few seconds; nothing acknowledged is lost, and another serves",
            (Strike(Kill(targets.LEADER), 1.0, 1.0, every_s=3.0),),
            duration_s=10.0,
            suites=_BOTH,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
        Scenario(
            "kill-leader-5",
            "as kill-leader, of five nodes",
            (Strike(Kill(targets.LEADER), 1.0, 1.0, every_s=3.0),),
            nodes=5,
            duration_s=10.0,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
        Scenario(
            "kill-coordinator",
            "the leader of a group's coordinator is killed; no member loses its partitions for that",
            (Strike(Kill(targets.COORDINATOR), 1.0, 1.0, every_s=3.0),),
            load=Load("groups"),
            duration_s=10.0,
            suites=_BOTH,
            failover=True,
        ),
        Scenario(
            "kill-controller",
            "the controller's leader is killed while topics come and go",
            (Strike(Kill(targets.CONTROLLER), 1.0, 1.0, every_s=3.0),),
            duration_s=10.0,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
        Scenario(
            "kill-owners-leader",
            "a leader is killed while owners fight for offsets; no commit is lost, forked or taken back",
            (Strike(Kill(targets.LEADER), 1.0, 0.5, every_s=2.5),),
            load=Load("registers", partitions=2, operations_per_s=400),
            duration_s=10.0,
            suites=_BOTH,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
        Scenario(
            "kill-minority-5",
            "two of five nodes are killed at once, the leader among them; the others serve all the time",
            (Strike(Kill(targets.MINORITY_WITH_LEADER), 1.0, 2.5, every_s=5.0),),
            nodes=5,
            duration_s=11.0,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
        Scenario(
            "kill-majority",
            "a majority is killed; nothing is served, nothing is lost",
            (Strike(Kill(targets.MAJORITY), 1.5, 2.0, every_s=5.0),),
            serves=False,
            duration_s=10.0,
        ),
        Scenario(
            "kill-all",
            "all nodes are killed at once; what was acknowledged is there when they are back",
            (Strike(Kill(targets.ALL), 2.0, 0.5, every_s=6.0),),
            serves=False,
            duration_s=14.0,
            suites=_BOTH,
            failover=True,
        ),
        Scenario(
            "rolling-kill",
            "each node is killed in turn, the next when the one before serves again",
            (Strike(RollingRestart(graceful=False), 1.0, 0.0, every_s=8.0),),
            duration_s=14.0,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
    ]


def _stops() -> list[Scenario]:
    return [
        Scenario(
            "stop-leader",
            "a leader is told to go; it hands over first",
            (Strike(Stop(targets.LEADER), 1.0, 1.0, every_s=4.0),),
            duration_s=10.0,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
        Scenario(
            "rolling-restart",
            "an upgrade as an operator does it: nobody waits for longer than a hand-over",
            (Strike(RollingRestart(graceful=True), 1.0, 0.0),),
            duration_s=12.0,
            suites=_BOTH,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
        Scenario(
            "rolling-restart-5",
            "as rolling-restart, of five nodes",
            (Strike(RollingRestart(graceful=True), 1.0, 0.0),),
            nodes=5,
            duration_s=16.0,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
    ]


def _pauses() -> list[Scenario]:
    return [
        Scenario(
            "pause-leader-briefly",
            "a leader stops for less than an election timeout; it may go on leading, and never answers from before",
            (Strike(Pause(targets.LEADER), 1.0, _SHORT_PAUSE_S, every_s=1.5),),
            duration_s=10.0,
            unserved_max_s=_UNSERVED_S,
        ),
        Scenario(
            "pause-leader",
            "a leader hangs, is replaced, and wakes believing that it leads; it serves nothing stale",
            (Strike(Pause(targets.LEADER), 1.0, _LONG_PAUSE_S),),
            duration_s=9.0,
            suites=_BOTH,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
        Scenario(
            "pause-coordinator",
            "a group's coordinator hangs for longer than a member's session",
            (Strike(Pause(targets.COORDINATOR), 1.0, _LONG_PAUSE_S),),
            load=Load("groups"),
            duration_s=10.0,
            failover=True,
        ),
        Scenario(
            "pause-minority-5",
            "two of five nodes hang, the leader among them",
            (Strike(Pause(targets.MINORITY_WITH_LEADER), 1.0, _LONG_PAUSE_S),),
            nodes=5,
            duration_s=10.0,
            failover=True,
            unserved_max_s=_UNSERVED_S,
        ),
        Scenario(
            "pause-all",
            "everything stops for a while, as in a snapshot of the whole machine",
            (Strike(Pause(targets.ALL), 1.0, 3.0, every_s=6.0),),
            serves=False,
            duration_s=12.0,
        ),
    ]
