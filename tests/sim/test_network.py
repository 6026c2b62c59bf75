"""The network between nodes behaves towards them as the gRPC shell does, and its faults are those of real
networks."""

from __future__ import annotations

from quorumlog.replica import Frame, Lane
from quorumlog.sim.network import Network, Weather, apart, bridge, mute, one_way, ring
from quorumlog.sim.world import MS, World

NODES = (1, 2, 3)


class Wire:
    """An endpoint that writes down what the network tells it."""

    def __init__(self, world: World, network: Network, node: int) -> None:
        self.life = 1
        self.told: list[tuple[str, int]] = []
        self.frames: list[Frame] = []
        network.attach(node, self)

    def receive(self, frame: Frame) -> None:
        self.frames.append(frame)

    def link_up(self, peer: int, lane: Lane) -> None:
        if lane is Lane.URGENT:
            self.told.append(("up", peer))

    def link_down(self, peer: int, lane: Lane) -> None:
        if lane is Lane.URGENT:
            self.told.append(("down", peer))

    def peer_lost(self, peer: int) -> None:
        self.told.append(("lost", peer))


class Wires:
    """Three endpoints, all connected."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World(seed)
        self.network = Network(self.world, NODES)
        self.ends = {node: Wire(self.world, self.network, node) for node in NODES}
        for node in NODES:
            self.network.started(node)
        self.pass_ms(5)
        self.sequence = 0
        for end in self.ends.values():
            end.told.clear()

    def pass_ms(self, ms: int) -> None:
        self.world.run_until(self.world.now_us + ms * MS)

    def send(self, sender: int, to: int, count: int = 1, lane: Lane = Lane.URGENT) -> None:
        for _ in range(count):
            self.sequence += 1
            self.network.send(Frame(sender, to, lane, 1, self.sequence))

    def heard(self, node: int) -> list[int]:
        return [frame.sequence for frame in self.ends[node].frames]

    def kill(self, node: int, *, silently: bool = False) -> None:
        self.ends[node].life = 0
        self.network.stopped(node, silently=silently)

    def restart(self, node: int) -> None:
        self.ends[node].life = 2
        self.network.started(node)


def test_a_stream_keeps_order_though_delays_differ() -> None:
    wires = Wires()
    wires.send(1, 2, 50)
    wires.pass_ms(5)
    assert wires.heard(2) == list(range(1, 51))


def test_lanes_overtake_each_other() -> None:
    overtaken = 0
    for seed in range(20):
        wires = Wires(seed)
        wires.send(1, 2, lane=Lane.BULK)
        wires.send(1, 2, lane=Lane.URGENT)
        wires.pass_ms(5)
        overtaken += wires.heard(2) == [2, 1]
    assert overtaken


def test_weather_loses_doubles_and_reorders() -> None:
    wires = Wires()
    wires.network.weather = Weather(loss=0.2)
    wires.send(1, 2, 100)
    wires.pass_ms(5)
    assert 60 < len(wires.heard(2)) < 95
    wires = Wires()
    wires.network.weather = Weather(duplicate=0.2)
    wires.send(1, 2, 100)
    wires.pass_ms(5)
    assert 105 < len(wires.heard(2)) < 140
    wires = Wires()
    wires.network.weather = Weather(reorder=0.5)
    wires.send(1, 2, 100)
    wires.pass_ms(5)
    assert sorted(wires.heard(2)) == list(range(1, 101)) != wires.heard(2)


def test_a_killed_process_resets_its_connections_and_refuses_new_ones() -> None:
    wires = Wires()
    wires.kill(2)
    wires.pass_ms(3)
    assert wires.ends[1].told == [("down", 2), ("lost", 2)]
    assert wires.ends[3].told == [("down", 2), ("lost", 2)]


def test_a_restarted_process_is_connected_again_soon() -> None:
    wires = Wires()
    wires.kill(2)
    wires.pass_ms(100)
    wires.restart(2)
    wires.pass_ms(100)
    assert wires.ends[1].told[-1] == ("up", 2)
    assert sorted(wires.ends[2].told) == [("up", 1), ("up", 3)]
    wires.send(1, 2)
    wires.pass_ms(5)
    assert wires.heard(2) == [1]


def test_a_machine_without_power_says_nothing_until_it_is_back() -> None:
    wires = Wires()
    wires.kill(2, silently=True)
    wires.send(1, 2)
    wires.pass_ms(200)
    assert wires.ends[1].told == []
    wires.restart(2)
    wires.send(1, 2)
    wires.pass_ms(100)
    assert wires.ends[1].told == [("down", 2), ("up", 2)]
    assert wires.heard(2) == []


def test_a_frame_for_an_earlier_life_never_arrives_in_the_next() -> None:
    wires = Wires()
    wires.send(1, 2, 5)
    wires.kill(2, silently=True)
    wires.restart(2)
    wires.pass_ms(200)
    assert wires.heard(2) == []


def test_a_cut_is_silent_and_directed() -> None:
    wires = Wires()
    wires.network.cut = {(1, 2)}
    wires.send(1, 2)
    wires.send(2, 1)
    wires.pass_ms(50)
    assert wires.heard(2) == []
    assert wires.heard(1) == [2]
    assert wires.ends[1].told == wires.ends[2].told == []
    assert wires.network.counts["cut"] == 1


def test_a_stream_that_broke_does_not_open_across_a_cut_and_nobody_is_called_lost() -> None:
    wires = Wires()
    wires.network.cut = apart([1], [2])
    wires.network.reset(1, 2)
    wires.pass_ms(200)
    assert wires.ends[1].told == [("down", 2)]
    wires.network.cut = set()
    wires.pass_ms(100)
    assert wires.ends[1].told == [("down", 2), ("up", 2)]


def test_the_shapes_of_partition_cut_what_they_say() -> None:
    five = (1, 2, 3, 4, 5)
    assert apart([1], [2, 3]) == {(1, 2), (2, 1), (1, 3), (3, 1)}
    assert one_way(2, NODES) == {(1, 2), (3, 2)}
    assert mute(2, NODES) == {(2, 1), (2, 3)}
    halves = bridge(3, five)
    assert {node for pair in halves for node in pair} == {1, 2, 4, 5}
    assert (1, 4) in halves
    assert (1, 2) not in halves
    seen = {node: {other for other in five if (node, other) not in ring(five)} for node in five}
    assert all(len(nodes) == 3 for nodes in seen.values())
    assert len({frozenset(nodes) for nodes in seen.values()}) == 5
    assert ring(NODES) == {(1, 3), (3, 1)}
