"""Directed scenarios: bugs that random search does not meet within a reasonable budget, played out by hand."""

from quorumlog.sim.directed.scenarios import SCENARIOS, Scenario, perform

__all__ = ["SCENARIOS", "Scenario", "perform"]
