"""What a follower does with a leader's entries: the paper's "AppendEntries RPC, receiver implementation", rule by
rule.

That the sender leads the present term is settled before anything here is called (``Raft.step``). What is left is
the log: does the message fit on it, what of it is news, how far does it let us commit. Every success is held until
the write that contains it is durable, also when it brought nothing new: an empty append acknowledges what came
before it.

Prior art: figure 2 and §5.3 of the paper; etcd-io/raft ``log.go`` (maybeAppend).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ensure
from .types import AppendRequest, AppendResponse, InstallCheckpoint, ReplicaId

if TYPE_CHECKING:
    from .log import Log
    from .membership import Membership
    from .outbox import Outbox
    from .types import Entry


class Following:
    """The receiving end of replication. It keeps nothing of its own: log, membership and outbox are the core's."""

    __slots__ = ("_id", "_log", "_membership", "_outbox")

    def __init__(self, replica: ReplicaId, log: Log, membership: Membership, outbox: Outbox) -> None:
        self._id = replica
        self._log = log
        self._membership = membership
        self._outbox = outbox

    def append(self, message: AppendRequest) -> bool:
        """Takes an append of the present leader and answers it. True if another configuration is in force now."""
        log = self._log
        previous = message.previous_index
        entries = message.entries
        verified = previous + len(entries)
        if previous != log.last_index or message.previous_term != log.last_term:
            if previous < log.first_index - 1:
                # What is below our first entry is committed and covered by a checkpoint: nothing there can be news.
                entries = entries[log.first_index - 1 - previous :]
            elif not log.matches(previous, message.previous_term):
                ensure(previous > log.commit, "a leader contradicts a committed entry")
                self.refuse(message, message.term, *log.agreement_bound(previous, message.previous_term))
                return False
        changed = self._take(entries) if entries else False
        self._commit_verified(message.commit, verified)
        self._acknowledge(message, verified)
        return changed

    def _take(self, entries: tuple[Entry, ...]) -> bool:
        """Keeps what is here already, and truncates only where an entry *conflicts* (§5.3)."""
        log = self._log
        position = log.first_news(entries)
        if position == len(entries):
            return False
        news = entries[position:] if position else entries
        first = news[0].index
        rolled_back = False
        if first <= log.last_index:
            log.truncate(first)
            self._outbox.withdraw_acknowledgements(first)
            rolled_back = self._membership.roll_back(first)
        log.append(news)
        return self._membership.note(news) or rolled_back

    def _commit_verified(self, leader_commit: int, verified: int) -> None:
        """min(leader's commit, the last entry *this message* verified): what we hold above that may be an earlier
        leader's, and not what was committed there."""
        self._log.commit_to(min(leader_commit, verified))

    def install(self, message: InstallCheckpoint) -> bool:
        """Takes a checkpoint that lies complete in the host's staging. True if another configuration is in force
        now.

        It replaces the log unless the log holds that point already: then what lies behind it may be newer than the
        checkpoint, and acknowledged.
        """
        checkpoint = message.checkpoint
        log = self._log
        restored = False
        if checkpoint.index > log.commit:
            if log.matches(checkpoint.index, checkpoint.term):
                log.commit_to(checkpoint.index)
            else:
                log.restore(checkpoint)
                self._outbox.withdraw_acknowledgements(0)
                self._membership.restore(checkpoint)
                restored = True
        self._acknowledge(message, checkpoint.index)
        return restored

    def _acknowledge(self, message: AppendRequest | InstallCheckpoint, index: int) -> None:
        self._outbox.held.append(AppendResponse(self._id, message.sender, message.term, True, index, 0, 0))

    def refuse(self, message: AppendRequest, term: int, hint_index: int, hint_term: int) -> None:
        """``hint_index``: the highest index at which the logs may still agree, with our term there."""
        self._outbox.held.append(
            AppendResponse(self._id, message.sender, term, False, message.previous_index, hint_index, hint_term)
        )
