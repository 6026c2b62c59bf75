"""The door of commits: what comes in one round from any number of groups goes into one entry.

An entry costs a write, a replication and an application, whatever it holds; a commit is a few dozen bytes. So
commits are gathered until the replica takes its Readys (``flush``), and a thousand consumers that commit every
second cost their partition little more than one. Kafka and Pulsar answer "frequent commits cost throughput" by
advising against frequent commits.

The state machine judges a commit when it is applied; the door only looks at what it cannot see (the record under
the fingerprint) and at what need not be replicated to be refused for good: an offset beyond the *applied* end of a
serving leader names records that no reader can have been shown.

Nothing is answered before it is applied, and nothing about offsets is remembered here: a cache beside the machine
would be the day-old cursor that another system served after a change of leaders (OFFSETS.md §6).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from quorumlog.machine.offset_commands import MAX_METADATA_BYTES, CommitItem, Commits
from quorumlog.machine.offset_results import Committed
from quorumlog.machine.partition_commands import encode_partition_command
from quorumlog.replica.api import Done
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.offset_api import CommittedOffset
from quorumlog.replica.offset_refusals import beyond_end, fingerprint_mismatch, refusal
from quorumlog.replica.refusals import overloaded
from quorumlog.replica.starting import FingerprintCheck

if TYPE_CHECKING:
    from quorumlog.raft.types import Entry
    from quorumlog.replica.budget import ByteBudget
    from quorumlog.replica.ground import Ground

#: Commits that may wait for their answers, per partition.
MAX_WAITING = 20_000
#: Commits in one entry: it stays small beside a batch of records.
MAX_ITEMS = 2_000
_NEVER = 1 << 62

#: A commit, until when it may take, and who waits for it.
Waiting = tuple[CommitItem, int, Done[CommittedOffset]]


class ProposedCommits:
    """One entry and who waits for its parts. ``size``: bytes taken from the node's budget."""

    __slots__ = ("deadline_ms", "index", "size", "term", "waiting")

    def __init__(self, index: int, term: int, size: int, waiting: list[Waiting]) -> None:
        self.index = index
        self.term = term
        self.size = size
        self.waiting = waiting
        self.deadline_ms = min(deadline for _, deadline, _ in waiting)


