"""What never comes back: a node or a link that is gone is no excuse for the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.chaos import targets
from quorumlog.chaos.faults import shapes
from quorumlog.chaos.faults.network import cut
from quorumlog.chaos.faults.process import Kill, Pause
from quorumlog.chaos.scenario import Scenario, Strike, Suite

if TYPE_CHECKING:
    from quorumlog.chaos.faults import Fault

_BOTH = frozenset({Suite.SMOKE, Suite.FULL})
_FULL = frozenset({Suite.FULL})


def scenarios() -> list[Scenario]:
    return [
        _gone("leader-gone", "a leader dies for good", Kill(targets.LEADER), failover=True, smoke=True),
        _gone("leader-gone-5", "a leader of five nodes dies for good", Kill(targets.LEADER), 5, failover=True),
        _gone("leader-hung", "a leader hangs for good", Pause(targets.LEADER), failover=True),
        _gone("node-cut-off", "a node is cut off for good", cut(shapes.around(targets.ONE))),
        _gone("link-gone", "one link is cut for good", cut(shapes.ONE_LINK), smoke=True),
        _gone("link-gone-5", "one link of five nodes is cut for good", cut(shapes.ONE_LINK), 5),
        _gone("leader-link-gone", "a leader loses one follower for good", cut(shapes.LEADER_AND_FOLLOWER)),
        _gone("followers-link-gone", "two followers lose each other for good", cut(shapes.TWO_FOLLOWERS)),
        _gone(
            "leader-deaf-for-good", "a leader never hears again", cut(shapes.into(targets.LEADER)), failover=True
        ),
    ]


def _gone(
    name: str, what: str, fault: Fault, nodes: int = 3, *, failover: bool = False, smoke: bool = False
) -> Scenario:
    return Scenario(
        name,
        f"{what}; the others serve all partitions and groups within the liveness bound",
        (Strike(fault, 1.5, 0.0, for_good=True),),
        nodes=nodes,
        duration_s=7.0,
        suites=_BOTH if smoke else _FULL,
        failover=failover,
    )
