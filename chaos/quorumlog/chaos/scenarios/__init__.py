"""The catalogue: every scenario by name, a module for each family."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from quorumlog.chaos.scenarios import cluster, combined, disks, networks, permanent, processes, volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.chaos.scenario import Scenario, Suite

_FAMILIES = (processes, networks, disks, cluster, permanent, combined, volume)


def catalogue() -> list[Scenario]:
    """All scenarios, family by family."""
    return [scenario for family in _FAMILIES for scenario in family.scenarios()]


def chosen(names: Sequence[str], suite: Suite | None) -> list[Scenario]:
    """Those of the suite, or with a matching name (``kill-*``); without either, all of the catalogue, in its order.

    Raises LookupError for a name that matches nothing.
    """
    every = catalogue()
    for name in names:
        if not any(fnmatchcase(scenario.name, name) for scenario in every):
            raise LookupError(f"no scenario is called {name!r}; `quorumlog chaos list` names them")
    return [
        scenario
        for scenario in every
        if (suite is None or suite in scenario.suites)
        and (not names or any(fnmatchcase(scenario.name, name) for name in names))
    ]
