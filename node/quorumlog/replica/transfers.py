"""The node's checkpoint transfers, in both directions (``quorumlog.replica.transfer``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.raft.types import InstallCheckpoint, ReplicaId
from quorumlog.replica.api import Job, JobPriority
from quorumlog.replica.frames import CheckpointChunk, CheckpointResult, Lane
from quorumlog.replica.ids import node_of
from quorumlog.replica.transfer import CHUNK_BYTES, PATIENCE_MS, Sending
from quorumlog.storage import TransferKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.replica.mesh import Mesh
    from quorumlog.replica.replica import Replica


class Transfers:
    """See the module. ``submit`` hands a job to the node's host."""

    __slots__ = ("_mesh", "_now_ms", "_replicas", "_sending", "_submit", "_touch")

    def __init__(
        self,
        mesh: Mesh,
        replicas: dict[int, Replica],
        now_ms: Callable[[], int],
        submit: Callable[[Job], None],
        touch: Callable[[Replica], None],
    ) -> None:
        self._mesh = mesh
        self._replicas = replicas
        self._now_ms = now_ms
        self._submit = submit
        self._touch = touch
        self._sending: dict[tuple[int, ReplicaId], Sending] = {}

    # --- sending ---

    def begin(self, replica: Replica, message: InstallCheckpoint) -> None:
        """The core wants ``message.to`` to have the checkpoint; one transfer at a time to each follower."""
        key = (replica.group_id, message.to)
        under_way = self._sending.get(key)
        if under_way is not None:
            if under_way.announcement == message:
                return
            self._drop(under_way)
        reader = replica.log.checkpoint_reader(message.checkpoint)
        if reader is None or self._mesh.outgoing(node_of(message.to), Lane.CHECKPOINT) is None:
            replica.raft.report_checkpoint(message.to, False)
            return
        sending = Sending(replica.group_id, message, reader, self._now_ms())
        self._sending[key] = sending
        self._read_chunk(sending)

    def _read_chunk(self, sending: Sending) -> None:
        work = sending.reader.chunk_job(sending.position, CHUNK_BYTES)
        sending.reading = True

        def finish(error: BaseException | None) -> None:
            sending.reading = False
            if self._sending.get((sending.group_id, sending.announcement.to)) is not sending:
                sending.reader.close()
                return
            lane = self._mesh.outgoing(node_of(sending.announcement.to), Lane.CHECKPOINT)
            if error is not None or lane is None or not work.data:
                self._end(sending, False)
            else:
                lane.chunks.append(sending.chunk(work.data))

        replica = self._replicas.get(sending.group_id)
        if replica is None:
            finish(OSError("the replica went out of service"))
        else:
            # As the replica's own read: a checkpoint that turns out to be damaged takes it out of service.
            replica.run_read(work, finish)

    def result(self, result: CheckpointResult) -> None:
        """The receiver says how far it is."""
        sending = self._sending.get((result.group_id, result.sender))
        if sending is None or sending.reading or sending.announcement.term != result.term:
            return
        if sending.announcement.checkpoint.index != result.index:
            return
        if result.installed:
            self._end(sending, True)
        elif result.position <= sending.position:
            self._end(sending, False)
        else:
            sending.position = result.position
            sending.deadline_ms = self._now_ms() + PATIENCE_MS
            self._read_chunk(sending)

    def expire(self, now_ms: int) -> None:
        """Gives up transfers that nobody answers."""
        for sending in [item for item in self._sending.values() if item.deadline_ms <= now_ms]:
            self._end(sending, False)

    def peer_gone(self, peer: int) -> None:
        """Chunks under way to ``peer`` were lost."""
        for sending in [item for item in self._sending.values() if node_of(item.announcement.to) == peer]:
            self._end(sending, False)

    def _end(self, sending: Sending, installed: bool) -> None:
        self._drop(sending)
        replica = self._replicas.get(sending.group_id)
        if replica is not None:
            replica.raft.report_checkpoint(sending.announcement.to, installed)
            self._touch(replica)

    def _drop(self, sending: Sending) -> None:
        self._sending.pop((sending.group_id, sending.announcement.to), None)
        if not sending.reading:
            sending.reader.close()

    # --- receiving ---

    def receive(self, chunk: CheckpointChunk) -> None:
        """One piece: written, and answered with the position that is wanted next."""
        replica = self._replicas.get(chunk.group_id)
        if replica is None or chunk.to != replica.replica_id:
            return
        key = TransferKey(chunk.term, chunk.index, chunk.sender)
        work = replica.inbox.chunk_job(key, chunk.position, chunk.data, chunk.total_bytes)
        if work is None:
            self._answer(chunk, False, replica.inbox.expected(key))
            return

        def finish(error: BaseException | None) -> None:
            if replica.closed:
                return
            if error is not None:
                replica.inbox.on_failed(work)
                self._answer(chunk, False, 0)
                return
            replica.inbox.on_done(work)
            if work.checkpoint is None:
                self._answer(chunk, False, replica.inbox.expected(key))
            else:
                self._answer(chunk, True, chunk.total_bytes)
                message = InstallCheckpoint(chunk.sender, chunk.to, chunk.term, work.checkpoint)
                replica.install(message, work.path)

        self._submit(Job(chunk.group_id, JobPriority.WRITE, work, finish))

    def _answer(self, chunk: CheckpointChunk, installed: bool, position: int) -> None:
        lane = self._mesh.outgoing(node_of(chunk.sender), Lane.URGENT)
        if lane is not None:
            lane.results.append(
                CheckpointResult(
                    chunk.group_id, chunk.to, chunk.sender, chunk.term, chunk.index, installed, position
                )
            )
