"""One run of many operations: what happens once in a hundred thousand."""

from __future__ import annotations

from quorumlog.chaos import targets
from quorumlog.chaos.faults import shapes
from quorumlog.chaos.faults.network import cut
from quorumlog.chaos.faults.process import Kill, Pause
from quorumlog.chaos.scenario import Load, Scenario, Strike


def scenarios() -> list[Scenario]:
    return [
        Scenario(
            "volume",
            "more than 300,000 operations; a kill, a pause or a partition every ten seconds",
            (
                Strike(Kill(targets.LEADER), 5.0, 2.0, every_s=30.0),
                Strike(Pause(targets.LEADER), 15.0, 4.0, every_s=30.0),
                Strike(cut(shapes.around(targets.LEADER)), 25.0, 5.0, every_s=30.0),
            ),
            load=Load("log", partitions=6, producers=4, readers=2, operations_per_s=2_500),
            duration_s=240.0,
            failover=True,
        ),
    ]
