"""A whole cluster in one world: hosts, network, connections of clients, taps; and what can be asked and done of it
as one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from quorumlog.check import Recorder
from quorumlog.machine import TopicConfig
from quorumlog.machine.topics import FIRST_TOPIC_GROUP_ID
from quorumlog.replica import Failure, NodeConfig, PartitionDescription, Reason, TopicCreated
from quorumlog.replica.api import TopicDeleted
from quorumlog.replica.ids import CONTROLLER_GROUP, node_of
from quorumlog.sim.atlas import FaultAtlas
from quorumlog.sim.calls import Calls, Lost
from quorumlog.sim.clients import Shared, Values
from quorumlog.sim.disk import SimulatedDisk
from quorumlog.sim.host import DATA, Host
from quorumlog.sim.network import Network
from quorumlog.sim.options import Workload
from quorumlog.sim.taps import Taps
from quorumlog.sim.world import MS, World
from quorumlog.storage.recovery import FAILED_MARKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from quorumlog.sim.options import Options

CLUSTER_ID = "sim"
#: The directory of one replica's log, at the beginning of a path.
_REPLICA_PATH = re.compile(rf"{DATA}/groups/[0-9]+/replica-[0-9]+(?=/|$)")


class Cluster:
    """See the module. Nodes are numbered from 1."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.world = World(options.seed)
        self.nodes = tuple(range(1, options.nodes + 1))
        self.network = Network(self.world, self.nodes)
        self.atlas = FaultAtlas(self.world, destroy=options.destroy)
        self.taps = Taps(
            self.world,
            self.atlas,
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
            options.without,
        )
        self.contradictions: list[str] = []
        """What an audit found that it must never find."""
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
        """The machine loses power. What its disk had only promised to have written is gone then without a trace, so
        in a world that does not destroy somebody who knows of it leaves word: such a replica must not vote."""
        host = self.hosts[node]
        betrayed = host.power_off()
        if betrayed and not self.options.destroy:
            directories = {found[0]: None for path in betrayed if (found := _REPLICA_PATH.match(path))}
            for directory in directories:
                if host.disk.exists(directory):
                    host.disk.plant(f"{directory}/{FAILED_MARKER}")
                    self.world.trace.note(node, "is told of lost writes", directory)

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
                if group not in found:
                    voters = {node_of(voter) for voter in replica.raft.configuration.voters}
                    found[group] = tuple(sorted(voters))
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

    def unreplaced(self) -> str:
        """Which damaged replica has not been replaced yet; "" when every replica that runs is a voter."""
        for node, host in self.hosts.items():
            for group, replica in host.replicas():
                if group in self.taps.doomed:
                    return f"group {group}: node {node} has not removed it"
                if replica.replica_id not in replica.raft.configuration.voters:
                    return f"group {group}: node {node} is no voter again"
            for group, voters in self.groups().items():
                if node in voters and host.replica(group) is None:
                    return f"group {group}: node {node} has no replica"
        for node, group in self.taps.to_be_replaced:
            if group in self.taps.doomed:
                continue  # deleted before a replacement could be made
            return f"group {group}: node {node} does not say that it was replaced"
        return ""

    # --- topics ---

    def delete_topic(self, name: str, gone: Callable[[], None]) -> None:
        """Has the topic removed, by asking until it has been."""
        self.taps.doomed.update(dict.fromkeys(part.group_id for part in self.topics.pop(name, ())))
        client = self.shared.new_client()
        controller = [self.nodes[0]]

        def answered(result: TopicDeleted | Failure | Lost) -> None:
            if isinstance(result, TopicDeleted) or (
                isinstance(result, Failure) and result.reason is Reason.UNKNOWN_TOPIC
            ):
                gone()
                return
            leader = result.leader_node if isinstance(result, Failure) else 0
            controller[0] = leader or self.shared.random.choice(self.nodes)
            self.world.after(30 * MS, ask)

        def ask() -> None:
            self.calls.call(client, controller[0], lambda node, done: node.delete_topic(name, done), answered, 1500)

        ask()

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
