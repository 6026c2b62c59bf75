"""A partition's service: appends, on the replica that leads it; ``reads`` and ``offsets`` have the rest.

A record's offset is assigned when its batch is proposed, so a repeat must be recognised before that
(``quorumlog.machine.gate`` tells the story). Requests that arrive while leadership is being taken up or handed over
wait a moment instead of being sent away: the client would only come back.
"""

from __future__ import annotations

from itertools import pairwise
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
from quorumlog.replica.api import Appended, Done, TransferBegun
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.ids import node_of
from quorumlog.replica.offsets import PartitionOffsets
from quorumlog.replica.proposals import Proposals
from quorumlog.replica.reads import PartitionReads
from quorumlog.replica.refusals import Refusals, fenced, out_of_sequence, overloaded
from quorumlog.wire.batch import validate
from quorumlog.wire.errors import BatchTooLarge, CorruptBatch, MalformedBatch
from quorumlog.wire.header import BatchHeader, with_base_offset

if TYPE_CHECKING:
    from quorumlog.machine import DesiredGroup
    from quorumlog.replica.api import OffsetPolicy
    from quorumlog.replica.budget import ByteBudget
    from quorumlog.replica.replica import Replica
    from quorumlog.replica.seam import Host

_COMMAND = EntryKind.COMMAND
#: Requests that may wait for a leader to be ready, per partition.
MAX_HELD = 10_000


class HeldAppend:
    """An append that waits for this replica to be able to serve."""

    __slots__ = ("batch", "deadline_ms", "done")

    def __init__(self, batch: bytes, deadline_ms: int, done: Done[Appended]) -> None:
        self.batch = batch
        self.deadline_ms = deadline_ms
        self.done = done


class PartitionService:
    """See the module. One per partition replica; implements ``quorumlog.replica.seam.Service``."""

    __slots__ = (
        "_budget",
        "_dropped_below",
        "_gate",
        "_held",
        "_machine",
        "_now_ms",
        "_proposals",
        "_replica",
        "config",
        "offsets",
        "partition",
        "preferred_node",
        "reads",
        "refuse",
        "topic",
    )

    def __init__(
        self,
        replica: Replica,
        machine: PartitionMachine,
        budget: ByteBudget,
        patience_ms: int,
        policy: OffsetPolicy,
        host: Host,
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
        self._now_ms = host.now_ms
        self._proposals = Proposals()
        self._held: list[HeldAppend] = []
        self.refuse = Refusals(replica, patience_ms, host.now_ms)
        self.reads = PartitionReads(replica, machine, self.refuse, host.now_ms)
        self.offsets = PartitionOffsets(replica, machine, self.reads, self.refuse, budget, policy, host)

    def bind(self, group: DesiredGroup) -> None:
        """The controller says which partition this is, and how it is set. Until then no request finds its way
        here."""
        self.topic = group.topic
        self.partition = group.partition
        self.preferred_node = group.replicas[0]
        self.refuse.name = f"{group.topic}/{group.partition}"
        self.offsets.lags.topic, self.offsets.lags.partition = group.topic, group.partition
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
            done(self.refuse.not_leader())

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
            done(out_of_sequence(refusal))
            return
        except ProducerFenced as refusal:
            done(fenced(refusal))
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
            done(overloaded("too many bytes in flight on this node"))
            return
        try:
            index = self._replica.propose(EntryKind.DATA, with_base_offset(batch, base_offset))
        except (NotLeader, Overloaded, Transferring) as error:
            self._budget.give_back(size)
            if isinstance(error, Overloaded):
                done(overloaded("too many bytes of this partition are not yet committed"))
            elif isinstance(error, Transferring):
                self._hold(batch, deadline_ms, done)
            else:
                done(self.refuse.not_leader())
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

    # --- leadership ---

    def transfer_to(self, node_id: int, done: Done[TransferBegun]) -> None:
        """Begins to hand the partition to the replica on ``node_id``, 0 for the preferred one."""
        target = node_id or self.preferred_node
        configuration = self._replica.raft.configuration
        replicas = sorted(voter for voter in configuration.voters if node_of(voter) == target)
        if not self._replica.leading:
            done(self.refuse.not_leader())
        elif not replicas:
            why = f"node {target} holds no voting replica of {self.refuse.name}"
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
        segments = log.segments()
        going: list[tuple[int, int]] = []
        for segment, following in pairwise(segments):
            old = config.retention_ms and segment.max_timestamp_ms + config.retention_ms < wall_ms
            big = config.retention_bytes and size - segment.bytes >= config.retention_bytes
            if not (old or big):
                break
            size -= segment.bytes
            # Where the next segment begins is exact; where this one ends may be told too high, if uncommitted
            # records at its end were discarded.
            ends = following.first_offset if following.first_offset is not None else segment.end_offset
            start = max(start, ends or 0)
            if segment.first_offset is not None:
                going.append((segment.first_offset, segment.bytes))
        start = self.offsets.retention_floor(min(start, self._machine.end_offset), going)
        if start > self._machine.start_offset:
            try:
                self._replica.propose(EntryKind.COMMAND, Retain(start).encode())
            except (NotLeader, Overloaded, Transferring):
                return

    # --- what the replica tells ---

    def flush(self) -> None:
        self.offsets.flush()

    def applied(self, entry: Entry, result: object) -> None:
        self._gate.applied(entry.index)
        if entry.kind is _COMMAND:
            self.offsets.applied(entry, result)
        else:
            self._proposals.applied(entry.index, result)

    def advanced(self) -> None:
        machine = self._machine
        if machine.start_offset != self._dropped_below:
            self._dropped_below = machine.start_offset
            self._replica.drop_due = True
        self.reads.advanced()
        self.offsets.advanced()

    def leading(self) -> None:
        self._gate.reset()
        self._serve_held()
        self.offsets.leading()

    def deposed(self) -> None:
        self._gate.reset()
        failure = self.refuse.not_leader(Outcome.UNKNOWN)
        for settled in self._proposals.take_all():
            settled(failure)
        self._refuse_waiting(self.refuse.not_leader())
        self.offsets.deposed()

    def _serve_held(self) -> None:
        held, self._held = self._held, []
        for append in held:
            self._append_now(append.batch, append.deadline_ms, append.done)

    def _refuse_waiting(self, failure: Failure) -> None:
        held, self._held = self._held, []
        for append in held:
            append.done(failure)
        self.reads.refuse_all(failure)

    def tick(self, now_ms: int) -> None:
        """Ends what has waited too long, and takes up again what waited for a hand-over that did not happen."""
        for settled in self._proposals.expired(now_ms):
            settled(self.refuse.unconfirmed())
        if self._held:
            late = [append for append in self._held if append.deadline_ms <= now_ms]
            self._held = [append for append in self._held if append.deadline_ms > now_ms]
            for append in late:
                append.done(Failure(Reason.NO_QUORUM, "the leader could not take up its office in time"))
            if not self._replica.raft.is_leader:
                self._refuse_waiting(self.refuse.not_leader())
            elif self._replica.leading:
                self._serve_held()
        self.reads.expire(now_ms)
        self.offsets.tick(now_ms)

    def close(self, failure: Failure) -> None:
        """The replica goes out of service: everything that waits is told so."""
        unknown = Failure(failure.reason, failure.message, Outcome.UNKNOWN, failure.leader_node)
        for settled in self._proposals.take_all():
            settled(unknown)
        self._refuse_waiting(failure)
        self.offsets.close(failure)

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
        return len(self._proposals) + len(self._held) + len(self.reads) + self.offsets.waiting
