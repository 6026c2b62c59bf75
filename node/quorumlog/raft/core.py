"""One replica of one Raft group: pure, synchronous, deterministic.

Inputs are ticks, messages, proposals and disk completions; outputs gather until the host calls ``ready``. Time is
ticks, chance is the ``random.Random`` passed in; nothing here reads a clock, a socket or a disk.

What may leave before it is durable, and why:

* A leader's appends and heartbeats leave at once: they claim nothing about this disk (dissertation §10.2.1). The
  leader's own copy counts only when ``on_persisted`` says so.
* Votes and acknowledgements are held until the write they lean on is durable. So are refusals.
* A heartbeat response claims nothing but a term. It is held only while that term is not durable, so that reads do
  not queue behind a follower's disk.
* A candidate's *requests* are held as well, until its term and its vote for itself are durable, and so is its own
  vote. Sent earlier, this could happen: A asks for votes in term 5 with entry 10 still unwritten, C grants; A
  crashes and forgets both; it campaigns again, in term 5 again, now without entry 10 (which B and C had committed);
  C's old grant arrives, and A leads without a committed entry. A durable term makes terms unrepeatable, and writes
  are ordered, so that the log a candidate boasts of is durable too. (etcd holds only the candidate's vote for
  itself, and lets the requests go.)
* A pre-vote's question leaves at once: it binds nobody.

Prior art: the paper's figure 2, dissertation chapters 3, 4, 6, 9.6 and 10; etcd-io/raft ``raft.go``,
``rawnode.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .election import Ballot
from .errors import NoLeader, NotLeader, ensure
from .following import Following
from .hard_state import HardStateWrites
from .leadership import Leadership
from .log import Log
from .membership import Membership, is_voter
from .outbox import Outbox
from .quorum import VoteResult
from .reads import ForwardedReads
from .status import FollowerStatus, Status
from .types import (
    AppendRequest,
    AppendResponse,
    Configuration,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    InstallCheckpoint,
    Message,
    ReadIndexRequest,
    ReadIndexResponse,
    ReadState,
    Ready,
    ReplicaId,
    Role,
    Storage,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)

if TYPE_CHECKING:
    import random

    from .config import RaftConfig
    from .types import ConfigurationChange

_NOBODY: frozenset[ReplicaId] = frozenset()


class Raft:
    """The state machine of figure 2. Call ``ready`` whenever ``has_ready``; do what the Ready says; tell the
    outcome.

    ``applied`` is the index that the host's state machine holds at start: 0, or that of the checkpoint it was
    loaded from. Raises InvariantViolated where the storage shows that acknowledged state was lost.
    """

    __slots__ = (
        "_ballot",
        "_clock",
        "_config",
        "_deadline",
        "_following",
        "_forwarded",
        "_hard_states",
        "_heard",
        "_id",
        "_leader",
        "_leadership",
        "_log",
        "_membership",
        "_number",
        "_outbox",
        "_quiet",
        "_random",
        "_role",
        "_term",
        "_timeout",
        "_vote",
    )

    def __init__(self, config: RaftConfig, storage: Storage, applied: int, random: random.Random) -> None:
        hard_state = storage.hard_state
        self._config = config
        self._id = config.replica
        self._random = random
        self._log = Log(storage, hard_state.commit, applied)
        ensure(hard_state.term >= self._log.last_term, "the log holds entries of a term that was never recorded")
        self._membership = Membership(storage.checkpoint, storage.configurations())
        self._outbox = Outbox()
        self._following = Following(self._id, self._log, self._membership, self._outbox)
        self._term = hard_state.term
        self._vote: ReplicaId | None = hard_state.vote
        self._leader: ReplicaId | None = None
        self._leadership: Leadership | None = None
        self._ballot: Ballot | None = None
        # A follower's request numbers must not come back after a restart within a term (see ``reads``).
        self._forwarded = ForwardedReads(random.getrandbits(30) << 32)
        self._quiet = False
        self._number = 0
        self._hard_states = HardStateWrites(hard_state)
        self._clock = 0
        # With lease reads, a restarted voter cannot know whether it stood by a leader a moment ago: it assumes it
        # did.
        self._heard = 0 if config.lease_reads else -config.election_ticks
        self._role = Role.FOLLOWER
        self._become_follower(self._term, None)

    # --- questions

    @property
    def role(self) -> Role:
        return self._role

    @property
    def term(self) -> int:
        return self._term

    @property
    def vote(self) -> ReplicaId | None:
        return self._vote

    @property
    def leader(self) -> ReplicaId | None:
        """Who leads this term as far as is known; itself on the leader."""
        return self._leader

    @property
    def is_leader(self) -> bool:
        return self._leadership is not None

    @property
    def commit(self) -> int:
        return self._log.commit

    @property
    def applied(self) -> int:
        return self._log.applied

    @property
    def last_index(self) -> int:
        return self._log.last_index

    @property
    def configuration(self) -> Configuration:
        """The one in force: the newest in the log, committed or not."""
        return self._membership.current

    def configuration_at(self, index: int) -> Configuration:
        """The one in force at ``index`` ≥ applied: what a checkpoint at that index must record."""
        return self._membership.at(index)

    @property
    def can_serve(self) -> bool:
        """It leads, and an entry of its term is committed *and applied*: its state machine holds everything that
        any earlier leader acknowledged."""
        leadership = self._leadership
        return leadership is not None and self._log.applied >= leadership.commitment.term_start

    @property
    def idle(self) -> bool:
        """It leads, everyone holds everything, and nothing is pending: the group may ``become_quiet``."""
        return self._leadership is not None and self._leadership.may_rest(_NOBODY)

    @property
    def quiet(self) -> bool:
        """The host need not tick it: somebody watches the leader's *node* instead."""
        return self._quiet

    def progress(self, peer: ReplicaId) -> FollowerStatus | None:
        """How far ``peer`` is; None unless this replica leads and ``peer`` is a member."""
        progress = self._leadership.replication.progress.get(peer) if self._leadership is not None else None
        return FollowerStatus.of(progress) if progress is not None else None

    def status(self) -> Status:
        leadership = self._leadership
        transfer = leadership.transfer if leadership is not None else None
        followers = leadership.replication.progress.values() if leadership is not None else ()
        return Status(
            replica=self._id,
            role=self._role,
            term=self._term,
            vote=self._vote,
            leader=self._leader,
            first_index=self._log.first_index,
            last_index=self._log.last_index,
            durable=self._log.durable,
            commit=self._log.commit,
            applied=self._log.applied,
            configuration=self._membership.current,
            configuration_index=self._membership.current_index,
            quiet=self._quiet,
            transferring_to=transfer.to if transfer is not None else None,
            uncommitted_bytes=leadership.uncommitted_bytes if leadership is not None else 0,
            followers=tuple(FollowerStatus.of(each) for each in followers if each.replica != self._id),
        )

    # --- inputs: time

    def tick(self) -> None:
        """One unit of time has passed."""
        self._clock = clock = self._clock + 1
        if clock >= self._deadline:
            self._on_deadline(clock)

    def _on_deadline(self, clock: int) -> None:
        leadership = self._leadership
        if leadership is not None:
            if leadership.on_deadline(clock):
                # The heartbeat leaves with the next Ready; until then there is nothing to wait for.
                self._deadline = leadership.deadline if not leadership.heartbeat_now else clock + 1
            else:
                self._become_follower(self._term, None)
        elif self._may_campaign():
            self._begin_pre_vote()
        else:
            self._become_follower(self._term, None)

    # --- inputs: requests of the host

    def propose(self, kind: EntryKind, data: bytes) -> int:
        """Appends an entry to the log; returns its index, which is *not* committed yet and may never be.

        Raises NotLeader, Overloaded, Transferring: nothing was appended. ValueError for a configuration.
        """
        leadership = self._lead()
        if kind == EntryKind.CONFIGURATION:
            raise ValueError("configurations change through propose_configuration")
        index = leadership.propose(kind, data)
        if self._quiet:
            self.wake()
        return index

    def propose_configuration(self, change: ConfigurationChange) -> int:
        """Begins to change the group into ``change``; returns the entry's index. If it takes a joint configuration,
        the leader leaves that by itself.

        Raises NotLeader, Transferring, ChangePending, TermUncommitted, LearnerBehind, InvalidChange.
        """
        index = self._lead().propose_configuration(change)
        if self._quiet:
            self.wake()
        return index

    def read_index(self, context: int) -> None:
        """Asks for the index at which a linearizable read may be served: in ``Ready.read_states``, or in
        ``Ready.dropped_reads``, under ``context``, which means nothing to the core. Raises NoLeader."""
        if self._quiet:
            self.wake()
        if self._leadership is not None:
            self._leadership.read(context)
        elif self._leader is not None:
            self._forwarded.ask(context)
        else:
            raise NoLeader("no leader is known")

    def transfer_leadership(self, to: ReplicaId) -> None:
        """Hands leadership to a voter. It has happened when this replica follows ``to``, and has failed when
        proposals are taken again, one election timeout later. Raises NotLeader, NotVoter."""
        self._lead().transfer_to(to, self._clock)
        if self._quiet:
            self.wake()
        self._reckon_deadline()

    def campaign(self) -> None:
        """Starts a pre-vote now. A candidate gives its election up for lost and begins another: after a split vote
        the host need not wait for the time-out. Nothing happens on the leader, a learner or a stranger, nor while a
        promise that a lease may lean on lasts."""
        if self._leadership is not None or not self._may_campaign():
            return
        self.wake()
        if not (self._config.lease_reads and self._stands_by_leader()):
            self._begin_pre_vote()

    def leader_lost(self) -> None:
        """The leader's connection broke: forget it, and grant pre-votes from now on. Does not campaign.

        With lease reads the promise outlives the connection: the leader may be alive, and serving.
        """
        if self._leadership is not None or self._leader is None:
            return
        if self._quiet:
            self.wake()
        self._leader = None
        self._drop_forwarded_reads()

    def resign(self) -> None:
        """A leader that can be of no use, not even by handing over, follows from here on: the others elect.

        What it had not committed may come to nothing.
        """
        if self._leadership is not None:
            self._become_follower(self._term, None)

    def report_unreachable(self, peer: ReplicaId) -> None:
        """Messages to ``peer`` were lost."""
        if self._leadership is not None:
            self._leadership.report_unreachable(peer, self._clock)

    def report_checkpoint(self, peer: ReplicaId, installed: bool) -> None:
        """The transfer of a checkpoint to ``peer`` has ended."""
        if self._leadership is not None:
            self._leadership.report_checkpoint(peer, installed, self._clock)

    def on_entries_loaded(self) -> None:
        """Entries that the storage reported NotInMemory are there now."""
        self._log.awaiting_disk = False
        if self._leadership is not None:
            self._leadership.replication.on_entries_loaded()

    def _lead(self) -> Leadership:
        if self._leadership is None:
            raise NotLeader(self._leader)
        return self._leadership

    def close(self) -> None:
        """Out of service. There is nothing to give back: whoever has files of its own may need it
        (``quorumlog.engines``)."""

    # --- quiet

    def become_quiet(self, absent: frozenset[ReplicaId] = _NOBODY) -> bool:
        """Sends a last heartbeat that says so, and falls quiet. False, and nothing done, unless it leads and
        nothing is pending for any follower but those in ``absent``, whom the host knows to be dead."""
        leadership = self._leadership
        if leadership is None or not leadership.may_rest(absent):
            return False
        leadership.broadcast_heartbeat(self._clock, quiet=True, absent=absent)
        self._quiet = True
        return True

    def wake(self) -> None:
        """Ends the quiet. No time has passed for anyone: the leader has a full election timeout to be heard
        from."""
        if not self._quiet:
            return
        self._quiet = False
        if self._leadership is not None:
            self._leadership.restart_clocks(self._clock)
            self._reckon_deadline()
        else:
            self._heard = self._clock
            self._deadline = self._clock + self._timeout

    # --- inputs: messages

    def step(self, message: Message) -> None:
        """Takes a message from another replica. Late, doubled, reordered and lost ones do no harm.

        Raises InvariantViolated when the message proves that a safety property is broken already.
        """
        if self._quiet and not isinstance(message, HeartbeatResponse):
            self.wake()
        if message.term > self._term:
            if not self._meet_higher_term(message):
                return
        elif message.term < self._term:
            self._answer_lower_term(message)
            return
        if isinstance(message, AppendRequest):
            self._on_append(message)
        elif isinstance(message, Heartbeat):
            self._on_heartbeat(message)
        elif isinstance(message, VoteRequest):
            self._on_vote_request(message)
        elif isinstance(message, VoteResponse):
            self._on_vote_response(message)
        elif isinstance(message, InstallCheckpoint):
            self._on_checkpoint(message)
        elif isinstance(message, TimeoutNow):
            self._on_timeout_now()
        elif isinstance(message, ReadIndexResponse):
            self._on_read_index_response(message)
        elif self._leadership is not None:
            self._step_leader(self._leadership, message)

    def _step_leader(
        self, leadership: Leadership, message: AppendResponse | HeartbeatResponse | ReadIndexRequest
    ) -> None:
        if isinstance(message, AppendResponse):
            leadership.on_append_response(message, self._clock)
            self._step_down_if_removed()
        elif isinstance(message, HeartbeatResponse):
            leadership.on_heartbeat_response(message, self._clock)
        else:
            leadership.read_for(message.sender, message.context)

    def _meet_higher_term(self, message: Message) -> bool:
        """§5.1: whoever sees a higher term adopts it, with the exceptions that make pre-vote and check-quorum work.
        False if the message is done with."""
        if isinstance(message, VoteRequest):
            if not message.transfer and self._stands_by_leader():
                # Without this, one replica that nobody hears, or that was removed, could depose a healthy leader
                # over and over (§4.2.3). Its term is not adopted either.
                self._answer_vote(message, granted=False)
                return False
            if message.pre:
                return True
            self._become_follower(message.term, None)
        elif isinstance(message, VoteResponse) and message.pre and message.granted:
            return True  # it echoes the term we would take, not one that anybody has
        elif isinstance(message, AppendRequest | Heartbeat | InstallCheckpoint):
            self._become_follower(message.term, message.sender)
        else:
            self._become_follower(message.term, None)
        return True

    def _answer_lower_term(self, message: Message) -> None:
        """The sender has missed something. Who claims to lead, or wants to, is told our term: otherwise a replica
        whose term ran ahead while it was cut off would ignore the leader and be ignored by the voters, for ever."""
        if isinstance(message, AppendRequest):
            self._following.refuse(message, self._term, 0, 0)
        elif isinstance(message, Heartbeat):
            self._answer_heartbeat(message.sender, 0)
        elif isinstance(message, InstallCheckpoint):
            self._outbox.held.append(
                AppendResponse(self._id, message.sender, self._term, False, message.checkpoint.index, 0, 0)
            )
        elif isinstance(message, VoteRequest):
            self._answer_vote(message, granted=False)

    # --- elections

    def _may_campaign(self) -> bool:
        """A voter may, and so may one whose removal is in its log but not committed as far as it knows.

        The latter may be the only one that can win: the leader 2 of {1, 2} appends the configuration {1} and
        crashes. 1 still needs 2's vote, and cannot have it, because 2's log is longer; so 2 must lead once more,
        without a vote of its own, to bring 1 the entry that removes it (§4.2.2). A learner or a stranger never
        campaigns.
        """
        membership = self._membership
        if is_voter(membership.current, self._id):
            return True
        commit = self._log.commit
        return membership.current_index > commit and is_voter(membership.at(commit), self._id)

    def _stands_by_leader(self) -> bool:
        """Whether a leader was heard from so recently that nobody else is to be voted for.

        A restarted replica has heard from nobody; with lease reads it assumes it has, as its former self may well
        have confirmed a lease.
        """
        if self._leadership is not None:
            return True
        if self._leader is None and not self._config.lease_reads:
            return False
        return self._clock - self._heard < self._config.election_ticks

    def _has_vote_for(self, message: VoteRequest) -> bool:
        """One vote per term, first come first served (§5.2). A pre-vote for a later term spends none."""
        if message.pre and message.term > self._term:
            return True
        return self._vote == message.sender or (self._vote is None and self._leader is None)

    def _on_vote_request(self, message: VoteRequest) -> None:
        """Learners vote too: a candidate with a newer configuration may already count them (§4.2.1's argument)."""
        granted = self._has_vote_for(message) and self._log.is_as_current(message.last_index, message.last_term)
        if granted and not message.pre:
            self._vote = message.sender
            self._deadline = self._clock + self._timeout
        self._answer_vote(message, granted)

    def _answer_vote(self, message: VoteRequest, granted: bool) -> None:
        term = message.term if granted else self._term
        self._outbox.held.append(VoteResponse(self._id, message.sender, term, granted, message.pre))

    def _begin_pre_vote(self) -> None:
        """§9.6: ask whether an election could be won before raising the term."""
        self._role = Role.PRE_CANDIDATE
        self._leader = None
        self._drop_forwarded_reads()
        self._draw_timeout()
        self._ballot = Ballot(pre=True)
        self._outbox.at_once += self._vote_requests(self._term + 1, pre=True, transfer=False)
        self._record_vote(self._id, True)

    def _begin_election(self, transfer: bool) -> None:
        """§5.2. Requests and the candidate's own vote wait for the disk (see the module's docstring)."""
        self._term += 1
        self._vote = self._id
        self._role = Role.CANDIDATE
        self._leader = None
        self._drop_forwarded_reads()
        self._draw_timeout()
        self._ballot = Ballot(pre=False)
        self._outbox.held += self._vote_requests(self._term, pre=False, transfer=transfer)

    def _vote_requests(self, term: int, pre: bool, transfer: bool) -> list[Message]:
        configuration = self._membership.current
        last_index, last_term = self._log.last_index, self._log.last_term
        return [
            VoteRequest(self._id, voter, term, last_index, last_term, pre, transfer)
            for voter in sorted(configuration.voters | configuration.outgoing)
            if voter != self._id
        ]

    def _on_vote_response(self, message: VoteResponse) -> None:
        ballot = self._ballot
        if ballot is None or ballot.pre != message.pre:
            return
        if message.term != (self._term + 1 if message.pre and message.granted else self._term):
            return  # the answer to an earlier pre-vote
        self._record_vote(message.sender, message.granted)

    def _record_vote(self, voter: ReplicaId, granted: bool) -> None:
        ballot = self._ballot
        if ballot is None:
            return
        ballot.record(voter, granted)
        result = ballot.result(self._membership.current)
        if result is VoteResult.LOST:
            self._become_follower(self._term, None)
        elif result is VoteResult.WON:
            if ballot.pre:
                self._begin_election(transfer=False)
            else:
                self._become_leader()

    def _on_timeout_now(self) -> None:
        """§3.10: the leader itself asks for it, so no pre-vote, and voters need not stand by it."""
        if self._leadership is None and self._may_campaign():
            self._begin_election(transfer=True)

    # --- roles

    def _become_follower(self, term: int, leader: ReplicaId | None) -> None:
        """Of ``leader`` in ``term``, or of nobody yet. Also how a learner, or a stranger, sits and waits."""
        if term > self._term:
            self._term = term
            self._vote = None
        if self._leadership is not None:
            self._outbox.dropped_reads += self._leadership.reads.abandon()
            self._leadership = None
        self._drop_forwarded_reads()
        self._quiet = False
        self._ballot = None
        self._leader = leader
        self._refresh_role()
        self._draw_timeout()

    def _become_leader(self) -> None:
        self._ballot = None
        self._role = Role.LEADER
        self._leader = self._id
        self._leadership = Leadership(
            self._config, self._term, self._log, self._membership, self._outbox, self._clock
        )
        self._reckon_deadline()

    def _refresh_role(self) -> None:
        """Follower or learner: the configuration decides, and it may change underneath."""
        learns = self._id in self._membership.current.learners
        self._role = Role.LEARNER if learns else Role.FOLLOWER

    def _step_down_if_removed(self) -> None:
        leadership = self._leadership
        if leadership is not None and leadership.removed:
            leadership.broadcast_heartbeat(self._clock)  # the last thing it can do for them: the commit index
            self._become_follower(self._term, None)

    def _draw_timeout(self) -> None:
        ticks = self._config.election_ticks
        self._timeout = self._random.randrange(ticks, 2 * ticks)
        self._deadline = self._clock + self._timeout

    def _reckon_deadline(self) -> None:
        if self._leadership is not None:
            self._deadline = self._leadership.deadline

    def _drop_forwarded_reads(self) -> None:
        self._outbox.dropped_reads += self._forwarded.abandon()

    # --- following

    def _follow(self, leader: ReplicaId) -> None:
        """A message of this term's leader: it lives."""
        if self._leader != leader:
            ensure(self._leadership is None, "two leaders in one term")
            ensure(self._leader is None, "two leaders in one term")
            self._become_follower(self._term, leader)
        self._heard = self._clock
        self._deadline = self._clock + self._timeout

    def _on_append(self, message: AppendRequest) -> None:
        self._follow(message.sender)
        if self._following.append(message):
            self._refresh_role()

    def _on_checkpoint(self, message: InstallCheckpoint) -> None:
        self._follow(message.sender)
        if self._following.install(message):
            self._refresh_role()

    def _on_heartbeat(self, message: Heartbeat) -> None:
        self._follow(message.sender)
        log = self._log
        log.commit_to(message.commit)  # at most our match: that it is beyond our log would mean lost entries
        self._answer_heartbeat(message.sender, message.read_context)
        if message.quiet:
            self._quiet = log.last_index == log.commit == message.commit and not self._forwarded.busy
        elif self._forwarded.overdue(self._clock, self._config.heartbeat_ticks):
            self._ask_leader(message.sender, self._forwarded.asked_again(self._clock))

    def _answer_heartbeat(self, leader: ReplicaId, read_context: int) -> None:
        response = HeartbeatResponse(self._id, leader, self._term, read_context)
        if self._term == self._hard_states.durable_term:
            self._outbox.at_once.append(response)
        else:
            self._outbox.held.append(response)

    def _ask_leader(self, leader: ReplicaId, number: int) -> None:
        self._outbox.at_once.append(ReadIndexRequest(self._id, leader, self._term, number))

    def _on_read_index_response(self, message: ReadIndexResponse) -> None:
        if message.sender == self._leader:
            contexts = self._forwarded.answer(message.context)
            self._outbox.read_states += [ReadState(context, message.index) for context in contexts]

    # --- outputs

    def has_ready(self) -> bool:
        """Whether ``ready`` would bring anything."""
        log = self._log
        given = self._hard_states.given
        leadership = self._leadership
        return (
            not self._outbox.empty
            or log.has_unwritten
            or log.has_committed
            or self._term != given.term
            or self._vote != given.vote
            or (leadership.has_work if leadership is not None else self._forwarded.due)
        )

    def ready(self) -> Ready:
        """Everything there is to do since the last one. See ``Ready`` for what must precede what."""
        if self._leadership is not None:
            self._leadership.flush(self._clock)
            self._deadline = self._leadership.deadline
        elif self._forwarded.due and self._leader is not None:
            self._ask_leader(self._leader, self._forwarded.begin(self._clock))
        self._number = number = self._number + 1
        log = self._log
        written = log.written
        checkpoint, entries = log.take_unwritten(number)
        hard_state = self._hard_states.take(
            number, self._term, self._vote, log.commit, written, bool(entries) and checkpoint is None
        )
        committed = log.take_committed(self._config.max_apply_bytes) if log.has_committed else ()
        at_once, held, read_states, dropped_reads = self._outbox.take()
        return Ready(number, at_once, hard_state, entries, checkpoint, held, committed, read_states, dropped_reads)

    def on_persisted(self, number: int) -> None:
        """The writes of Ready ``number``, and of all before it, are durable."""
        ensure(number <= self._number, "only what was handed out can be persisted")
        hard_state = self._hard_states.persisted(number)
        self._log.persisted(number)
        if self._leadership is not None:
            self._leadership.on_durable()
            self._step_down_if_removed()
        if hard_state is not None:
            self._count_own_vote(hard_state)

    def _count_own_vote(self, durable: HardState) -> None:
        """A candidate's vote for itself counts once it is on disk, like any other."""
        ballot = self._ballot
        if ballot is not None and not ballot.pre and (durable.term, durable.vote) == (self._term, self._id):
            self._record_vote(self._id, True)

    def on_applied(self, index: int) -> None:
        """The state machine holds everything up to ``index``."""
        self._log.applied_to(index)
        self._membership.forget_below(index)
