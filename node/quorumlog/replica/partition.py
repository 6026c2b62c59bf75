"""A partition's requests: append, read, look up offsets; on the replica that leads it.

A record's offset is assigned when its batch is proposed, so a repeat must be recognised before that
(``quorumlog.machine.gate`` tells the story). Requests that arrive while leadership is being taken up or handed over
wait a moment instead of being sent away: the client would only come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.machine import Appended as AppliedAppend
from quorumlog.machine import (
    AppendGate,
    Duplicate,
    Fresh,
    OutOfSequence,
    PartitionMachine,
    ProducerFenced,
    Retain,
    TopicConfig,
)
from quorumlog.raft import NotLeader, Overloaded, Transferring
from quorumlog.raft.types import Entry, EntryKind
from quorumlog.replica.api import (
    Appended,
    AtTime,
    Done,
    Earliest,
    OffsetFound,
    Position,
    ReadResult,
    TransferBegun,
)
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.ids import node_of
from quorumlog.replica.proposals import Proposals
from quorumlog.wire.batch import decode_batch, validate
from quorumlog.wire.errors import BatchTooLarge, CorruptBatch, MalformedBatch
from quorumlog.wire.header import BatchHeader, with_base_offset

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.machine import DesiredGroup
    from quorumlog.replica.budget import ByteBudget
    from quorumlog.replica.replica import Replica

#: Requests that may wait for a leader to be ready, per partition.
MAX_HELD = 10_000
OVERLOADED_RETRY_MS = 50


class HeldAppend:
    """An append that waits for this replica to be able to serve."""

    __slots__ = ("batch", "deadline_ms", "done")

    def __init__(self, batch: bytes, deadline_ms: int, done: Done[Appended]) -> None:
        self.batch = batch
        self.deadline_ms = deadline_ms
        self.done = done


class ReadWaiter:
    """A read at the end of the log that waits for something to be committed there."""

    __slots__ = ("deadline_ms", "done", "max_bytes", "offset")

    def __init__(self, offset: int, max_bytes: int, deadline_ms: int, done: Done[ReadResult]) -> None:
        self.offset = offset
        self.max_bytes = max_bytes
        self.deadline_ms = deadline_ms
        self.done = done


class PartitionService:
    """See the module. One per partition replica; implements ``quorumlog.replica.replica.Service``."""

    __slots__ = (
        "_budget",
        "_dropped_below",
        "_gate",
        "_held",
        "_machine",
        "_now_ms",
        "_patience_ms",
        "_proposals",
        "_replica",
        "_waiters",
        "config",
        "partition",
        "preferred_node",
        "topic",
    )

    def __init__(
        self,
        replica: Replica,
        machine: PartitionMachine,
        budget: ByteBudget,
        patience_ms: int,
        now_ms: Callable[[], int],
    ) -> None:
        self.topic = ""
        self.partition = 0
        self.preferred_node = 0
        self.config = TopicConfig().with_defaults(1)
        self._replica = replica
        self._machine = machine
        self._gate = AppendGate(machine)
        self._budget = budget
        self._dropped_below = 0
        self._patience_ms = patience_ms
        self._now_ms = now_ms
        self._proposals = Proposals()
        self._held: list[HeldAppend] = []
        self._waiters: list[ReadWaiter] = []

    def bind(self, group: DesiredGroup) -> None:
        """The controller says which partition this is, and how it is set. Until then no request finds its way
        here."""
        self.topic = group.topic
        self.partition = group.partition
        self.preferred_node = group.replicas[0]
        self.config = group.config
        self._replica.log.set_segment_bytes(group.config.segment_bytes)

    # --- append ---

    def append(self, batch: bytes, timeout_ms: int, done: Done[Appended]) -> None:
        """Appends one batch; ``done`` gets Appended once it is durable on a majority and applied here."""
        replica = self._replica
        deadline_ms = self._now_ms() + timeout_ms
        if replica.leading:
            self._append_now(batch, deadline_ms, done)
        elif replica.raft.is_leader and len(self._held) < MAX_HELD:
            self._hold(batch, deadline_ms, done)
        else:
            done(self.not_leader())

    def _hold(self, batch: bytes, deadline_ms: int, done: Done[Appended]) -> None:
        self._held.append(HeldAppend(batch, deadline_ms, done))
        self._replica.watch()

    def _append_now(self, batch: bytes, deadline_ms: int, done: Done[Appended]) -> None:
        replica = self._replica
        if replica.disk_full:
            done(Failure(Reason.DISK_FULL, "the leader's disk is full"))
            return
        header = self._admit(batch, done)
        if header is None:
            return
        try:
            verdict = self._gate.check(header)
        except OutOfSequence as refusal:
            done(_out_of_sequence(refusal))
            return
        except ProducerFenced as refusal:
            fields = {"current_epoch": str(refusal.current_epoch)}
            done(Failure(Reason.PRODUCER_FENCED, str(refusal), fields=fields))
            return
        if isinstance(verdict, Fresh):
            self._propose(header, batch, verdict.base_offset, deadline_ms, done)
        elif isinstance(verdict, Duplicate):
            done(Appended(verdict.base_offset, True, self._machine.start_offset))
        else:
            self._wait(verdict.index, deadline_ms, 0, True, done)

    def _admit(self, batch: bytes, done: Done[Appended]) -> BatchHeader | None:
        try:
            return validate(batch, self.config.max_batch_bytes)
        except BatchTooLarge as error:
            limit = str(self.config.max_batch_bytes)
            done(Failure(Reason.TOO_LARGE, str(error), fields={"max_batch_bytes": limit}))
        except CorruptBatch as error:
            done(Failure(Reason.CORRUPT_BATCH, str(error)))
        except MalformedBatch as error:
            done(Failure(Reason.MALFORMED_BATCH, str(error)))
        return None

    def _propose(
        self, header: BatchHeader, batch: bytes, base_offset: int, deadline_ms: int, done: Done[Appended]
    ) -> None:
        size = len(batch)
        if not self._budget.take(size):
            done(_overloaded("too many bytes in flight on this node"))
            return
        try:
            index = self._replica.propose(EntryKind.DATA, with_base_offset(batch, base_offset))
        except (NotLeader, Overloaded, Transferring) as error:
            self._budget.give_back(size)
            if isinstance(error, Overloaded):
                done(_overloaded("too many bytes of this partition are not yet committed"))
            elif isinstance(error, Transferring):
                self._hold(batch, deadline_ms, done)
            else:
                done(self.not_leader())
            return
        self._gate.proposed(header, base_offset, index)
        self._wait(index, deadline_ms, size, False, done)

    def _wait(self, index: int, deadline_ms: int, size: int, duplicate: bool, done: Done[Appended]) -> None:
        def settled(result: object) -> None:
            self._budget.give_back(size)
            if isinstance(result, AppliedAppend):
                done(Appended(result.base_offset, duplicate, result.start_offset))
            elif isinstance(result, Failure):
                done(result)
            else:
                done(Failure(Reason.INTERNAL, f"unexpected result {result!r}", Outcome.UNKNOWN))

        self._proposals.add(index, deadline_ms, settled)
        self._replica.watch()

    # --- read ---

    def read(self, offset: int, max_bytes: int, max_wait_ms: int, done: Done[ReadResult]) -> Callable[[], None]:
        """Committed batches from ``offset`` on; waits up to ``max_wait_ms`` at the end. Returns what cancels the
        wait."""
        machine = self._machine
        if not self._replica.leading:
            done(self.not_leader())
        elif not machine.start_offset <= offset <= machine.end_offset:
            done(self._out_of_range(offset))
        elif offset < machine.end_offset:
            self._read_now(offset, max_bytes, done)
        elif max_wait_ms <= 0:
            done(ReadResult([], machine.start_offset, machine.end_offset))
        else:
            waiter = ReadWaiter(offset, max_bytes, self._now_ms() + max_wait_ms, done)
            self._waiters.append(waiter)
            self._replica.watch()
            return lambda: self._cancel(waiter)
        return _nothing

    def _cancel(self, waiter: ReadWaiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _read_now(self, offset: int, max_bytes: int, done: Done[ReadResult]) -> None:
        machine, log = self._machine, self._replica.log
        found = log.read_batches(offset, machine.end_offset, max_bytes)
        if not found.on_disk:
            done(ReadResult(found.batches, machine.start_offset, machine.end_offset))
            return
        job = log.batches_job(offset, machine.end_offset, max_bytes)

        def loaded(error: BaseException | None) -> None:
            if offset < machine.start_offset:
                done(self._out_of_range(offset))
            elif error is not None or job.missing:
                done(self._unreadable(error))
            else:
                done(ReadResult(job.batches, machine.start_offset, machine.end_offset))

        self._replica.run_read(job, loaded)

    # --- offsets ---

    def find_offset(self, position: Position, timeout_ms: int, done: Done[OffsetFound]) -> None:
        """Resolves a position, having confirmed with a majority that nothing newer is committed elsewhere."""
        if not self._replica.leading:
            done(self.not_leader())
            return

        def confirmed(current: bool) -> None:
            if not current:
                done(self.no_quorum())
            elif isinstance(position, AtTime):
                self._find_time(position.timestamp_ms, done)
            else:
                machine = self._machine
                offset = machine.start_offset if isinstance(position, Earliest) else machine.end_offset
                done(OffsetFound(offset, machine.start_offset, machine.end_offset))

        self._replica.barrier(self._now_ms() + timeout_ms, confirmed)

    def _find_time(self, timestamp_ms: int, done: Done[OffsetFound]) -> None:
        """The first batch that holds a record of this time or later, and within it the first such record."""
        machine, log = self._machine, self._replica.log
        job = log.offset_for_time(timestamp_ms, machine.end_offset)

        def answer(offset: int) -> None:
            offset = min(max(offset, machine.start_offset), machine.end_offset)
            done(OffsetFound(offset, machine.start_offset, machine.end_offset))

        def found(error: BaseException | None) -> None:
            if job is None or job.base_offset is None:
                answer(machine.end_offset)
            elif error is not None or job.missing:
                done(self._unreadable(error))
            else:
                self._refine_time(timestamp_ms, job.base_offset, answer)

        if job is None:
            answer(machine.end_offset)
        else:
            self._replica.run_read(job, found)

    def _refine_time(self, timestamp_ms: int, base_offset: int, answer: Callable[[int], None]) -> None:
        def loaded(result: ReadResult | Failure) -> None:
            if isinstance(result, Failure) or not result.batches:
                answer(base_offset)
            else:
                answer(first_at_or_after(result.batches[0], timestamp_ms))

        self._read_now(base_offset, 1, loaded)

    # --- leadership ---

    def transfer_to(self, node_id: int, done: Done[TransferBegun]) -> None:
        """Begins to hand the partition to the replica on ``node_id``, 0 for the preferred one."""
        target = node_id or self.preferred_node
        configuration = self._replica.raft.configuration
        replicas = sorted(voter for voter in configuration.voters if node_of(voter) == target)
        if not self._replica.leading:
            done(self.not_leader())
        elif not replicas:
            why = f"node {target} holds no voting replica of {self.topic}/{self.partition}"
            done(Failure(Reason.INVALID_REQUEST, why, fields={"field": "node_id"}))
        else:
            if replicas[-1] != self._replica.replica_id:
                self._replica.transfer_leadership(replicas[-1])
            done(TransferBegun())

    # --- retention ---

    def retain(self, wall_ms: int) -> None:
        """On the leader: moves the log's start past whole segments that are too old or too many (an entry like any
        other, so that all replicas agree on the first offset)."""
        config, log = self.config, self._replica.log
        if not self._replica.leading or not (config.retention_ms or config.retention_bytes):
            return
        start, size = self._machine.start_offset, log.size_bytes
        for segment in log.segments():
            if not segment.sealed:
                break
            old = config.retention_ms and segment.max_timestamp_ms + config.retention_ms < wall_ms
            big = config.retention_bytes and size - segment.bytes >= config.retention_bytes
            if not (old or big):
                break
            size -= segment.bytes
            start = max(start, segment.end_offset or 0)
        start = min(start, self._machine.end_offset)
        if start > self._machine.start_offset:
            try:
                self._replica.propose(EntryKind.COMMAND, Retain(start).encode())
            except (NotLeader, Overloaded, Transferring):
                return

    # --- what the replica tells ---

    def applied(self, entry: Entry, result: object) -> None:
        self._gate.applied(entry.index)
        self._proposals.applied(entry.index, result)

    def advanced(self) -> None:
        machine = self._machine
        if machine.start_offset != self._dropped_below:
            self._dropped_below = machine.start_offset
            self._replica.drop_due = True
        if self._waiters:
            ready = [waiter for waiter in self._waiters if waiter.offset < machine.end_offset]
            if ready:
                self._waiters = [waiter for waiter in self._waiters if waiter.offset >= machine.end_offset]
                for waiter in ready:
                    self.read(waiter.offset, waiter.max_bytes, 0, waiter.done)

    def leading(self) -> None:
        self._gate.reset()
        self._serve_held()

    def deposed(self) -> None:
        self._gate.reset()
        failure = self.not_leader(Outcome.UNKNOWN)
        for settled in self._proposals.take_all():
            settled(failure)
        self._refuse_waiting(self.not_leader())

    def _serve_held(self) -> None:
        held, self._held = self._held, []
        for append in held:
            self._append_now(append.batch, append.deadline_ms, append.done)

    def _refuse_waiting(self, failure: Failure) -> None:
        held, self._held = self._held, []
        waiters, self._waiters = self._waiters, []
        for append in held:
            append.done(failure)
        for waiter in waiters:
            waiter.done(failure)

    def tick(self, now_ms: int) -> None:
        """Ends what has waited too long, and takes up again what waited for a hand-over that did not happen."""
        for settled in self._proposals.expired(now_ms):
            settled(
                Failure(
                    Reason.NO_QUORUM, "no majority confirmed the append in time", Outcome.UNKNOWN, self.leader_node
                )
            )
        if self._held:
            late = [append for append in self._held if append.deadline_ms <= now_ms]
            self._held = [append for append in self._held if append.deadline_ms > now_ms]
            for append in late:
                append.done(Failure(Reason.NO_QUORUM, "the leader could not take up its office in time"))
            if not self._replica.raft.is_leader:
                self._refuse_waiting(self.not_leader())
            elif self._replica.leading:
                self._serve_held()
        if self._waiters:
            machine = self._machine
            due = [waiter for waiter in self._waiters if waiter.deadline_ms <= now_ms]
            if due:
                self._waiters = [waiter for waiter in self._waiters if waiter.deadline_ms > now_ms]
                for waiter in due:
                    waiter.done(ReadResult([], machine.start_offset, machine.end_offset))

    def close(self, failure: Failure) -> None:
        """The replica goes out of service: everything that waits is told so."""
        unknown = Failure(failure.reason, failure.message, Outcome.UNKNOWN, failure.leader_node)
        for settled in self._proposals.take_all():
            settled(unknown)
        self._refuse_waiting(failure)

    # --- questions ---

    @property
    def replica(self) -> Replica:
        return self._replica

    @property
    def start_offset(self) -> int:
        return self._machine.start_offset

    @property
    def end_offset(self) -> int:
        return self._machine.end_offset

    @property
    def waiting(self) -> int:
        return len(self._proposals) + len(self._held) + len(self._waiters)

    @property
    def leader_node(self) -> int:
        leader = self._replica.raft.leader
        return node_of(leader) if leader else 0

    def no_quorum(self) -> Failure:
        """A read that no majority confirmed; it changed nothing."""
        if not self._replica.raft.is_leader:
            return self.not_leader()
        return Failure(Reason.NO_QUORUM, f"no majority of {self.topic}/{self.partition} answered in time")

    def not_leader(self, outcome: Outcome = Outcome.NOT_DONE) -> Failure:
        """Sends the caller on. A group that has had no leader for longer than an election takes has lost its
        quorum, or this node its way to it; "somebody else leads" would keep the caller looking."""
        leader = self.leader_node
        if not leader and self._now_ms() - self._replica.leaderless_since_ms > self._patience_ms:
            return Failure(
                Reason.NO_QUORUM, f"{self.topic}/{self.partition} has no leader in this node's reach", outcome
            )
        where = f"node {leader} leads it" if leader else "its leader is not known"
        return Failure(
            Reason.NOT_LEADER, f"this node does not lead {self.topic}/{self.partition}; {where}", outcome, leader
        )

    def _unreadable(self, error: BaseException | None) -> Failure:
        return Failure(Reason.REPLICA_DAMAGED, f"the log could not be read: {error or 'a segment is missing'}")

    def _out_of_range(self, offset: int) -> Failure:
        start, end = self._machine.start_offset, self._machine.end_offset
        return Failure(
            Reason.OFFSET_OUT_OF_RANGE,
            f"offset {offset} is not within {start}..{end} of {self.topic}/{self.partition}",
            fields={"offset": str(offset), "start_offset": str(start), "end_offset": str(end)},
        )


def first_at_or_after(batch: bytes, timestamp_ms: int) -> int:
    """The offset of the batch's first record whose time is ``timestamp_ms`` or later; its end if there is none."""
    records = decode_batch(batch)
    return next(
        (record.offset for record in records if record.timestamp_ms >= timestamp_ms), records[-1].offset + 1
    )


def _out_of_sequence(refusal: OutOfSequence) -> Failure:
    """A batch from before what is remembered was appended once, in whole or in part; only a gap is certain not to
    be there."""
    return Failure(
        Reason.OUT_OF_SEQUENCE,
        str(refusal),
        Outcome.UNKNOWN if refusal.before_remembered else Outcome.NOT_DONE,
        fields={"expected_sequence": str(refusal.expected_sequence), "base_sequence": str(refusal.base_sequence)},
    )


def _overloaded(message: str) -> Failure:
    return Failure(Reason.OVERLOADED, message, retry_after_ms=OVERLOADED_RETRY_MS)


def _nothing() -> None:
    pass
