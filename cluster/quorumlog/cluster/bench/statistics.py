"""Percentiles and figures: what a benchmark measured, beside its limit and its floor."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Distribution:
    """Durations in seconds, and over which span of time they were gathered.

    Percentiles are by nearest rank: every one of them is a duration that was measured, none is interpolated.
    """

    __slots__ = ("_ascending", "elapsed_s")

    def __init__(self, durations_s: Iterable[float], elapsed_s: float | None = None) -> None:
        self._ascending = sorted(durations_s)
        if not self._ascending:
            raise ValueError("nothing was measured")
        self.elapsed_s = sum(self._ascending) if elapsed_s is None else elapsed_s

    def __len__(self) -> int:
        return len(self._ascending)

    def percentile(self, percent: float) -> float:
        """The smallest duration that ``percent`` % of all do not exceed; 0 < percent <= 100."""
        rank = math.ceil(percent / 100 * len(self._ascending))
        return self._ascending[max(rank, 1) - 1]

    @property
    def worst(self) -> float:
        return self._ascending[-1]

    @property
    def per_second(self) -> float:
        return len(self._ascending) / self.elapsed_s


@dataclass(frozen=True, slots=True)
class Limit:
    """What the bare machine did in the same run, in the figure's unit."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that is acceptable: ``value`` or more, or with ``at_most`` that or less."""

    value: float
    at_most: bool = False

    def met_by(self, value: float) -> bool:
        return value <= self.value if self.at_most else value >= self.value


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``limits`` are in the same unit; ``remark`` says what a reader must know to use it."""

    name: str
    value: float
    unit: str
    limits: tuple[Limit, ...] = ()
    floor: Floor | None = None
    remark: str = ""

    @property
    def missed(self) -> bool:
        return self.floor is not None and not self.floor.met_by(self.value)

    def as_record(self) -> dict[str, object]:
        """For JSON."""
        record: dict[str, object] = {"name": self.name, "value": self.value, "unit": self.unit}
        if self.limits:
            record["limits"] = [
                {"name": limit.name, "value": limit.value, "ratio": self.value / limit.value}
                for limit in self.limits
            ]
        if self.floor is not None:
            record["floor"] = {
                "value": self.floor.value,
                "direction": "at most" if self.floor.at_most else "at least",
                "met": not self.missed,
            }
        if self.remark:
            record["remark"] = self.remark
        return record


@dataclass(slots=True)
class Report:
    """The outcome of one benchmark: its figures, and what reading everything back has shown."""

    bench: str
    figures: list[Figure] = field(default_factory=list)
    #: In words: "1,200,000 records acknowledged, each read back once".
    verified: str = ""

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)

    @property
    def missed(self) -> list[Figure]:
        return [figure for figure in self.figures if figure.missed]
