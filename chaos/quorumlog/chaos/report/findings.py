"""What was found, for reading: kinds together, the first of each drawn, the rest in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.chaos.report.meanings import meaning
from quorumlog.chaos.report.timeline import Neighbours, Timeline, draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quorumlog.check import Anomaly, Operation
    from quorumlog.check.availability import FaultSpan

#: Findings of one kind that are drawn, and that are said besides. Two lost records are seldom lost differently.
_DRAWN_OF_A_KIND = 3
_SAID_OF_A_KIND = 40


class Shown(NamedTuple):
    """One finding that is drawn; no timeline if it has no witness."""

    key: str
    message: str
    timeline: Timeline | None


@dataclass(frozen=True, slots=True)
class Kind:
    """All findings of one kind."""

    name: str
    anchor: str
    meaning: str
    found: int
    first_ns: int | None
    """When the history first showed one (``Anomaly.shown_ns``)."""
    shown: tuple[Shown, ...]
    others: tuple[str, ...]

    @property
    def unlisted(self) -> int:
        return self.found - len(self.shown) - len(self.others)


def by_kind(
    anomalies: Sequence[Anomaly], history: Iterable[Operation], faults: Sequence[FaultSpan], origin_ns: int
) -> list[Kind]:
    """In the order in which the kinds were first found."""
    kinds: dict[str, list[Anomaly]] = {}
    for anomaly in anomalies:
        kinds.setdefault(anomaly.kind.value, []).append(anomaly)
    drawn = {name: _different(found) for name, found in kinds.items()}
    keys = {witness.invoked.key for found in drawn.values() for one in found for witness in one.witness}
    neighbours = Neighbours(history, frozenset(keys))
    made = []
    for name, found in kinds.items():
        shown = tuple(Shown(one.key, one.message, draw(one, neighbours, faults, origin_ns)) for one in drawn[name])
        others = [f"{one.key}: {one.message}" for one in found if one not in drawn[name]]
        first_ns = min((one.shown_ns for one in found if one.shown_ns is not None), default=None)
        said = tuple(others[:_SAID_OF_A_KIND])
        made.append(Kind(name, anchor(name), meaning(name), len(found), first_ns, shown, said))
    return made


def anchor(name: str) -> str:
    return name.replace(" ", "-")


def _different(found: Sequence[Anomaly]) -> list[Anomaly]:
    """The first of each key, then the others, as many as are drawn."""
    firsts = list({anomaly.key: anomaly for anomaly in reversed(found)}.values())[::-1]
    firsts = sorted(firsts, key=found.index)[:_DRAWN_OF_A_KIND]
    rest = [anomaly for anomaly in found[: 2 * _DRAWN_OF_A_KIND] if anomaly not in firsts]
    return firsts + rest[: _DRAWN_OF_A_KIND - len(firsts)]
