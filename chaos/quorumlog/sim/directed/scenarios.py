"""The directed scenarios, each a few lines of a play over ``Stage``, and the catalogue of them.

They are grouped by what they are about: ``elections`` (votes, commits, members), ``disks``, ``reads``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.sim.directed import disks, elections, reads
from quorumlog.sim.directed.stage import play

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.sim.directed.stage import Stage
    from quorumlog.sim.run import Violation


@dataclass(frozen=True, slots=True)
class Scenario:
    """One play: ``script`` on a stage of ``nodes`` nodes."""

    script: Callable[[Stage], None]
    nodes: int = 3

    @property
    def summary(self) -> str:
        """What is played, from the script's docstring."""
        return " ".join((self.script.__doc__ or "").split())


SCENARIOS: dict[str, Scenario] = {
    "figure 8": Scenario(elections.figure_8),
    "unverified tail": Scenario(elections.unverified_tail, 5),
    "two changes from one configuration": Scenario(elections.two_changes_from_one_configuration, 4),
    "two voters removed": Scenario(elections.two_voters_removed, 5),
    "long absence": Scenario(elections.long_absence),
    "damage below the tail": Scenario(disks.damage_below_the_tail),
    "damaged vote": Scenario(disks.damaged_vote),
    "stalled disk": Scenario(disks.stalled_disk),
    "pause of a cut-off leader": Scenario(reads.pause_of_a_cut_off_leader),
}


def perform(name: str) -> tuple[Violation, ...]:
    """Plays the scenario of that name; what was found."""
    scenario = SCENARIOS[name]
    return play(scenario.script, scenario.nodes)
