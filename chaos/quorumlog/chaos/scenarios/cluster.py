"""Harm done with the cluster's own tools, and clocks that are wrong."""

from __future__ import annotations

from quorumlog.chaos.faults.cluster import LeadershipStorm, TopicChurn
from quorumlog.chaos.scenario import Load, Scenario, Strike, Suite

_BOTH = frozenset({Suite.SMOKE, Suite.FULL})


def scenarios() -> list[Scenario]:
    return [
        Scenario(
            "leadership-storm",
            "leaders are handed about several times a second",
            (Strike(LeadershipStorm(), 1.0, 8.0),),
            duration_s=10.0,
            suites=_BOTH,
            failover=True,
        ),
        Scenario(
            "leadership-storm-groups",
            "coordinators are handed about while members come and go",
            (Strike(LeadershipStorm(), 1.0, 8.0),),
            load=Load("groups"),
            duration_s=10.0,
            failover=True,
        ),
        Scenario(
            "topic-churn",
            "topics are made and deleted several times a second beside the load",
            (Strike(TopicChurn(), 1.0, 8.0),),
            duration_s=10.0,
        ),
    ]
