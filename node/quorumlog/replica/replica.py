"""One replica of one group: the Raft core, its log and its state machine, and what must precede what.

The core returns work and never does it; here the work is put in order: messages leave at once, entries are staged
and written, acknowledgements leave when the write is durable, committed entries are applied, reads are answered
once what they must see has been applied (the contract stands on ``quorumlog.raft.types.Ready``). While one write
runs, everything that arrives is staged for the next: group commit needs no code of its own.

Prior art: etcd's raft.Node/Ready loop, CockroachDB's ``replica_raft.go``, rabbitmq/ra's separation of server and
log.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from quorumlog.raft import NoLeader, NotLeader, NotVoter, ensure
from quorumlog.raft.types import (
    Checkpoint,
    ConfigurationChange,
    Entry,
    EntryKind,
    InstallCheckpoint,
    Message,
    Ready,
    ReplicaId,
)
from quorumlog.replica.api import Job, JobPriority, Runnable
from quorumlog.replica.barriers import Barriers
from quorumlog.replica.digests import EVERY as DIGEST_EVERY
from quorumlog.replica.digests import DigestLedger
from quorumlog.replica.events import (
    CheckpointInstalled,
    CheckpointSaved,
    DiskFreed,
    DiskFull,
    DiskStalled,
    LeaderElected,
    LeadershipLost,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.engines import Core, EngineMessage
    from quorumlog.machine import StateMachine
    from quorumlog.replica.seam import Host, Service
    from quorumlog.storage import CheckpointInbox, PartitionLog
    from quorumlog.storage.log import Job as StorageJob


class Replica:
    """See the module. All methods are called from the node's one thread of control."""

    __slots__ = (
        "_barriers",
        "_committed",
        "_host",
        "_inbox_path",
        "_installing",
        "_leader",
        "_leading_since_ms",
        "_leading_term",
        "_reading_since_ms",
        "_saved",
        "_stalled",
        "_unpersisted",
        "_writing",
        "_writing_since_ms",
        "closed",
        "digests",
        "disk_full",
        "drop_due",
        "group_id",
        "idle_ticks",
        "inbox",
        "leaderless_since_ms",
        "log",
        "machine",
        "raft",
        "replica_id",
        "service",
        "touched",
    )

    def __init__(
        self,
        group_id: int,
        replica_id: ReplicaId,
        log: PartitionLog,
        inbox: CheckpointInbox,
        machine: StateMachine,
        raft: Core,
        first_context: int,
        host: Host,
    ) -> None:
        self.group_id = group_id
        self.replica_id = replica_id
        self.log = log
        self.machine = machine
        self.raft = raft
        self.service: Service
        self._host = host
        self._barriers = Barriers(first_context)
        self._leader: ReplicaId | None = None
        self.leaderless_since_ms = host.now_ms()
        self.idle_ticks = 0
        self.digests = DigestLedger()
        self._unpersisted: deque[tuple[int, bool, tuple[Message, ...]]] = deque()
        self._committed: deque[Entry] = deque()
        self._saved = 0
        self._writing = False
        self._writing_since_ms = 0
        self._reading_since_ms = 0
        self._stalled = False
        self.drop_due = False
        self.inbox = inbox
        self._inbox_path = ""
        self._installing: Ready | None = None
        self._leading_term = 0
        self._leading_since_ms = 0
        self.touched = False
        self.closed = False
        self.disk_full = False

    # --- inputs ---

    def step(self, message: Message | EngineMessage) -> None:
        self.raft.step(message)
        self._host.touch(self)

    def propose(self, kind: EntryKind, data: bytes) -> int:
        """Appends to the leader's log; returns the index. Raises what ``Raft.propose`` raises."""
        index = self.raft.propose(kind, data)
        self._host.touch(self)
        return index

    def barrier(self, deadline_ms: int, done: Callable[[bool], None]) -> None:
        """Calls ``done(True)`` once this replica has applied everything that was committed, anywhere, when the
        barrier was asked for (ReadIndex, dissertation §6.4); ``done(False)`` if that cannot be confirmed by the
        deadline."""
        context = self._barriers.next_context()
        try:
            self.raft.read_index(context)
        except NoLeader:
            done(False)
            return
        self._barriers.ask(context, deadline_ms, done)
        self._host.touch(self)
        self._host.watch(self)

    def transfer_leadership(self, to: ReplicaId) -> bool:
        """Begins to hand the group over; False if it cannot."""
        try:
            self.raft.transfer_leadership(to)
        except (NotLeader, NotVoter):
            return False
        self._host.touch(self)
        return True

    def change_configuration(self, change: ConfigurationChange) -> None:
        """Begins a change of members. Raises what ``Raft.propose_configuration`` raises."""
        self.raft.propose_configuration(change)
        self._host.touch(self)

    # --- the loop ---

    def advance(self) -> None:
        """Takes everything the core has ready and sets it going."""
        raft = self.raft
        self.service.flush()
        while self._installing is None and raft.has_ready():
            ready = raft.ready()
            send, group_id = self._host.send, self.group_id
            for message in ready.messages:
                send(group_id, message)
            for context in ready.dropped_reads:
                self._barriers.drop(context)
            if ready.checkpoint is not None:
                self._install(ready)
                break
            self._persist(ready)
            self._committed.extend(ready.committed_entries)
            for state in ready.read_states:
                self._barriers.confirm(state.context, state.index)
            if ready.read_states:
                self._barriers.serve(self.machine.applied_index)
        if self._committed:
            self._apply()
        self._notice_leadership()
        self._submit_work()

    def _persist(self, ready: Ready) -> None:
        staged = ready.must_persist
        if staged:
            self.log.stage(ready.number, ready.hard_state, ready.entries)
        self._unpersisted.append((ready.number, staged, ready.persisted_messages))
        if not staged and len(self._unpersisted) == 1:
            self._release(0)

    def _release(self, written: int) -> None:
        """Everything up to Ready ``written`` is durable, and so is what follows it and needed no write."""
        unpersisted = self._unpersisted
        released = 0
        send, group_id = self._host.send, self.group_id
        while unpersisted and (unpersisted[0][0] <= written or not unpersisted[0][1]):
            released, _, messages = unpersisted.popleft()
            for message in messages:
                send(group_id, message)
        if released:
            self.raft.on_persisted(released)

    def _apply(self) -> None:
        """Applies what is committed, as far as it is durable *here*.

        Commitment alone would allow more; but then a segment could be sealed after the state had passed its end,
        and a checkpoint must hold the state at exactly that point. It costs nothing: a leader's own write began
        before its followers heard of the entry.
        """
        committed, durable = self._committed, self.log.durable_index
        if not committed or committed[0].index > durable:
            return
        apply, applied, digests = self.machine.apply, self.service.applied, self.digests
        boundary = self._next_boundary()
        last = 0
        while committed and (entry := committed[0]).index <= durable:
            committed.popleft()
            last = entry.index
            applied(entry, apply(entry))
            if not last % DIGEST_EVERY:
                digests.note(last, self.machine.digest)
            if last == boundary:
                self._save_checkpoint(boundary)
                boundary = self._next_boundary()
        self.raft.on_applied(last)
        self.service.advanced()
        self._barriers.serve(self.machine.applied_index)

    def _next_boundary(self) -> int:
        """The end of the next sealed segment that needs a checkpoint; saves the one that the state stands at. 0 if
        none."""
        applied = self.machine.applied_index
        for boundary in self.log.sealed_boundaries:
            if boundary > applied:
                return boundary
            if boundary == applied:
                self._save_checkpoint(boundary)
        return 0

    def _save_checkpoint(self, boundary: int) -> None:
        if boundary <= self._saved:
            return
        self._saved = boundary
        checkpoint = Checkpoint(boundary, self.log.term(boundary), self.raft.configuration_at(boundary))
        job = self.log.checkpoint_job(checkpoint, self.machine.snapshot())

        def saved() -> None:
            self.drop_due = True
            self._host.emit(CheckpointSaved(self.group_id, boundary))

        self._submit(job, JobPriority.MAINTENANCE, saved)

    def rest(self) -> None:
        """Nothing is going on in the group: the log is left so that damage to its last write can be told from a
        torn one."""
        if self.log.vouch(self.machine.applied_index):
            self._host.touch(self)

    # --- what waits ---

    def wake(self) -> None:
        """The service has something to flush."""
        self._host.touch(self)

    def watch(self) -> None:
        """The service has taken on something with a deadline."""
        self._host.watch(self)

    def expire(self, now_ms: int) -> bool:
        """Ends what has waited too long; whether anything still waits."""
        self.service.tick(now_ms)
        self._barriers.expire(now_ms)
        return bool(self._barriers or self.service.waiting)

    # --- leadership ---

    def led_for_ms(self, now_ms: int) -> int:
        """For how long this replica has led without a break; 0 if it does not."""
        return now_ms - self._leading_since_ms if self._leading_term else 0

    @property
    def leading(self) -> bool:
        """The service was told that it leads, and has not been told otherwise."""
        return self._leading_term != 0

    def _notice_leadership(self) -> None:
        raft = self.raft
        leader = raft.leader
        if leader != self._leader:
            self._leader = leader
            if leader is None:
                self.leaderless_since_ms = self._host.now_ms()
        # By term, not by role: leadership lost and won again within one round is another leadership, and what waits
        # from the first must not be answered by the second.
        if self._leading_term and (not raft.is_leader or raft.term != self._leading_term):
            self._host.emit(LeadershipLost(self.group_id, self._leading_term))
            self._leading_term = 0
            self.service.deposed()
        if not self._leading_term and raft.can_serve:
            self._leading_term = raft.term
            self._leading_since_ms = self._host.now_ms()
            self._host.emit(LeaderElected(self.group_id, raft.term))
            self.service.leading()

    # --- the disk ---

    def _submit_work(self) -> None:
        log = self.log
        if not self._writing:
            if self.drop_due:
                self._drop_segments()
            self._submit_write()
        read = log.read_job()
        if read is not None:
            self._reading_since_ms = self._host.now_ms()
            self._submit(read, JobPriority.READ, self.raft.on_entries_loaded)
        if log.wish_denied():
            self.raft.on_entries_loaded()
            self._host.touch(self)
        maintenance = log.maintenance_job()
        if maintenance is not None:
            self._submit(maintenance, JobPriority.MAINTENANCE, _nothing)

    def _submit_write(self) -> None:
        write = self.log.write_job()
        if write is None:
            return
        number = write.number
        self._begin_write()

        def written() -> None:
            if self.disk_full:
                self.disk_full = False
                self._host.emit(DiskFreed(self.group_id))
            self._release(number)
            if self._installing is not None and number >= self._installing.number:
                self._load_installed(self._installing)

        self._submit(write, JobPriority.WRITE, written)

    def retry_full_disk(self) -> None:
        """Tries the writes that found no space once more; the node calls it now and then while ``disk_full``.

        A leader also tries once more to hand over: the first time nobody may have been there to take it.
        """
        self._step_aside()
        self.log.resume()
        self._host.touch(self)

    def _drop_segments(self) -> None:
        """Removes whole segments whose records all lie below the log's start, as far as checkpoints allow."""
        self.drop_due = False
        job = self.log.retain_job(self.service.start_offset)
        if job is not None:
            self._submit(job, JobPriority.MAINTENANCE, _nothing)

    def run_read(self, work: StorageJob, done: Callable[[BaseException | None], None]) -> None:
        """Runs a read of this log's files; ``done`` gets None, or why it failed."""
        self._submit(work, JobPriority.READ, lambda: done(None), done)

    def scrub(self, work: StorageJob, done: Callable[[bool], None]) -> None:
        """Verifies some of this log's files; ``done`` is told whether that failed (and damage has taken the replica
        out of service)."""
        self._submit(work, JobPriority.MAINTENANCE, lambda: done(False), lambda _: done(True))

    def _submit(
        self,
        work: StorageJob,
        priority: JobPriority,
        done: Callable[[], None],
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        def finish(error: BaseException | None) -> None:
            if priority is JobPriority.WRITE:
                self._writing = False
            if self.closed:
                self._close_log()
            elif error is None:
                self.log.on_done(work)
                done()
                self._host.touch(self)
            else:
                self.log.on_failed(work, error)
                self._judge_failure(error)
            if failed is not None and (error is not None or self.closed):
                failed(error or OSError("the replica went out of service"))

        self._host.submit(Job(self.group_id, priority, work, finish))

    def _judge_failure(self, error: BaseException) -> None:
        """Space may come back, and a missing file may be retention's doing; anything else is final (RAFT.md §3: a
        failed fsync is never tried again, because the kernel may hold the page for clean)."""
        if self.log.failed is not None:
            self._host.quarantine(self, f"disk: {error}")
        elif self.log.full and not self.disk_full:
            self.disk_full = True
            self._host.emit(DiskFull(self.group_id))
            self._step_aside()

    def _begin_write(self) -> None:
        self._writing = True
        self._writing_since_ms = self._host.now_ms()

    def leave_stalled_disk(self, now_ms: int, patience_ms: int) -> None:
        """On a leader whose write, or reading of entries that it has to apply or to send, has been under way for
        longer than ``patience_ms``: hands over.

        A disk that hangs raises no error, and its node goes on sending heartbeats: the followers stand by a leader
        that commits with *their* disks and can apply and acknowledge nothing, for as long as its own disk likes. It
        cannot win another election meanwhile: its vote for itself waits for the same disk.
        """
        since_ms = [self._writing_since_ms] if self._writing else []
        since_ms += [self._reading_since_ms] if self.log.reading else []
        stalled_ms = now_ms - min(since_ms, default=now_ms)
        if stalled_ms <= patience_ms:
            self._stalled = False
            return
        if not self.raft.is_leader:
            return
        if not self._stalled:
            self._stalled = True
            self._host.emit(DiskStalled(self.group_id, stalled_ms))
        self._step_aside(unreadable=self.log.reading)

    def _step_aside(self, *, unreadable: bool = False) -> None:
        """A leader that cannot write is of no use to its followers: hand over to the one that has most; or, if what
        that one lacks is ``unreadable`` as well, let them elect."""
        raft = self.raft
        if not raft.is_leader:
            return
        status = raft.status()
        followers = [
            follower
            for follower in status.followers
            if follower.recent_active and follower.replica in raft.configuration.voters
        ]
        if not followers:
            return
        best = max(followers, key=lambda follower: (follower.match, -follower.replica))
        if unreadable and best.match < status.last_index:
            raft.resign()
        else:
            self.transfer_leadership(best.replica)

    # --- installing a checkpoint ---

    def install(self, message: InstallCheckpoint, path: str) -> None:
        """The checkpoint that ``message`` announces is complete, verified and durable at ``path``."""
        self.advance()
        self._inbox_path = path
        self.raft.step(message)
        self._host.touch(self)
        self.advance()

    def _install(self, ready: Ready) -> None:
        """Has the log replaced. Until the state machine has been replaced too, nothing more is taken from the
        core."""
        checkpoint = ready.checkpoint
        ensure(checkpoint is not None and not ready.entries, "a checkpoint comes without entries")
        self._installing = ready
        self._committed.clear()
        if ready.hard_state is not None:
            self.log.stage(ready.number, ready.hard_state, ())
        self._unpersisted.append((ready.number, True, ready.persisted_messages))
        job = self.log.install_checkpoint_job(ready.number, checkpoint, self._inbox_path)  # type: ignore[arg-type]
        if job is not None:
            self._begin_write()
            self._submit(job, JobPriority.WRITE, lambda: self._installed(ready))

    def _installed(self, ready: Ready) -> None:
        self._release(ready.number)
        self._load_installed(ready)

    def _load_installed(self, ready: Ready) -> None:
        """The log begins at the checkpoint; the state machine follows."""
        load = LoadState(self.log)

        def loaded() -> None:
            checkpoint = ready.checkpoint
            ensure(checkpoint is not None, "an installation has a checkpoint")
            self.machine.restore(load.state)
            self._saved = checkpoint.index  # type: ignore[union-attr]
            self._installing = None
            self.raft.on_applied(checkpoint.index)  # type: ignore[union-attr]
            self.service.advanced()
            self._barriers.serve(self.machine.applied_index)
            self._host.emit(CheckpointInstalled(self.group_id, checkpoint.index))  # type: ignore[union-attr]

        def failed(error: BaseException) -> None:
            self._host.quarantine(self, f"an installed checkpoint cannot be read: {error}")

        self._submit_plain(load, loaded, failed)

    def _submit_plain(
        self, work: Runnable, done: Callable[[], None], failed: Callable[[BaseException], None]
    ) -> None:
        """Blocking work that is not the log's own."""

        def finish(error: BaseException | None) -> None:
            if self.closed:
                return
            if error is None:
                done()
                self._host.touch(self)
            else:
                failed(error)

        self._host.submit(Job(self.group_id, JobPriority.READ, work, finish))

    def close(self) -> None:
        """Out of service: what waits for a confirmation is refused; the log's files are closed once no write is
        under way."""
        if self.closed:
            return
        self.closed = True
        self._barriers.fail()
        self.raft.close()
        self._close_log()

    def _close_log(self) -> None:
        if not self._writing:
            self.log.close()


class LoadState:
    """Reads the newest checkpoint's state; afterwards ``state``."""

    __slots__ = ("_log", "state")

    def __init__(self, log: PartitionLog) -> None:
        self._log = log
        self.state = b""

    def run(self) -> None:
        self.state = self._log.read_checkpoint()


def _nothing() -> None:
    pass
