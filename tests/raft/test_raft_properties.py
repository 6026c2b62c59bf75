"""The properties of figure 3 under random schedules, and that a healed group serves again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raft.raft_world import World

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject

SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_walks_keep_every_property_and_heal(seed: int) -> None:
    chance = random.Random(seed)
    world = World(chance.randrange, size=chance.choice((1, 2, 3, 3, 3, 4, 5)), changes=seed % 3 != 0, seed=seed)
    world.run(1500)
    world.heal()


@given(st.data(), st.integers(2, 4), st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_drawn_schedules_keep_every_property(draw: DataObject, size: int, changes: bool) -> None:
    choices = iter(draw.draw(st.lists(st.integers(0, 9999), min_size=50, max_size=600)))
    world = World(lambda bound: next(choices, 0) % bound, size=size, changes=changes)
    world.cluster.elect(1)
    world.run(200)
    world.heal()
