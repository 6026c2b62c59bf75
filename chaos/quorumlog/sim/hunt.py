"""What became of the hunt for one planted bug."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Hunt:
    """``caught`` means that one of the ``expected`` violations was found: ``finding`` is the first. ``scenario`` is
    the directed one that was played, or empty: then seeds from 0 on were run, ``tried`` of ``budget``."""

    bug: str
    place: str
    """The attribute that was replaced."""
    summary: str
    """What is wrong with the system then."""
    caught: bool
    tried: int
    budget: int
    scenario: str
    workload: str
    seconds: float
    """Until it was found, on one core."""
    finding: str
    expected: tuple[str, ...]
    intact: str = ""
    """Why the intact system did not pass what was tried; empty if it did."""

    @property
    def good(self) -> bool:
        """The bug was caught, and the system without it passed the same."""
        return self.caught and not self.intact

    def to_json(self) -> dict[str, object]:
        return asdict(self)
