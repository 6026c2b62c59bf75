"""One node: many replicas, one thread of control, no clock, no socket, no thread of its own.

Whoever runs a node feeds it inputs (ticks, frames, finished jobs, requests), calls ``process`` once per batch of
them, and carries out the ``Effects``: inbox drained, everything stepped, one write per log, then the frames. The
simulator and the gRPC shell run the very same object.

Nothing here scales with the number of idle partitions: only groups that something happened to are advanced, and
only groups that are not quiet are ticked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.machine import (
    Altered,
    AlterTopic,
    Created,
    CreateTopic,
    DeleteTopic,
    OpenProducer,
    ProducerOpened,
    TopicConfig,
    config_fault,
    name_fault,
)
from quorumlog.machine.topics import internal_fault
from quorumlog.raft.types import InstallCheckpoint, Message
from quorumlog.replica.api import (
    Appended,
    Clock,
    Done,
    Effects,
    Job,
    Metadata,
    NodeConfig,
    NodeDescription,
    OffsetFound,
    Position,
    ReadResult,
    TopicCreated,
    TopicDeleted,
    TopicDescription,
    TransferBegun,
)
from quorumlog.replica.budget import ByteBudget
from quorumlog.replica.care import Care
from quorumlog.replica.catalog import Catalog
from quorumlog.replica.consumer_groups import ConsumerGroups
from quorumlog.replica.errors import STOPS_A_REPLICA
from quorumlog.replica.events import LogRepaired, ReplicaOpened
from quorumlog.replica.failover import Campaigns
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.frames import Frame, Lane
from quorumlog.replica.groups import Groups
from quorumlog.replica.ids import CONTROLLER_GROUP, node_of
from quorumlog.replica.mesh import Mesh
from quorumlog.replica.offset_desk import OffsetDesk
from quorumlog.replica.transfers import Transfers

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from quorumlog.replica.events import Event
    from quorumlog.replica.partition import PartitionService
    from quorumlog.replica.reads import Owner
    from quorumlog.replica.replica import Replica
    from quorumlog.storage import NodeDirectory

#: Ticks of idleness before a group goes quiet: long enough not to do so between two appends of a steady trickle.
QUIET_AFTER_TICKS = 10
#: Deadlines are looked at this often.
_EXPIRE_EVERY_TICKS = 2


class Node:
    """See the module and ``quorumlog.replica.api``. Every method is called from one thread and returns at once."""

    def __init__(
        self,
        config: NodeConfig,
        directory: NodeDirectory,
        clock: Clock,
        rng: random.Random,
        on_event: Callable[[Event], None],
    ) -> None:
        self.config = config
        self._clock = clock
        self.emit = on_event
        self._replicas: dict[int, Replica] = {}
        self._touched: list[Replica] = []
        self._awake: dict[int, Replica] = {}
        self._watched: dict[int, Replica] = {}
        self._jobs: list[Job] = []
        self._ticks = 0
        self._stopping = False
        self._budget = ByteBudget(config.max_in_flight_bytes)
        campaigns = Campaigns(rng)
        self._mesh = Mesh(
            config,
            directory.incarnation << 32,
            self._replicas,
            campaigns,
            self._ranking,
            self.touch,
            on_event,
            clock.now_ms(),
        )
        self._transfers = Transfers(self._mesh, self._replicas, clock.now_ms, self.submit, self.touch)
        self._groups = Groups(config, directory, self._replicas, self, self._budget, rng)
        self._catalog = Catalog(config, self._groups, self._mesh)
        self.consumer_groups = ConsumerGroups(config, self._groups, self._catalog, self._refusal)
        self._care = Care(config, self._groups, self._mesh, clock)
        self.offsets = OffsetDesk(config, clock, self._groups, self._serving)

    # --- life ---

    def start(self) -> None:
        """Opens every group on the disk (blocking), and the controller's if it is not there yet.

        Raises quorumlog.storage.StorageError when the directory as a whole cannot be used; a damaged replica is
        reported as an event and repaired from the others.
        """
        self._groups.open_all(self._reconcile)

    def begin_shutdown(self) -> None:
        """Refuses new requests from here on and hands leadership over; ``led_groups`` tells how far that is."""
        self._stopping = True
        self._care.hand_over_all()

    @property
    def led_groups(self) -> int:
        """Groups that this node leads."""
        return sum(replica.raft.is_leader for replica in self._replicas.values())

    def close(self) -> None:
        """Closes the logs; what waits is told. Nothing may be called afterwards."""
        self._stopping = True
        self._groups.close_all(Failure(Reason.SHUTTING_DOWN, "the node is shutting down"))

    # --- the host that replicas see ---

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def wall_ms(self) -> int:
        return self._clock.wall_ms()

    def touch(self, replica: Replica) -> None:
        if not replica.touched:
            replica.touched = True
            self._touched.append(replica)

    def send(self, group_id: int, message: Message) -> None:
        if type(message) is InstallCheckpoint:
            self._transfers.begin(self._replicas[group_id], message)
        else:
            self._mesh.send(group_id, message)

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def watch(self, replica: Replica) -> None:
        self._watched[replica.group_id] = replica

    def opened(self, replica: Replica) -> None:
        self.emit(ReplicaOpened(replica.group_id, replica.log.last_index))
        for what in replica.log.repaired:
            self.emit(LogRepaired(replica.group_id, what))
        self._mesh.plan(replica, self._clock.now_ms())
        self.touch(replica)

    def reachable(self, node_id: int) -> bool:
        return self._mesh.reachable(node_id)

    def quarantine(self, replica: Replica, why: str) -> None:
        self._awake.pop(replica.group_id, None)
        self._groups.quarantine(replica, why)

    # --- inputs ---

    def tick(self) -> None:
        """One tick has passed."""
        self._ticks += 1
        now_ms = self._clock.now_ms()
        self._mesh.tick(now_ms)
        absent: frozenset[int] | None = None
        for replica in tuple(self._awake.values()):
            self._guarded(replica, replica.raft.tick)
            self.touch(replica)
            if replica.raft.idle:
                replica.idle_ticks += 1
                if replica.idle_ticks >= QUIET_AFTER_TICKS:
                    absent = self._mesh.absent() if absent is None else absent
                    members = replica.raft.configuration.voters | replica.raft.configuration.learners
                    replica.raft.become_quiet(frozenset(member for member in members if node_of(member) in absent))
            else:
                replica.idle_ticks = 0
        if self._ticks % _EXPIRE_EVERY_TICKS == 0:
            for replica in tuple(self._watched.values()):
                if replica.closed or not replica.expire(now_ms):
                    del self._watched[replica.group_id]
            self._transfers.expire(now_ms)
        self._care.tick(self._ticks, now_ms)

    def receive(self, frame: Frame) -> None:
        """A frame from another node."""
        if not self._mesh.hear(frame, self._clock.now_ms()):
            return
        replicas = self._replicas
        for group_id, message in frame.messages:
            replica = replicas.get(group_id)
            if replica is not None and message.to == replica.replica_id:
                try:
                    replica.step(message)
                except STOPS_A_REPLICA as error:
                    self.quarantine(replica, str(error))
        for chunk in frame.chunks:
            self._transfers.receive(chunk)
        for result in frame.checkpoint_results:
            self._transfers.result(result)
        for replacement in frame.replacements:
            self._care.replace(replacement)
        for digest in frame.digests:
            self._care.compare(digest)

    def link_up(self, peer: int, lane: Lane) -> None:
        """The outgoing stream to ``peer`` is open: a session begins."""
        self._mesh.link_up(peer, lane, self._clock.now_ms())

    def link_down(self, peer: int, lane: Lane) -> None:
        """The outgoing stream to ``peer`` broke."""
        self._mesh.link_down(peer, lane)
        if lane is Lane.CHECKPOINT:
            self._transfers.peer_gone(peer)

    def peer_lost(self, peer: int) -> None:
        """The peer's connections broke and it refuses new ones: its process is gone."""
        self._mesh.peer_lost(peer, self._clock.now_ms())

    def job_done(self, job: Job) -> None:
        """``job.run`` returned."""
        self._finish(job, None)

    def job_failed(self, job: Job, error: BaseException) -> None:
        """``job.run`` raised ``error``."""
        self._finish(job, error)

    def _finish(self, job: Job, error: BaseException | None) -> None:
        try:
            job.finish(error)
        except STOPS_A_REPLICA as defect:
            replica = self._replicas.get(job.group_id)
            if replica is None:
                raise
            self.quarantine(replica, str(defect))

    # --- the round ---

    def process(self) -> Effects:
        """Does everything that is due."""
        now_ms = self._clock.now_ms()
        self._mesh.campaign(now_ms)
        while self._touched:
            touched, self._touched = self._touched, []
            for replica in touched:
                replica.touched = False
                if not replica.closed:
                    self._guarded(replica, replica.advance)
                    self._note_quiet(replica)
        jobs, self._jobs = self._jobs, []
        return Effects(self._mesh.flush(now_ms), jobs, self._mesh.campaigns.next_ms)

    def _guarded(self, replica: Replica, step: Callable[[], None]) -> None:
        try:
            step()
        except STOPS_A_REPLICA as error:
            self.quarantine(replica, str(error))

    def _note_quiet(self, replica: Replica) -> None:
        if replica.raft.quiet or replica.closed:
            if self._awake.pop(replica.group_id, None) is not None and not replica.closed:
                replica.rest()
            replica.idle_ticks = 0
        else:
            self._awake[replica.group_id] = replica
        if replica.raft.leader is not None:
            self._mesh.campaigns.settled(replica.group_id)

    # --- records ---

    def append(self, topic: str, partition: int, batch: bytes, timeout_ms: int, done: Done[Appended]) -> None:
        """Appends one batch (``quorumlog.wire``) on the partition's leader. ``timeout_ms`` 0: the configured
        one."""
        service = self._serving(topic, partition, done, timeout_ms)
        if service is not None:
            service.append(batch, timeout_ms or self.config.append_timeout_ms, done)

    def read(
        self,
        topic: str,
        partition: int,
        offset: int,
        max_bytes: int,
        max_wait_ms: int,
        done: Done[ReadResult],
        owner: Owner | None = None,
    ) -> Callable[[], None]:
        """Committed batches from ``offset`` on; returns a function that cancels the wait (``done`` is then not
        called). With ``owner`` (a group and its owner epoch): FENCED once somebody else has acquired it."""
        service = self._serving(topic, partition, done)
        if service is None:
            return _nothing
        return service.reads.read(offset, max_bytes, max_wait_ms, done, owner)

    def list_offsets(self, topic: str, partition: int, position: Position, done: Done[OffsetFound]) -> None:
        """Resolves a position; linearizable."""
        service = self._serving(topic, partition, done)
        if service is not None:
            service.reads.find_offset(position, self.config.append_timeout_ms, done)

    def transfer_leadership(self, topic: str, partition: int, node_id: int, done: Done[TransferBegun]) -> None:
        """Hands the partition to ``node_id``, 0 for the preferred one."""
        service = self._serving(topic, partition, done)
        if service is not None:
            service.transfer_to(node_id, done)

    def _serving(
        self, topic: str, partition: int, done: Callable[[Failure], None], timeout_ms: int = 0
    ) -> PartitionService | None:
        """The partition's service on this node; otherwise ``done`` is, or within ``timeout_ms`` (0: the configured
        one) will be, told why not."""
        refusal = self._refusal() or _internal(topic)
        if refusal is not None:
            done(refusal)
            return None
        service = self._catalog.partition(topic, partition)
        if service is None:
            self._explain_absence(topic, partition, done, timeout_ms)
        return service

    def _refusal(self) -> Failure | None:
        """Why nothing is served any more, if so."""
        return Failure(Reason.SHUTTING_DOWN, "the node is shutting down") if self._stopping else None

    def _explain_absence(
        self, topic: str, partition: int, done: Callable[[Failure], None], timeout_ms: int
    ) -> None:
        """Why this node has no such partition. That it does not exist is said only when the controller confirms."""
        failure = self._catalog.why_absent(topic, partition)
        if failure.reason is Reason.NOT_LEADER or failure.reason is Reason.REPLICA_DAMAGED:
            done(failure)
            return

        def confirmed(current: bool) -> None:
            if not current:
                done(Failure(Reason.NO_QUORUM, f"the controller cannot be asked whether {topic!r} exists"))
            else:
                done(self._catalog.why_absent(topic, partition))

        self._groups.confirm(confirmed, timeout_ms)

    # --- topics and producers ---

    def open_producer(self, name: str, done: Done[ProducerOpened]) -> None:
        """A producer id and epoch."""
        self._command(OpenProducer(name), lambda result: done(result))  # type: ignore[arg-type]

    def create_topic(self, name: str, config: TopicConfig, done: Done[TopicCreated]) -> None:
        """Makes a topic over the configured nodes."""
        fault = name_fault(name) or config_fault(config)
        if fault is not None:
            done(Failure(Reason.INVALID_TOPIC, fault.why, fields={"field": fault.field}))
            return

        def made(result: object) -> None:
            if isinstance(result, Created):
                done(TopicCreated(self._catalog.describe_topic(result.topic), result.existed))
            else:
                done(_failure(result))

        self._command(CreateTopic(name, config, self.config.nodes), made)

    def alter_topic(self, change: AlterTopic, done: Done[TopicDescription]) -> None:
        """Changes a topic's settings."""

        def altered(result: object) -> None:
            done(self._catalog.describe_topic(result.topic) if isinstance(result, Altered) else _failure(result))

        self._command(change, altered)

    def delete_topic(self, name: str, done: Done[TopicDeleted]) -> None:
        """Removes a topic and its records for good."""
        self._command(
            DeleteTopic(name), lambda result: done(result if isinstance(result, Failure) else TopicDeleted())
        )

    def _command(
        self, command: CreateTopic | AlterTopic | DeleteTopic | OpenProducer, done: Callable[[object], None]
    ) -> None:
        controller = self._groups.controller
        refusal = self._refusal()
        if refusal is not None:
            done(refusal)
        elif controller is None:
            done(Failure(Reason.REPLICA_DAMAGED, "this node's replica of the controller is damaged"))
        else:
            controller.command(command, self.config.append_timeout_ms, done)

    def metadata(self, topics: Sequence[str], done: Done[Metadata]) -> None:
        """The cluster and ``topics`` (none: all). A topic is left out only when the controller confirms it is not
        there."""
        if all(self._catalog.knows(name) for name in topics):
            done(self._catalog.metadata(topics))
            return

        def confirmed(current: bool) -> None:
            if current:
                done(self._catalog.metadata(topics))
            else:
                done(Failure(Reason.NO_QUORUM, "the controller cannot be asked which topics exist"))

        self._groups.confirm(confirmed)

    def describe(self) -> NodeDescription:
        """This node from within."""
        return NodeDescription(
            self._groups.describe(), self._mesh.describe(self._clock.now_ms()), self._budget.held
        )

    # --- placement ---

    def _reconcile(self) -> None:
        """The controller's state has changed: run what should run here, drop what was deleted."""
        controller = self._groups.controller
        if controller is not None:
            self._groups.reconcile(controller.machine)
            self._catalog.rebuild(controller.machine)
            self.consumer_groups.topics_changed()

    def _ranking(self, group_id: int) -> tuple[int, ...]:
        """The nodes of a group in the order in which they should lead."""
        if group_id == CONTROLLER_GROUP:
            return self.config.nodes
        return self._groups.replica_nodes(group_id)


def _internal(topic: str) -> Failure | None:
    """Why the topic is not for users, if so."""
    fault = internal_fault(topic)
    return None if fault is None else Failure(Reason.INVALID_TOPIC, fault.why, fields={"topic": topic})


def _failure(result: object) -> Failure:
    if isinstance(result, Failure):
        return result
    return Failure(Reason.INTERNAL, f"unexpected result {result!r}", Outcome.UNKNOWN)


def _nothing() -> None:
    pass
