"""The scheduler: order, chance and trace are the seed's alone."""

from __future__ import annotations

from quorumlog.sim.world import World


def test_events_happen_in_order_of_time_and_then_of_planning() -> None:
    world = World(1)
    happened: list[str] = []
    world.after(20, happened.append, "late")
    world.after(10, happened.append, "first of two")
    world.after(10, happened.append, "second of two")
    world.run_until(100)
    assert happened == ["first of two", "second of two", "late"]
    assert world.now_us == 100


def test_what_is_planned_for_later_does_not_happen_yet() -> None:
    world = World(1)
    happened: list[int] = []
    world.after(101, happened.append, 1)
    world.run_until(100)
    assert happened == []
    world.run_until(101)
    assert happened == [1]


def test_a_halted_world_stops_at_the_event_that_did_it() -> None:
    world = World(1)
    happened: list[int] = []

    def halt() -> None:
        world.halted = True

    world.after(10, happened.append, 10)
    world.after(20, halt)
    world.after(20, happened.append, 20)
    world.run_until(100)
    assert happened == [10]
    assert world.now_us == 20


def test_streams_of_chance_do_not_depend_on_each_other() -> None:
    alone, beside = World(7), World(7)
    drawn = [beside.random("network").random() for _ in range(3)]
    first = alone.random("network")
    for _ in range(1000):
        alone.random("clients").random()
    assert first.random() == drawn[0]
    assert alone.random("clients").random() != drawn[0]
    assert World(8).random("network").random() != drawn[0]


def test_traces_are_equal_exactly_when_what_happened_is() -> None:
    def world(detail: int, delay: int = 10) -> World:
        one = World(1)
        one.after(delay, one.trace.note, 3, "hears", detail)
        one.run_until(50)
        return one

    assert world(5).trace.hash == world(5).trace.hash
    assert world(5).trace.hash != world(6).trace.hash
    assert world(5).trace.hash != world(5, delay=11).trace.hash


def test_the_last_events_of_a_node_are_told_oldest_first() -> None:
    world = World(1)
    for number in range(5):
        world.trace.note(1 + number % 2, "step", number)
    assert [line.split()[-1] for line in world.trace.last(1, 2)] == ["2", "4"]
