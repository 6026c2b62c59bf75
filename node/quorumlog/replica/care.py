"""What a node does now and then: retention, leaders back where they belong, full disks, damaged replicas,
digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.raft import ChangeRefused, NotLeader, RaftError
from quorumlog.raft.types import ConfigurationChange, ReplicaId
from quorumlog.replica.frames import Lane, ReplaceReplica, StateDigest
from quorumlog.replica.ids import node_of
from quorumlog.replica.scrub import Scrub

if TYPE_CHECKING:
    from quorumlog.replica.api import Clock, NodeConfig
    from quorumlog.replica.coordinator import CoordinatorService
    from quorumlog.replica.groups import Groups
    from quorumlog.replica.mesh import Mesh
    from quorumlog.replica.partition import PartitionService
    from quorumlog.replica.replica import Replica

_SECOND_MS = 1000
_RETENTION_SECONDS = 5
#: The preferred replica must have been heard this long before leadership is handed back to it.
_SETTLED_MS = 10_000
#: And the present leader must have led this long: who moved leadership by hand wants it there for a while. A
#: group's very first leader hands over without that: it only was quicker to be made.
_LED_MS = 60_000
#: Hand-overs begun per second: each stops its partition for a few milliseconds.
_HANDOVERS_PER_SECOND = 16


class Care:
    """See the module. ``tick`` is called with every tick of the node."""

    __slots__ = ("_clock", "_config", "_groups", "_mesh", "_scrub", "_second_ticks")

    def __init__(self, config: NodeConfig, groups: Groups, mesh: Mesh, clock: Clock) -> None:
        self._config = config
        self._groups = groups
        self._mesh = mesh
        self._clock = clock
        self._scrub = Scrub(groups.replicas)
        self._second_ticks = max(1, _SECOND_MS // config.tick_ms)

    def tick(self, ticks: int, now_ms: int) -> None:
        if ticks % self._second_ticks:
            return
        self._groups.try_again()
        self._groups.delete_gone()
        self._scrub.second(now_ms)
        self._retry_full_disks()
        self._leave_stalled_disks(now_ms)
        self._ask_replacement()
        self._tell_digests()
        if self._config.balance_leaders:
            self._hand_back(now_ms)
        if ticks // self._second_ticks % _RETENTION_SECONDS == 0:
            wall_ms = self._clock.wall_ms()
            for service in self._groups.partitions.values():
                service.retain(wall_ms)
                if service.replica.leading:
                    service.offsets.care(now_ms, wall_ms)

    def _retry_full_disks(self) -> None:
        for replica in self._groups.replicas.values():
            if replica.disk_full:
                replica.retry_full_disk()

    def _leave_stalled_disks(self, now_ms: int) -> None:
        """A leader that cannot write for as long as followers would wait for a sign of it is as good as dead."""
        patience_ms = 2 * self._config.election_ms
        for replica in self._groups.replicas.values():
            replica.leave_stalled_disk(now_ms, patience_ms)

    # --- leadership ---

    def _hand_back(self, now_ms: int) -> None:
        """Leadership returns to the preferred replica once its node has been up for a while and it has caught
        up."""
        begun = 0
        services: tuple[CoordinatorService | PartitionService, ...]
        services = (*self._groups.coordinators.values(), *self._groups.partitions.values())
        for service in services:
            preferred = service.preferred_node
            if preferred == self._config.node_id or not service.replica.leading:
                continue
            if self._mesh.heard_for_ms(preferred, now_ms) < _SETTLED_MS:
                continue
            if service.replica.led_for_ms(now_ms) < _LED_MS and service.replica.raft.term > 1:
                continue
            if self._hand_over(service.replica, preferred):
                begun += 1
                if begun >= _HANDOVERS_PER_SECOND:
                    return

    def _hand_over(self, replica: Replica, node: int | None) -> bool:
        """Begins to hand the group to ``node``, or to whoever is furthest; only to a voter that is alive and near
        the end."""
        raft = replica.raft
        near = [
            follower
            for follower in raft.status().followers
            if follower.replica in raft.configuration.voters
            and (node is None or node_of(follower.replica) == node)
            and self._mesh.heard(node_of(follower.replica))
            and follower.match + 1000 >= raft.commit
        ]
        if not near:
            return False
        best = max(near, key=lambda follower: (follower.match, -follower.replica))
        return replica.transfer_leadership(best.replica)

    def hand_over_all(self) -> None:
        """This node is about to stop."""
        for replica in self._groups.replicas.values():
            if replica.raft.is_leader:
                self._hand_over(replica, None)

    # --- damaged replicas ---

    def _ask_replacement(self) -> None:
        """A fresh incarnation asks to be put in the place of the one that was lost, until it has been."""
        for replica in self._groups.awaiting_replacement():
            request = ReplaceReplica(replica.group_id, replica.replica_id & 0xFFFF, replica.replica_id)
            for node in self._groups.member_nodes(replica.group_id):
                outgoing = self._mesh.outgoing(node, Lane.URGENT)
                if outgoing is not None:
                    outgoing.replacements.append(request)

    def replace(self, request: ReplaceReplica) -> None:
        """On the leader: makes the fresh incarnation a learner, and once it has caught up a voter in the place of
        whatever incarnation its node had before. Each request takes one step; the requester repeats it."""
        replica = self._groups.replicas.get(request.group_id)
        if replica is None:
            return
        if not replica.raft.is_leader:
            self._mesh.replica_lost(replica, request.new_replica, self._clock.now_ms())
            return
        fresh, node = request.new_replica, node_of(request.new_replica)
        configuration = replica.raft.configuration
        lost = frozenset(member for member in configuration.voters if node_of(member) == node and member < fresh)
        stale = frozenset(member for member in configuration.learners if node_of(member) == node and member < fresh)
        if not lost or configuration.joint or fresh in configuration.voters:
            return
        learners = configuration.learners - stale
        if fresh in learners:
            change = ConfigurationChange(configuration.voters - lost | {fresh}, learners - {fresh})
        else:
            change = ConfigurationChange(configuration.voters, learners | {fresh})
        self._change(replica, change)

    def _change(self, replica: Replica, change: ConfigurationChange) -> None:
        try:
            replica.change_configuration(change)
        except (ChangeRefused, NotLeader, RaftError):
            return  # the request comes again in a second

    # --- digests ---

    def _tell_digests(self) -> None:
        for replica in self._groups.replicas.values():
            told = replica.digests.to_tell()
            if told is None:
                continue
            index, digest = told
            for node in self._groups.member_nodes(replica.group_id):
                outgoing = self._mesh.outgoing(node, Lane.URGENT)
                if outgoing is not None:
                    outgoing.digests.append(StateDigest(replica.group_id, replica.replica_id, index, digest))
            self._judge(replica, index)

    def compare(self, digest: StateDigest) -> None:
        """Another replica says what its state is."""
        replica = self._groups.replicas.get(digest.group_id)
        if replica is not None:
            replica.digests.hear(digest.sender, digest.index, digest.digest)
            self._judge(replica, digest.index)

    def _judge(self, replica: Replica, index: int) -> None:
        voters: frozenset[ReplicaId] = replica.raft.configuration.voters
        if replica.digests.outvoted(index, voters):
            self._groups.quarantine(replica, f"its state at index {index} differs from that of a majority")
