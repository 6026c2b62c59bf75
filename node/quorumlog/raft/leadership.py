"""Everything a replica knows and does because it leads, for one term: it is made when an election is won and thrown
away when leadership ends, so that nothing of an earlier term can be counted in a later one.

It decides: what is proposed, what is committed, who is a member, which reads are confirmed, when to hand over, when
to give up. ``Replication`` carries the log to the others.

Prior art: §3.6, §3.10, §6.4 and chapter 4 of the dissertation; etcd-io/raft ``raft.go`` (stepLeader).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .commitment import Commitment
from .errors import ChangePending, LearnerBehind, NotVoter, Overloaded, TermUncommitted, Transferring
from .membership import encode_configuration, leave_joint, members, plan_change
from .progress import ProgressState
from .quorum import has_quorum
from .reads import ReadRounds
from .replication import Replication
from .types import (
    AppendResponse,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatResponse,
    ReadIndexResponse,
    ReadState,
    ReplicaId,
    TimeoutNow,
)

if TYPE_CHECKING:
    from .config import RaftConfig
    from .log import Log
    from .membership import Membership
    from .outbox import Outbox
    from .types import ConfigurationChange


class Transfer:
    """Leadership on its way to another voter."""

    __slots__ = ("asked", "deadline", "to")

    def __init__(self, to: ReplicaId, deadline: int) -> None:
        self.to = to
        self.deadline = deadline
        self.asked = False
        """TimeoutNow was sent."""


class Leadership:
    """One term at the head of the group."""

    __slots__ = (
        "_config",
        "_id",
        "_lease_end",
        "_lease_forfeit",
        "_log",
        "_membership",
        "_outbox",
        "_proposed",
        "_quorum_due",
        "_term",
        "commitment",
        "heartbeat_due",
        "heartbeat_now",
        "reads",
        "replication",
        "transfer",
        "uncommitted_bytes",
    )

    def __init__(
        self, config: RaftConfig, term: int, log: Log, membership: Membership, outbox: Outbox, tick: int
    ) -> None:
        self._config = config
        self._id = config.replica
        self._term = term
        self._log = log
        self._membership = membership
        self._outbox = outbox
        self.replication = Replication(config, term, log, outbox, members(membership.current))
        self.commitment = Commitment(log.last_index + 1, membership.current, self.replication.progress)
        self.reads = ReadRounds()
        self.transfer: Transfer | None = None
        self.uncommitted_bytes = 0
        self._proposed: deque[tuple[int, int]] = deque()
        """(index, bytes of data) of this term's uncommitted entries, oldest first."""
        self._lease_end = 0
        self._lease_forfeit = False
        self._quorum_due = tick + config.election_ticks
        self.heartbeat_due = tick + config.heartbeat_ticks
        self.heartbeat_now = False
        # §5.4.2 and §8: commits what earlier terms left behind, and tells the new leader where the commit index
        # stands.
        self._append(EntryKind.NOOP, b"")

    # --- questions

    @property
    def established(self) -> bool:
        """An entry of this term is committed: the commit index is up to date, and an earlier change is settled."""
        return self._log.commit >= self.commitment.term_start

    @property
    def has_work(self) -> bool:
        reads = self.reads
        return (
            self.replication.sends_due
            or self.heartbeat_now
            or (reads.gathered and not reads.out and self.established)
        )

    @property
    def deadline(self) -> int:
        """The tick at which ``on_deadline`` has something to do."""
        due = min(self.heartbeat_due, self._quorum_due)
        return due if self.transfer is None else min(due, self.transfer.deadline)

    @property
    def removed(self) -> bool:
        """The committed configuration leaves this replica without a vote: it has led long enough (§4.2.2)."""
        membership = self._membership
        configuration = membership.current
        return (
            not configuration.joint
            and self._id not in configuration.voters
            and membership.current_index <= self._log.commit
        )

    def may_rest(self, absent: frozenset[ReplicaId]) -> bool:
        """Nothing is to be done for anyone, but for the ``absent``, who are no quorum's difference
        (``Raft.idle``)."""
        log = self._log
        last = log.last_index
        if not (self.established and log.applied == log.commit == last):
            return False
        if self.reads.busy or self.transfer is not None or self._membership.current.joint:
            return False
        level = {replica for replica, progress in self.replication.progress.items() if progress.match == last}
        if any(each.replica not in level and each.replica not in absent for each in self.replication.followers):
            return False
        # Of those that can be heard: a leader cut off from a group that is level would rest for good, and never
        # find out that it leads no more.
        return has_quorum(self._membership.current, level - absent)

    # --- proposals

    def propose(self, kind: EntryKind, data: bytes) -> int:
        """Appends an entry; its index. Raises Transferring, Overloaded."""
        if self.transfer is not None:
            raise Transferring(f"to {self.transfer.to}")
        size = len(data)
        # An entry larger than the whole allowance must still pass when nothing is before it.
        if self.uncommitted_bytes and self.uncommitted_bytes + size > self._config.max_uncommitted_bytes:
            raise Overloaded(f"{self.uncommitted_bytes} bytes are uncommitted")
        return self._append(kind, data)

    def propose_configuration(self, change: ConfigurationChange) -> int:
        """Appends the configuration that leads to ``change``; its index. Raises Transferring, ChangeRefused's
        kinds."""
        if self.transfer is not None:
            raise Transferring(f"to {self.transfer.to}")
        self._refuse_if_unsettled()
        self._refuse_if_behind(change)
        configuration = plan_change(self._membership.current, change)
        return self._append(EntryKind.CONFIGURATION, encode_configuration(configuration))

    def _refuse_if_unsettled(self) -> None:
        """One change at a time, and none before this term has committed something.

        Two at once could have majorities that do not meet. And without an entry of its own term committed, a leader
        may not know of a change that an earlier leader began and a majority holds; its own, one voter from the
        *old* configuration, may then be two away from that one (Ongaro's erratum of 2015).
        """
        if not self.established:
            raise TermUncommitted("no entry of this term is committed yet")
        if self._membership.current.joint or self._membership.current_index > self._log.commit:
            raise ChangePending(f"the one at index {self._membership.current_index}")

    def _refuse_if_behind(self, change: ConfigurationChange) -> None:
        """A learner may be promoted when all that is committed has been sent to it and flows. (A replica that was
        not even a learner may be made voter directly: that is how a host asks for it knowingly.)"""
        for replica in sorted(change.voters & self._membership.current.learners):
            progress = self.replication.progress[replica]
            if progress.state is not ProgressState.REPLICATE or progress.next <= self._log.commit:
                raise LearnerBehind(f"learner {replica} holds {progress.match} of {self._log.commit}")

    def _append(self, kind: EntryKind, data: bytes) -> int:
        log = self._log
        index = log.last_index + 1
        entries = (Entry(index, self._term, kind, data),)
        log.append(entries)
        self._proposed.append((index, len(data)))
        self.uncommitted_bytes += len(data)
        self.replication.sends_due = True
        if kind == EntryKind.CONFIGURATION:
            self._membership.note(entries)
            self._on_configuration()
        return index

    def _on_configuration(self) -> None:
        """A configuration took effect, by being appended."""
        self.replication.track(members(self._membership.current), recent_active=True)
        self.commitment.use(self._membership.current, self.replication.progress)
        self._lease_end = 0
        if self.transfer is not None and self.transfer.to not in self._membership.current.voters:
            self.transfer = None
        # Those whose answers were missing may be gone.
        self._finish_round_if_confirmed()
        self.advance_commit()

    # --- committing

    def on_durable(self) -> None:
        """The leader's own disk has caught up: only now does its copy count."""
        own = self.replication.own
        durable = self._log.durable
        if durable > own.match:
            own.match = durable
            self.advance_commit()

    def advance_commit(self) -> None:
        """Commits what a quorum holds, and does what waited for that."""
        log = self._log
        if not log.commit_to(self.commitment.index()):
            return
        proposed = self._proposed
        while proposed and proposed[0][0] <= log.commit:
            self.uncommitted_bytes -= proposed.popleft()[1]
        self.replication.sends_due = True
        membership = self._membership
        if membership.current.joint and membership.current_index <= log.commit:
            self._append(EntryKind.CONFIGURATION, encode_configuration(leave_joint(membership.current)))

    # --- responses

    def on_append_response(self, message: AppendResponse, tick: int) -> None:
        progress = self.replication.follower(message.sender)
        if progress is None or not self.replication.on_response(progress, message, tick):
            return
        # Everything up to the commit index counts already; only what lies above can move it.
        if message.index > self._log.commit:
            self.advance_commit()
        self._continue_transfer()

    def on_heartbeat_response(self, message: HeartbeatResponse, tick: int) -> None:
        progress = self.replication.follower(message.sender)
        if progress is None:
            return
        self.replication.on_sign_of_life(progress, tick)
        if self.reads.confirm(message.sender, message.read_context):
            self._finish_round_if_confirmed()

    def report_unreachable(self, replica: ReplicaId, tick: int) -> None:
        progress = self.replication.follower(replica)
        if progress is not None:
            self.replication.on_unreachable(progress, tick)

    def report_checkpoint(self, replica: ReplicaId, installed: bool, tick: int) -> None:
        progress = self.replication.follower(replica)
        if progress is not None:
            self.replication.on_checkpoint_outcome(progress, installed, tick)

    # --- time

    def on_deadline(self, tick: int) -> bool:
        """Does what is due. False if the quorum is lost, and leadership with it."""
        if self.transfer is not None and tick >= self.transfer.deadline:
            self.transfer = None
        if tick >= self._quorum_due:
            if not self._quorum_is_active():
                return False
            self._quorum_due = tick + self._config.election_ticks
        if tick >= self.heartbeat_due:
            self.heartbeat_now = True
        return True

    def _quorum_is_active(self) -> bool:
        """§6.2: a leader that a quorum has not answered for an election timeout steps down, lest clients wait for
        it."""
        replication = self.replication
        active = {replica for replica, progress in replication.progress.items() if progress.recent_active}
        for progress in replication.followers:
            progress.recent_active = False
        return has_quorum(self._membership.current, active)

    def restart_clocks(self, tick: int) -> None:
        """After a quiet time, which nobody counted: every follower starts with the benefit of the doubt."""
        for progress in self.replication.followers:
            progress.recent_active = True
            progress.stirred_tick = tick
        self._quorum_due = tick + self._config.election_ticks
        self._lease_end = 0
        self.heartbeat_now = True

    # --- reads

    def read(self, context: int) -> None:
        self.reads.ask(context)

    def read_for(self, replica: ReplicaId, context: int) -> None:
        self.reads.ask_for(replica, context)

    def _begin_reads(self, tick: int) -> None:
        """Starts a round for what has gathered, unless one is out or this term has committed nothing yet: until
        then the leader may not know the latest commit index (§6.4)."""
        reads = self.reads
        if reads.out or not reads.gathered or not self.established:
            return
        reads.begin(self._log.commit, tick)
        if self._leads_alone() or self._holds_lease(tick):
            self._release_reads()
        else:
            self.heartbeat_now = True

    def _leads_alone(self) -> bool:
        return has_quorum(self._membership.current, {self._id})

    def _finish_round_if_confirmed(self) -> None:
        reads = self.reads
        if reads.out and has_quorum(self._membership.current, reads.confirmed_by | {self._id}):
            sent_tick = self._release_reads()
            if self._config.lease_reads and not self._lease_forfeit:
                self._lease_end = sent_tick + self._config.election_ticks // 2

    def _release_reads(self) -> int:
        """The round's reads may be served; the tick at which it was sent."""
        done = self.reads.finish()
        outbox = self._outbox
        outbox.read_states += [ReadState(context, done.read_index) for context in done.local]
        for replica, context in done.remote.items():
            outbox.at_once.append(ReadIndexResponse(self._id, replica, self._term, context, done.read_index))
        return done.sent_tick

    def _holds_lease(self, tick: int) -> bool:
        return tick < self._lease_end

    # --- handing over

    def transfer_to(self, replica: ReplicaId, tick: int) -> None:
        """Stops taking proposals, brings ``replica`` up to date, has it campaign. Raises NotVoter."""
        if replica not in self._membership.current.voters:
            raise NotVoter(f"{replica} is no voter")
        if replica == self._id or (self.transfer is not None and self.transfer.to == replica):
            return
        self.transfer = Transfer(replica, tick + self._config.election_ticks)
        self._continue_transfer()

    def _continue_transfer(self) -> None:
        """The successor campaigns only once it holds our whole log: else it would lose, or we would lose entries
        that clients wait for."""
        transfer = self.transfer
        if (
            transfer is None
            or transfer.asked
            or self.replication.progress[transfer.to].match < self._log.last_index
        ):
            return
        transfer.asked = True
        # From here on it may be elected at any time, even after we gave up waiting: voters do not protect us from a
        # transfer, so no lease holds any more in this term.
        self._lease_forfeit = True
        self._lease_end = 0
        self._outbox.at_once.append(TimeoutNow(self._id, transfer.to, self._term))

    # --- sending

    def flush(self, tick: int) -> None:
        """Turns what has gathered into messages."""
        self._begin_reads(tick)
        if self.heartbeat_now:
            self.broadcast_heartbeat(tick)
        self.replication.flush(tick)
        if self.replication.news_due:
            self.replication.news_due = False
            self.heartbeat_due = min(self.heartbeat_due, tick + 1)

    def broadcast_heartbeat(
        self, tick: int, quiet: bool = False, absent: frozenset[ReplicaId] = frozenset()
    ) -> None:
        """To everyone, learners too. Carries the commit index as far as the follower surely holds it, so that an
        old or reordered heartbeat cannot commit what the follower never verified."""
        self.heartbeat_now = False
        self.heartbeat_due = tick + self._config.heartbeat_ticks
        reads = self.reads
        if self._config.lease_reads and not (quiet or reads.out or self._leads_alone()) and self.established:
            reads.begin(self._log.commit, tick)
        commit = self._log.commit
        at_once = self._outbox.at_once
        round_number = reads.number if reads.out else 0
        for progress in self.replication.followers:
            if progress.replica not in absent:
                known = min(progress.match, commit)
                progress.sent_commit = max(progress.sent_commit, known)
                at_once.append(Heartbeat(self._id, progress.replica, self._term, known, round_number, quiet))