class CommitDoor:
    """See the module. One per partition replica."""

    __slots__ = ("_budget", "_gathered", "_ground", "_proposed", "_unverified", "_waiting")

    def __init__(self, ground: Ground, budget: ByteBudget) -> None:
        self._ground = ground
        self._budget = budget
        self._gathered: list[Waiting] = []
        self._unverified: dict[str, list[Waiting]] = {}
        """By group: commits behind one whose fingerprint is being looked up on the disk. They must not overtake it:
        its sequence would be used up."""
        self._proposed: deque[ProposedCommits] = deque()
        self._waiting = 0

    def __len__(self) -> int:
        """Commits that wait for their answers."""
        return self._waiting

    # --- in ---

    def commit(self, item: CommitItem, deadline_ms: int, done: Done[CommittedOffset]) -> None:
        """Commits ``item``; ``done`` gets CommittedOffset once it is durable on a majority and applied here."""
        ground = self._ground
        if not ground.replica.leading:
            ground.wait.lead(deadline_ms, lambda: self.commit(item, deadline_ms, done), done)
            return
        failure = self._refused_at_once(item)
        if failure is not None:
            done(failure)
            return
        self._waiting += 1
        self._verify((item, deadline_ms, done))

    def _refused_at_once(self, item: CommitItem) -> Failure | None:
        ground = self._ground
        if len(item.metadata) > MAX_METADATA_BYTES:
            fields = {"max_metadata_bytes": str(MAX_METADATA_BYTES), "bytes": str(len(item.metadata))}
            why = f"{len(item.metadata)} bytes of metadata, at most {MAX_METADATA_BYTES} are allowed"
            return Failure(Reason.METADATA_TOO_LARGE, why, fields=fields)
        if item.offset > ground.machine.end_offset:
            where = f"group {item.group!r} in {ground.refuse.name}"
            return beyond_end(where, item.offset, ground.machine.end_offset)
        if self._waiting >= MAX_WAITING:
            return overloaded(f"{self._waiting} commits wait in {ground.refuse.name}")
        if ground.replica.disk_full:
            return Failure(Reason.DISK_FULL, "the leader's disk is full")
        return None

    def _verify(self, waiting: Waiting) -> None:
        """Has the fingerprint looked at, from memory nearly always."""
        item = waiting[0]
        if item.group in self._unverified:
            self._unverified[item.group].append(waiting)
        elif item.fingerprint is None or self._ground.finder.vouches(item.offset, item.fingerprint):
            self._gather(waiting)
        else:
            self._unverified[item.group] = []
            self._ground.finder.check(item.offset, item.fingerprint, lambda check: self._verified(waiting, check))

    def _verified(self, waiting: Waiting, check: FingerprintCheck | Failure) -> None:
        item, _, done = waiting
        behind = self._unverified.pop(item.group)
        if self._ground.replica.closed:
            self._answer([waiting, *behind], self._ground.refuse.not_leader())
            return
        if check is FingerprintCheck.CHANGED:
            self._waiting -= 1
            done(fingerprint_mismatch(item, self._ground.refuse.name))
        elif isinstance(check, Failure):
            self._waiting -= 1
            done(check)
        else:
            self._gather(waiting)
        for one in behind:
            self._verify(one)

    def _gather(self, waiting: Waiting) -> None:
        if not self._gathered:
            self._ground.replica.wake()
        self._gathered.append(waiting)

    # --- through the log ---

    def flush(self) -> None:
        """Proposes what has gathered. An entry is one version, so a second commit of a group goes into the next
        entry."""
        gathered = self._gathered
        if not gathered:
            return
        self._gathered = []
        if not self._ground.replica.leading:
            self._put_back(gathered)
            return
        while gathered:
            if len(gathered) <= MAX_ITEMS and len({waiting[0].group for waiting in gathered}) == len(gathered):
                self._propose(gathered)
                return
            now: dict[str, Waiting] = {}
            later: list[Waiting] = []
            for waiting in gathered:
                group = waiting[0].group
                if group in now or len(now) == MAX_ITEMS:
                    later.append(waiting)
                else:
                    now[group] = waiting
            self._propose(list(now.values()))
            gathered = later

    def _propose(self, gathered: list[Waiting]) -> None:
        ground = self._ground
        items = tuple([waiting[0] for waiting in gathered])
        data = encode_partition_command(Commits(ground.host.wall_ms(), ground.node_id, items))
        size = len(data)
        if not self._budget.take(size):
            self._answer(gathered, overloaded("too many bytes in flight on this node"))
            return
        index = ground.propose(data)
        if isinstance(index, int):
            self._proposed.append(ProposedCommits(index, ground.replica.raft.term, size, gathered))
            ground.replica.watch()
            return
        self._budget.give_back(size)
        if index is None:
            self._put_back(gathered)
        else:
            self._answer(gathered, index)

    def _put_back(self, gathered: list[Waiting]) -> None:
        """Leadership is being handed over, or has just gone: they wait like those that come only now."""
        self._waiting -= len(gathered)
        for item, deadline_ms, done in gathered:
            self._hold(item, deadline_ms, done)

    def _hold(self, item: CommitItem, deadline_ms: int, done: Done[CommittedOffset]) -> None:
        self._ground.wait.hold(deadline_ms, lambda: self.commit(item, deadline_ms, done), done)

    # --- out ---

    def applied(self, entry: Entry, result: tuple[object, ...]) -> None:
        """A Commits entry was applied, perhaps one of this door's."""
        proposed = self._proposed
        if not proposed or proposed[0].index != entry.index or proposed[0].term != entry.term:
            return
        mine = proposed.popleft()
        self._budget.give_back(mine.size)
        self._waiting -= len(mine.waiting)
        make = CommittedOffset._make
        name = self._ground.refuse.name
        for (item, _, done), outcome in zip(mine.waiting, result, strict=True):
            if type(outcome) is Committed:
                done(make(outcome))
            else:
                done(refusal(item.group, name, outcome))

    def deposed(self) -> None:
        """Leadership is lost: what is in the log may win yet, what is not never happened."""
        gathered, self._gathered = self._gathered, []
        self._put_back(gathered)
        proposed, self._proposed = self._proposed, deque()
        lost = self._ground.refuse.deposed()
        for entry in proposed:
            self._budget.give_back(entry.size)
            self._answer(entry.waiting, lost)

    def expire(self, now_ms: int) -> None:
        """Ends what has waited too long. (What is unverified or gathered does not wait for others.)"""
        for entry in self._proposed:
            if entry.deadline_ms <= now_ms:
                failure = self._ground.refuse.unconfirmed("commit")
                for waiting in entry.waiting:
                    if waiting[1] <= now_ms:
                        waiting[2](failure)
                # The places stay: results come by place.
                entry.waiting = [(one[0], _NEVER, _answered) if one[1] <= now_ms else one for one in entry.waiting]
                entry.deadline_ms = min(deadline for _, deadline, _ in entry.waiting)

    def close(self, failure: Failure) -> None:
        """The replica goes out of service."""
        gathered, self._gathered = self._gathered, []
        self._answer(gathered, failure)
        proposed, self._proposed = self._proposed, deque()
        unknown = Failure(failure.reason, failure.message, Outcome.UNKNOWN, failure.leader_node)
        for entry in proposed:
            self._budget.give_back(entry.size)
            self._answer(entry.waiting, unknown)

    def _answer(self, waiting: list[Waiting], failure: Failure) -> None:
        self._waiting -= len(waiting)
        for _, _, done in waiting:
            done(failure)


def _answered(result: CommittedOffset | Failure) -> None:
    """Who waited has been told that time ran out."""
