"""Where clusters run, and what can be done to them there."""

from quorumlog.chaos.places.place import (
    Ability,
    DiskOrder,
    LinkCondition,
    LinkCounts,
    NotPossible,
    Place,
    PlaceKind,
)

__all__ = ["Ability", "DiskOrder", "LinkCondition", "LinkCounts", "NotPossible", "Place", "PlaceKind"]
