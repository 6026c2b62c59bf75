"""What can be done where, on this machine: ``quorumlog chaos list --where X`` names the rest with its reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.chaos.places.place import PlaceKind

if TYPE_CHECKING:
    from quorumlog.chaos.places import Ability


def probe(where: PlaceKind) -> dict[Ability, str]:
    """What a place of that kind cannot do here, each with its reason in one line; empty if it can do everything.

    What an attached cluster can do is up to its grants; here stands what can never be granted. A place's module is
    imported only if it is asked for: containers need libraries that not everybody installs.
    """
    match where:
        case PlaceKind.LOCAL:
            from quorumlog.chaos.places import local

            return local.lacks()
        case PlaceKind.NETNS:
            from quorumlog.chaos.places import netns

            return netns.lacks()
        case PlaceKind.CONTAINERS:
            from quorumlog.chaos.places import containers

            return containers.lacks()
        case PlaceKind.ATTACHED:
            from quorumlog.chaos.places import attached

            return attached.lacks()
