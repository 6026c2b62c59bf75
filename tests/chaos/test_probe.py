"""What cannot be done in a place is known before anything is started, with a reason for people."""

from __future__ import annotations

import pytest

from quorumlog.chaos.places.local import LocalPlace
from quorumlog.chaos.places.place import Ability, PlaceKind
from quorumlog.chaos.probe import probe


@pytest.mark.parametrize("where", list(PlaceKind))
def test_every_reason_is_one_line(where: PlaceKind) -> None:
    for why in probe(where).values():
        assert why
        assert "\n" not in why


def test_local_processes_can_do_everything_but_what_takes_root() -> None:
    assert probe(PlaceKind.LOCAL).keys() == {Ability.SMALL_DISK}


def test_a_place_lacks_what_the_probe_says() -> None:
    place = LocalPlace()
    assert dict(place.lacks) == probe(PlaceKind.LOCAL)
    assert place.abilities | place.lacks.keys() == set(Ability)
