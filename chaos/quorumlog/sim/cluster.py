"""A whole cluster in one world: hosts, network, connections of clients, taps; and what can be asked and done of it
as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.check import Recorder
from quorumlog.machine import TopicConfig
from quorumlog.machine.topics import FIRST_TOPIC_GROUP_ID
from quorumlog.replica import Failure, NodeConfig, PartitionDescription, TopicCreated
from quorumlog.replica.ids import CONTROLLER_GROUP, node_of
from quorumlog.sim.calls import Calls, Lost
from quorumlog.sim.clients import Shared, Values
from quorumlog.sim.disk import SimulatedDisk
from quorumlog.sim.host import Host
from quorumlog.sim.network import Network
from quorumlog.sim.options import Workload
from quorumlog.sim.taps import Taps
from quorumlog.sim.world import MS, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from quorumlog.sim.options import Options

CLUSTER_ID = "sim"


class Cluster:
    """See the module. Nodes are numbered from 1."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.world = World(options.seed)
        self.nodes = tuple(range(1, options.nodes + 1))
        self.network = Network(self.world, self.nodes)
        self.taps = Taps(
            self.world,
            judges_raft=options.engine == "raft",
            with_offsets=options.workload is not Workload.LOG,
        )
        drift = self.world.random("drift")
        self.hosts = {
            node: Host(
                self.world,
                self.network,
                self.taps,
                NodeConfig(
                    CLUSTER_ID,
                    node,
                    self.nodes,
                    tick_ms=options.tick_ms,
                    tail_cache_bytes=options.tail_cache_bytes,
                    coordinators=options.coordinators,
                    engine=options.engine,
                ),
                1.0 + drift.uniform(-options.drift, options.drift),
                SimulatedDisk(self.world.random(f"disk {node}")),
            )
            for node in self.nodes
        }
        self.calls = Calls(self.world, self.hosts)
        self.recorder = Recorder()
        self.shared = Shared(
            self.world,
            self.calls,
            self.recorder,
            Values(self.world.random("values"), options.record_bytes),
            self.nodes,
        )
        self.topics: dict[str, tuple[PartitionDescription, ...]] = {}
        """Topics known to exist, with the groups that are their partitions."""

    def start(self) -> None:
        for host in self.hosts.values():
            host.start()

    # --- what is done to it ---

    def kill(self, node: int) -> None:
        self.hosts[node].kill()
        self.calls.reset(node)

    def power_off(self, node: int) -> None:
        self.hosts[node].power_off()

    def revive(self, node: int) -> None:
        """Whatever was done to the process: it runs."""
        host = self.hosts[node]
        host.resume()
        if not host.life:
            host.start()
            self.calls.reset(node)

    # --- what is asked of it ---

    def leader(self, group: int) -> int | None:
        """The living node that leads the group in the highest term, as far as it knows itself."""
        best: tuple[int, int] | None = None
        for node, host in self.hosts.items():
            replica = host.replica(group)
            if replica is not None and replica.raft.is_leader and (best is None or replica.raft.term > best[0]):
                best = (replica.raft.term, node)
        return None if best is None else best[1]

    def groups(self) -> dict[int, tuple[int, ...]]:
        """group -> nodes of its voters, of every group that any living node runs."""
        found: dict[int, tuple[int, ...]] = {}
        for host in self.hosts.values():
            for group, replica in host.replicas():
                found.setdefault(
                    group, tuple(sorted(node_of(voter) for voter in replica.raft.configuration.voters))
                )
        return dict(sorted(found.items()))

    def coordinators(self) -> list[tuple[int, ...]]:
        """The voters' nodes of every coordinator that any living node runs."""
        return [
            voters for group, voters in self.groups().items() if CONTROLLER_GROUP < group < FIRST_TOPIC_GROUP_ID
        ]

    def partitions(self) -> list[tuple[str, PartitionDescription]]:
        """Every partition known to exist, in one order."""
        return [(topic, partition) for topic, parts in sorted(self.topics.items()) for partition in parts]

    def disagreement(self, nodes: Iterable[int]) -> str:
        """Where the replicas on these nodes differ; "" if every group has the same applied index and digest on
        all."""
        alive = [self.hosts[node] for node in nodes]
        for group, voters in self.groups().items():
            states: dict[tuple[int, bytes], list[int]] = {}
            for host in alive:
                if host.node_id in voters:
                    replica = host.replica(group)
                    state = (0, b"") if replica is None else (replica.machine.applied_index, replica.machine.digest)
                    states.setdefault(state, []).append(host.node_id)
            if len(states) > 1:
                told = "; ".join(
                    f"nodes {found} at {index} {digest.hex()[:8]}" for (index, digest), found in states.items()
                )
                return f"group {group}: {told}"
        return ""

    # --- topics ---

    def create_topic(self, name: str, config: TopicConfig, made: Callable[[], None]) -> None:
        """Has the topic made, by asking until it has been."""
        client = self.shared.new_client()
        controller = [self.nodes[0]]

        def answered(result: TopicCreated | Failure | Lost) -> None:
            if isinstance(result, TopicCreated):
                self.topics[name] = result.topic.partitions
                made()
                return
            leader = result.leader_node if isinstance(result, Failure) else 0
            controller[0] = leader or self.shared.random.choice(self.nodes)
            self.world.after(30 * MS, ask)

        def ask() -> None:
            self.calls.call(
                client, controller[0], lambda node, done: node.create_topic(name, config, done), answered, 1500
            )

        ask()

    @property
    def topic_config(self) -> TopicConfig:
        options = self.options
        return TopicConfig(
            partitions=options.partitions,
            replication_factor=options.replication,
            retention_bytes=options.retention_bytes,
            segment_bytes=options.segment_bytes,
            max_batch_bytes=16 << 10,
        )

    @property
    def controller(self) -> int | None:
        return self.leader(CONTROLLER_GROUP)
