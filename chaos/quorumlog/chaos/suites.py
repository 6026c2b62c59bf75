"""Which scenarios are run, in which order, and what all of them come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quorumlog.chaos.run import carry_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from quorumlog.chaos.outcome import RunRecord
    from quorumlog.chaos.places import Place
    from quorumlog.chaos.scenario import Scenario


@dataclass(slots=True)
class Tally:
    """What several runs come to; skipped ones are counted apart and in nothing else."""

    true: int = 0
    false: int = 0
    unknown: int = 0
    skipped: int = 0
    operations: int = 0
    """Completed, of all kinds but faults."""
    faults: int = 0
    failovers: int = 0
    checks: int = 0
    seconds: float = 0.0
    not_true: list[str] = field(default_factory=list)
    """Names of scenarios."""
    found: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of each anomaly that was found: in how many ``runs``, how many ``times``, and the least time of load after
    which one was shown (``first_s``)."""

    @classmethod
    def of(cls, records: Iterable[RunRecord]) -> Tally:
        tally = cls()
        for record in records:
            if record.skipped:
                tally.skipped += 1
                continue
            setattr(tally, record.verdict, getattr(tally, record.verdict) + 1)
            if record.verdict != "true":
                tally.not_true.append(record.scenario)
            tally.operations += record.operation_count
            tally.faults += record.fault_count
            tally.failovers += record.failovers
            tally.checks += record.checks
            tally.seconds += record.duration_s
            tally._add_found(record.found)
        return tally

    def _add_found(self, found: dict[str, dict[str, float]]) -> None:
        for name, one in found.items():
            known = self.found.setdefault(name, {"runs": 0, "times": 0})
            known["runs"] += 1
            known["times"] += one["times"]
            if "first_s" in one:
                known["first_s"] = min(one["first_s"], known.get("first_s", one["first_s"]))


async def run_all(
    scenarios: Sequence[Scenario],
    place_for: Callable[[Scenario], Place],
    seed: int,
    directory: Path,
    begun: Callable[[Scenario], Callable[[str], None]],
    ended: Callable[[RunRecord], None],
) -> list[RunRecord]:
    """One after the other, each over a cluster of its own: two at a time on a small machine would only find that it
    is small. A cluster that stays and could not be left as it was is let alone: the rest is not run."""
    records = []
    for scenario in scenarios:
        record = await carry_out(scenario, place_for(scenario), seed, directory / scenario.name, begun(scenario))
        records.append(record)
        ended(record)
        if record.left_harmed:
            break
    return records
