"""Disks that lie, fill, fail, forget and rot (CHAOS.md §3): none may lose an acknowledged record or commit, none
may serve a corrupt one, and the damaged replica heals itself from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.chaos import targets
from quorumlog.chaos.faults.clock import clock_drift, clock_jump
from quorumlog.chaos.faults.disk import (
    LieAndLosePower,
    LosePower,
    WriteAstray,
    failing_read,
    failing_sync,
    failing_write,
    full_disk,
    slow_disk,
    stalled_disk,
)
from quorumlog.chaos.faults.files import Damage, Groups, How, Where
from quorumlog.chaos.faults.process import Pause
from quorumlog.chaos.faults.small_disk import FillDisk
from quorumlog.chaos.scenario import Load, Scenario, Strike, Suite
from quorumlog.chaos.targets import Role

if TYPE_CHECKING:
    from quorumlog.chaos.faults import Fault, Scene

_BOTH = frozenset({Suite.SMOKE, Suite.FULL})
_FULL = frozenset({Suite.FULL})
_UNSERVED_S = 5.0
#: Records large enough for segments of the least size to be sealed, checkpointed and dropped within seconds.
_CHURN = Load("mixed", operations_per_s=300, record_bytes=2000)


def scenarios() -> list[Scenario]:
    return [*_power(), *_errors(), *_damage(), *_clocks()]


def _scenario(
    name: str,
    summary: str,
    *faults: Fault,
    at_s: float = 1.5,
    lasts_s: float = 4.0,
    nodes: int = 3,
    smoke: bool = False,
    serves: bool = True,
    failover: bool = False,
    unserved_max_s: float | None = _UNSERVED_S,
    load: Load = _CHURN,
) -> Scenario:
    return Scenario(
        name,
        summary,
        tuple(Strike(fault, at_s, lasts_s) for fault in faults),
        load=load,
        nodes=nodes,
        duration_s=at_s + lasts_s + 3.0,
        suites=_BOTH if smoke else _FULL,
        serves=serves,
        failover=failover,
        unserved_max_s=unserved_max_s,
    )


def _power() -> list[Scenario]:
    return [
        _scenario(
            "power-loss",
            "a node loses its power, and with it whatever was not synced",
            LosePower(targets.ONE),
            lasts_s=1.0,
            smoke=True,
        ),
        _scenario(
            "power-loss-leader", "a leader loses its power", LosePower(targets.LEADER), lasts_s=1.0, failover=True
        ),
        _scenario(
            "power-loss-minority-5",
            "two of five nodes lose their power at once",
            LosePower(targets.MINORITY_WITH_LEADER),
            nodes=5,
            failover=True,
        ),
        _scenario(
            "power-loss-all",
            "the whole room goes dark; all that was acknowledged is there when the light is back",
            LosePower(targets.ALL),
            lasts_s=0.5,
            smoke=True,
            serves=False,
            unserved_max_s=None,
        ),
        Scenario(
            "power-loss-while-two-pause-5",
            "one of five nodes loses its power while two hang; then those that hung lose theirs while others hang",
            (
                Strike(Pause(_only(1, 2)), 1.5, 3.0),
                Strike(LosePower(_only(3)), 2.5, 1.0),
                Strike(Pause(_only(3, 4)), 7.0, 3.0),
                Strike(LosePower(_only(1, 2)), 8.0, 1.0),
            ),
            load=_CHURN,
            nodes=5,
            duration_s=13.0,
        ),
        _scenario(
            "lying-fsync",
            "one node's disk says yes to every fsync and does nothing; then its power goes",
            LieAndLosePower(targets.ONE),
        ),
        _scenario(
            "lying-fsync-minority-5",
            "the same on two nodes of five",
            LieAndLosePower(targets.MINORITY),
            nodes=5,
        ),
    ]


def _errors() -> list[Scenario]:
    return [
        _scenario(
            "eio-fsync",
            "an fsync fails once on a leader; it is not tried again, and the replica is replaced",
            failing_sync(targets.LEADER),
            smoke=True,
        ),
        _scenario("eio-fsync-minority-5", "the same on two of five", failing_sync(targets.MINORITY), nodes=5),
        _scenario("eio-write", "a write fails once on a leader", failing_write(targets.LEADER)),
        _scenario("eio-read", "a follower cannot read its disk", failing_read(targets.FOLLOWER)),
        _scenario(
            "full-disk", "a leader's disk is full, and has room again later", full_disk(targets.LEADER), smoke=True
        ),
        _scenario("full-disk-follower", "a follower's disk is full", full_disk(targets.FOLLOWER)),
        _scenario(
            "full-disk-all",
            "all disks are full: appends are refused as not done, reads go on, and all is well when there is room",
            full_disk(targets.ALL),
            unserved_max_s=None,
        ),
        _scenario(
            "really-full-disk",
            "a file system that is full to its last block",
            FillDisk(targets.LEADER),
        ),
        _scenario("slow-disk", "every fsync of a leader takes 200 ms longer", slow_disk(targets.LEADER)),
        _scenario(
            "stalled-disk",
            "a leader's disk hangs without an error; somebody else leads soon",
            stalled_disk(targets.LEADER),
            lasts_s=6.0,
            failover=True,
            smoke=True,
        ),
        _scenario("misdirected-write", "a write lands elsewhere", WriteAstray("misdirect", targets.ONE)),
        _scenario("dropped-write", "a write is acknowledged and lands nowhere", WriteAstray("stale", targets.ONE)),
    ]


def _damage() -> list[Scenario]:
    found = []
    for where, slug in (
        (Where.SEALED, "sealed"),
        (Where.TAIL, "tail"),
        (Where.CHECKPOINT, "checkpoint"),
        (Where.VOTE, "vote"),
    ):
        flip = How.FLIP
        found += [
            _damaged(f"flip-{slug}", where, flip, targets.ONE, smoke=where in (Where.SEALED, Where.VOTE)),
            _damaged(f"flip-{slug}-minority-5", where, flip, targets.MINORITY, nodes=5),
        ]
    found += [
        _damaged("truncate-sealed", Where.SEALED, How.TRUNCATE, targets.ONE),
        _damaged("truncate-tail", Where.TAIL, How.TRUNCATE, targets.ONE),
        _damaged("stale-block", Where.TAIL, How.STALE, targets.ONE),
        _damaged("misdirected-block", Where.SEALED, How.MISDIRECT, targets.ONE),
        _damaged("flip-vote-coordinator", Where.VOTE, How.FLIP, targets.ONE, groups=Groups.COORDINATORS),
        _damaged("flip-vote-controller", Where.VOTE, How.FLIP, targets.ONE, groups=Groups.CONTROLLER),
        _damaged("flip-identity", Where.IDENTITY, How.FLIP, targets.ONE),
    ]
    return found


def _damaged(
    name: str,
    where: Where,
    how: How,
    role: Role,
    nodes: int = 3,
    groups: Groups = Groups.PARTITIONS,
    *,
    smoke: bool = False,
) -> Scenario:
    return _scenario(
        name,
        f"{how} in the {where} of {role.name} of {nodes} nodes, found when it is back, and healed from the others",
        Damage(where, how, role, groups),
        at_s=5.0,
        lasts_s=0.5,
        nodes=nodes,
        smoke=smoke,
    )


def _clocks() -> list[Scenario]:
    load = Load("mixed")
    return [
        _scenario(
            "clock-forth", "a leader's clock jumps an hour forth", clock_jump(targets.LEADER, 1.0), load=load
        ),
        _scenario("clock-back", "a leader's clock jumps an hour back", clock_jump(targets.LEADER, -1.0), load=load),
        _scenario("clock-drift", "a node's clocks run 5 % fast", clock_drift(targets.ONE, 0.05), load=load),
    ]


def _only(*nodes: int) -> Role:
    """Those very nodes, as far as they live."""

    async def choose(scene: Scene) -> tuple[int, ...]:
        return tuple(node for node in nodes if node in targets.living(scene))

    return Role(" and ".join(map(str, nodes)), choose)
