"""From what the command line says to places: one fresh place for each scenario."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.chaos.places.place import NotPossible, Place, PlaceKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from quorumlog.chaos.scenario import Scenario


def place_maker(
    kind: PlaceKind, engine: str, servers: Sequence[str], grants: Path | None
) -> Callable[[Scenario], Place]:
    """What makes the place of a scenario. Raises NotPossible when this machine or the grants do not allow it.

    A place's module is imported only if it is asked for: containers need libraries that not everybody installs.
    """
    match kind:
        case PlaceKind.LOCAL:
            from quorumlog.chaos.places.local import LocalPlace

            return lambda scenario: LocalPlace(scenario.nodes, engine)
        case PlaceKind.NETNS:
            from quorumlog.chaos.places.netns import NetnsPlace

            return lambda scenario: NetnsPlace(scenario.nodes, engine)
        case PlaceKind.CONTAINERS:
            from quorumlog.chaos.places.containers import ContainersPlace

            return lambda scenario: ContainersPlace(scenario.nodes, engine)
        case PlaceKind.ATTACHED:
            from quorumlog.chaos.places.attached import AttachedPlace, read_grants

            if grants is None or not servers:
                raise NotPossible("an attached cluster needs --server and --grants")
            granted = read_grants(grants)
            return lambda scenario: AttachedPlace(servers, granted)
