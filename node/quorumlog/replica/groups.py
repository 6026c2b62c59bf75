"""The replicas of one node: opened, made, taken out of service, removed.

Which groups a node runs follows from the controller's applied state, and from nothing else. A group that this node
has data of but does not find there is only removed when the controller's state *proves* that it was deleted: a
state that lags (after a restart, say) knows nothing of younger groups, and must not cost them their data.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from quorumlog.engines import CoreSettings, engine_named
from quorumlog.machine import (
    FIRST_TOPIC_GROUP_ID,
    ControllerMachine,
    DesiredGroup,
    PartitionMachine,
    TopicConfig,
    UnknownTopic,
)
from quorumlog.machine.coordinator import CoordinatorMachine
from quorumlog.machine.topics import SYSTEM_SEGMENT_BYTES
from quorumlog.raft.types import Configuration
from quorumlog.replica.api import Job, JobPriority, NodeConfig, ReplicaDescription, Runnable
from quorumlog.replica.controller import ControllerService
from quorumlog.replica.coordinator import CoordinatorService
from quorumlog.replica.describe import describe_replica
from quorumlog.replica.errors import STOPS_A_REPLICA, is_damage, is_full
from quorumlog.replica.events import DiskFull, ReplicaDamaged, ReplicaReplaced
from quorumlog.replica.failures import Failure, Reason
from quorumlog.replica.ids import CONTROLLER_GROUP, incarnation_of, node_of, replica_id
from quorumlog.replica.partition import PartitionService
from quorumlog.replica.replica import Replica
from quorumlog.storage import CheckpointInbox, LogOptions, PartitionLog, TailCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quorumlog.replica.budget import ByteBudget
    from quorumlog.replica.seam import Host
    from quorumlog.storage import NodeDirectory

#: Settings of a partition whose topic this node has yet to hear of: it only follows until then.
_UNBOUND = TopicConfig().with_defaults(1)


def _machine_of(group_id: int) -> ControllerMachine | CoordinatorMachine | PartitionMachine:
    """The state machine behind a group: its id says it, because a node that starts knows nothing else yet."""
    if group_id == CONTROLLER_GROUP:
        return ControllerMachine()
    return CoordinatorMachine() if group_id < FIRST_TOPIC_GROUP_ID else PartitionMachine()


class _Work:
    """Blocking work given as a function; ``result`` is what it returned."""

    __slots__ = ("_work", "result")

    def __init__(self, work: Callable[[], PartitionLog | None]) -> None:
        self._work = work
        self.result: PartitionLog | None = None

    def run(self) -> None:
        self.result = self._work()


def _nothing() -> None:
    pass


def _ignore(error: BaseException) -> None:
    """What is left of a deletion is found and removed at the next start."""


class Groups:
    """See the module."""

    def __init__(
        self,
        config: NodeConfig,
        directory: NodeDirectory,
        replicas: dict[int, Replica],
        host: Host,
        budget: ByteBudget,
        rng: random.Random,
    ) -> None:
        self.replicas = replicas
        self.partitions: dict[int, PartitionService] = {}
        self.coordinators: dict[int, CoordinatorService] = {}
        self.controller: ControllerService | None = None
        self.engine = engine_named(config.engine)
        self._config = config
        self._directory = directory
        self._host = host
        self._budget = budget
        self._random = rng
        self._cache = TailCache(config.tail_cache_bytes)
        self._damaged: dict[int, str] = {}
        self._making: set[int] = set()
        self._again: dict[int, Callable[[], None]] = {}
        self._desired: dict[int, DesiredGroup] = {}
        #: Of groups that are gone, up to where the controller's log tells of it: their data may go when it is
        #: durable that this is committed.
        self._gone: dict[int, int] = {}
        self._on_change: Callable[[], None] = lambda: None

    # --- opening ---

    def open_all(self, on_change: Callable[[], None]) -> None:
        """Opens what is on the disk; blocking. ``on_change`` is called whenever the controller's topics change."""
        self._on_change = on_change
        self._directory.claim_engine(self.engine.name)
        on_disk = self._directory.groups()
        if CONTROLLER_GROUP not in on_disk:
            self._install(CONTROLLER_GROUP, self._create_log(CONTROLLER_GROUP, 0, self._config.nodes, _UNBOUND))
        for group_id, incarnation in on_disk.items():
            self._open(group_id, incarnation)
        for deletion in self._directory.unfinished_deletions():
            self._run(0, deletion, _nothing, _ignore)

    def _open(self, group_id: int, incarnation: int) -> None:
        try:
            log = PartitionLog.open(
                self._directory.files,
                self._directory.replica_path(group_id, incarnation),
                self._options(group_id, _UNBOUND),
                group_id=group_id,
                replica_id=replica_id(self._config.node_id, incarnation),
            )
            self._install(group_id, log)
        except STOPS_A_REPLICA as error:
            self._renew(group_id, str(error))
        except OSError as error:
            # An unreadable sector of one replica is no reason to keep all the others from serving.
            if not is_damage(error):
                raise
            self._renew(group_id, f"disk: {error}")

    def _options(self, group_id: int, config: TopicConfig) -> LogOptions:
        size = SYSTEM_SEGMENT_BYTES if group_id < FIRST_TOPIC_GROUP_ID else config.segment_bytes
        return LogOptions(segment_bytes=size, cache=self._cache)

    def _create_log(
        self, group_id: int, incarnation: int, nodes: tuple[int, ...], config: TopicConfig
    ) -> PartitionLog:
        """A fresh log; blocking. Its configuration names the *first* incarnations, whichever this is: a later one
        is no member until the leader has made it one."""
        own = replica_id(self._config.node_id, incarnation)
        return PartitionLog.create(
            self._directory.files,
            self._directory.make_replica(group_id, incarnation),
            self._options(group_id, config),
            group_id,
            own,
            Configuration(frozenset(replica_id(node) for node in nodes)),
        )

    def _install(self, group_id: int, log: PartitionLog) -> None:
        """Takes a log into service."""
        own = log.replica_id
        machine = _machine_of(group_id)
        checkpoint, reader = log.latest_checkpoint()
        reader.close()
        if checkpoint.index:
            machine.restore(log.read_checkpoint())
        config = self._config
        raft = self.engine.core(
            CoreSettings(
                group_id,
                own,
                log.directory,
                self._directory.files,
                log,
                checkpoint.index,
                random.Random(self._random.getrandbits(64)),
                config.tick_ms,
                config.election_ticks,
                config.heartbeat_ticks,
                self._host.now_ms,
                self._host.reachable,
            )
        )
        inbox = CheckpointInbox(self._directory.files, log.directory)
        replica = Replica(group_id, own, log, inbox, machine, raft, self._random.getrandbits(62), self._host)
        self.replicas[group_id] = replica
        patience_ms = 2 * self._config.election_ms
        now_ms = self._host.now_ms
        match machine:
            case ControllerMachine():
                self.controller = ControllerService(
                    replica, machine, self._config, patience_ms, now_ms, self._on_change
                )
                replica.service = self.controller
            case CoordinatorMachine():
                coordinator = CoordinatorService(replica, machine, self, patience_ms, now_ms)
                self.coordinators[group_id] = replica.service = coordinator
            case _:
                policy = self._config.offset_policy
                partition = PartitionService(replica, machine, self._budget, patience_ms, policy, self._host)
                self.partitions[group_id] = replica.service = partition
        if group_id in self._desired:
            self._bind(self._desired[group_id])
        self._host.opened(replica)

    # --- following the controller ---

    def reconcile(self, machine: ControllerMachine) -> None:
        """Runs what ``machine`` wants here, and removes what it knows to be deleted."""
        self._desired = {group.group_id: group for group in machine.groups_of(self._config.node_id)}
        for group in self._desired.values():
            known = self._bind(group) or group.group_id in self._making or group.group_id in self._damaged
            if not known:
                self._make(group)
        for group_id in [running for running in self.partitions if machine.was_deleted(running)]:
            self._remove(group_id)

    def _bind(self, group: DesiredGroup) -> bool:
        """Tells the group's service what it is; False if there is none."""
        service = self.partitions.get(group.group_id) or self.coordinators.get(group.group_id)
        if service is not None:
            service.bind(group)
        return service is not None

    def _make(self, group: DesiredGroup) -> None:
        group_id = group.group_id
        self._making.add(group_id)
        work = _Work(lambda: self._begin_log(group_id, group.replicas, group.config))

        def made() -> None:
            self._making.discard(group_id)
            if work.result is not None:
                if not incarnation_of(work.result.replica_id):
                    self._damaged.pop(group_id, None)
                if group_id in self._desired:
                    self._install(group_id, work.result)
                else:
                    work.result.close()
                    self._let_go(group_id)

        def failed(error: BaseException) -> None:
            self._making.discard(group_id)
            why = f"it could not be made: {error}"
            if is_full(error):
                # Nothing is damaged: there was never anything.
                if group_id not in self._damaged:
                    self._host.emit(DiskFull(group_id))
                self._damaged[group_id] = why
            else:
                self._tell_damage(group_id, why)
            self._again[group_id] = lambda: self._make(group)

        self._run(group_id, work, made, failed)

    def _remove(self, group_id: int) -> None:
        service = self.partitions.pop(group_id)
        replica = self.replicas.pop(group_id)
        replica.close()
        service.close(Failure(Reason.UNKNOWN_TOPIC, f"topic {service.topic!r} was deleted"))
        self._let_go(group_id)

    def _let_go(self, group_id: int) -> None:
        """Its data goes as soon as a restart would know why. Were it gone before, the node could come back without
        it and in a state in which the group is still wanted, make it anew, and vote in it a second time."""
        if self.controller is not None:
            self._gone[group_id] = self.controller.machine.applied_index
            self.delete_gone()

    def delete_gone(self) -> None:
        """Removes the data of groups whose deletion is durable."""
        controller = self.replicas.get(CONTROLLER_GROUP)
        durable = controller.log.durable_commit if controller is not None else 0
        for group_id in [each for each, index in self._gone.items() if index <= durable]:
            del self._gone[group_id]
            self._run(group_id, self._directory.delete_job(group_id), _nothing, _ignore)

    def _run(
        self, group_id: int, work: Runnable, done: Callable[[], None], failed: Callable[[BaseException], None]
    ) -> None:
        def finish(error: BaseException | None) -> None:
            if error is None:
                done()
            else:
                failed(error)

        self._host.submit(Job(group_id, JobPriority.MAINTENANCE, work, finish))

    # --- damage ---

    def quarantine(self, replica: Replica, why: str) -> None:
        """Takes a replica out of service at once; a fresh incarnation takes its place."""
        if replica.closed:
            return
        group_id = replica.group_id
        self.replicas.pop(group_id, None)
        self.partitions.pop(group_id, None)
        self.coordinators.pop(group_id, None)
        replica.close()
        replica.service.close(Failure(Reason.REPLICA_DAMAGED, why))
        if group_id == CONTROLLER_GROUP:
            self.controller = None
        self._renew(group_id, why)

    def _tell_damage(self, group_id: int, why: str) -> None:
        if self._damaged.get(group_id) != why:
            self._damaged[group_id] = why
            self._host.emit(ReplicaDamaged(group_id, why))

    def try_again(self) -> None:
        """Makes and renews replicas that could not be: a disk may have space, or be there, again."""
        waiting, self._again = self._again, {}
        for group_id, again in waiting.items():
            if group_id in self._desired or group_id == CONTROLLER_GROUP:
                again()
            else:
                self._again[group_id] = again

    def _begin_log(self, group_id: int, nodes: tuple[int, ...], config: TopicConfig = _UNBOUND) -> PartitionLog:
        """A fresh log of an incarnation that was never here before; blocking. What is there is put aside: it is
        damaged, or was left half made by an earlier attempt and vouches for nothing."""
        latest = self._directory.latest(group_id)
        if latest is not None:
            self._directory.set_aside(group_id, latest)
        return self._create_log(group_id, 0 if latest is None else latest + 1, nodes, config)

    def _renew(self, group_id: int, why: str) -> None:
        """Keeps the damaged data aside, for people, and begins a fresh incarnation that owes nothing to it: it has
        no vote until the leader has replaced the old one, so nothing that was acknowledged with the old is
        forgotten."""
        self._tell_damage(group_id, why)
        if self.engine.replaces_replicas:
            self._replace(group_id, why)

    def _replace(self, group_id: int, why: str) -> None:
        nodes = self.replica_nodes(group_id) or self._config.nodes
        config = self._desired[group_id].config if group_id in self._desired else _UNBOUND
        work = _Work(lambda: self._begin_log(group_id, nodes, config))
        self._making.add(group_id)

        def renewed() -> None:
            self._making.discard(group_id)
            if work.result is not None:
                self._install(group_id, work.result)

        def failed(error: BaseException) -> None:
            self._making.discard(group_id)
            self._tell_damage(group_id, f"{why}; and it could not be renewed: {error}")
            self._again[group_id] = lambda: self._replace(group_id, why)

        self._run(group_id, work, renewed, failed)

    def awaiting_replacement(self) -> Iterator[Replica]:
        """Fresh incarnations that are not voters yet."""
        for replica in self.replicas.values():
            if not incarnation_of(replica.replica_id):
                continue
            if replica.replica_id not in replica.raft.configuration.voters:
                yield replica
            elif self._damaged.pop(replica.group_id, None) is not None:
                self._host.emit(ReplicaReplaced(replica.group_id, replica.replica_id))

    def damage(self, group_id: int) -> str:
        """Why the group's replica here is damaged; empty when it is not."""
        return self._damaged.get(group_id, "")

    # --- all of them ---

    def close_all(self, failure: Failure) -> None:
        for replica in self.replicas.values():
            replica.service.close(failure)
        for replica in self.replicas.values():
            replica.close()

    # --- what coordinators ask about topics ---

    def partitions_of(self, topic: str) -> int:
        """How many partitions the topic has, as far as this node knows; 0 if there is none."""
        found = self.controller.machine.topic(topic) if self.controller is not None else None
        return 0 if found is None or isinstance(found, UnknownTopic) else len(found.partitions)

    def confirm(self, done: Callable[[bool], None], timeout_ms: int = 0) -> None:
        """Calls back once this node has applied all that the controller had decided; False if it cannot know.
        ``timeout_ms`` 0: the configured one."""
        if self.controller is None:
            done(False)
        else:
            self.controller.confirm(timeout_ms or self._config.append_timeout_ms, done)

    # --- questions ---

    def replica_nodes(self, group_id: int) -> tuple[int, ...]:
        """The nodes that hold the group, in the order in which they should lead."""
        desired = self._desired.get(group_id)
        if desired is not None:
            return desired.replicas
        replica = self.replicas.get(group_id)
        if replica is None:
            return ()
        return tuple(sorted({node_of(member) for member in replica.raft.configuration.voters}))

    def member_nodes(self, group_id: int) -> tuple[int, ...]:
        """The other nodes with a replica of the group."""
        if group_id == CONTROLLER_GROUP:
            nodes: tuple[int, ...] = self._config.nodes
        else:
            nodes = self.replica_nodes(group_id)
        return tuple(node for node in nodes if node != self._config.node_id)

    def describe(self) -> tuple[ReplicaDescription, ...]:
        return tuple(
            describe_replica(replica, self.damage(group_id)) for group_id, replica in sorted(self.replicas.items())
        )
