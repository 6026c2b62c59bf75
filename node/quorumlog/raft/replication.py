"""Bringing the leader's log to everyone: who is where, what may be sent now, what the answers mean.

Sending is done when the host asks for it (``flush``), not message by message: all proposals between two Readys
leave in one append per follower, and followers that stand at the same place share one tuple of entries, which the
wire layer then frames once.

Prior art: §3.5 and §10.2.1 of the dissertation; etcd-io/raft ``raft.go`` (maybeSendAppend) and ``tracker/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .progress import Progress, ProgressState
from .types import AppendRequest, AppendResponse, Compacted, InstallCheckpoint, NotInMemory, ReplicaId

if TYPE_CHECKING:
    from .config import RaftConfig
    from .log import Log
    from .outbox import Outbox
    from .types import Entry


class Replication:
    """The followers of one term, and the appends to them."""

    __slots__ = (
        "_config",
        "_id",
        "_log",
        "_outbox",
        "_shared",
        "_term",
        "followers",
        "news_due",
        "own",
        "progress",
        "sends_due",
    )

    def __init__(
        self, config: RaftConfig, term: int, log: Log, outbox: Outbox, everyone: frozenset[ReplicaId]
    ) -> None:
        self._config = config
        self._id = config.replica
        self._term = term
        self._log = log
        self._outbox = outbox
        self.news_due = False
        """Somebody does not know the commit index yet, and nothing is on its way that would tell."""
        self._shared: tuple[int, int, tuple[Entry, ...]] = (0, 0, ())
        """(first index, limit, entries) of the append made last, within one flush."""
        self.own = Progress(self._id, log.last_index + 1, recent_active=True)
        """The leader's own disk, as one replica among the others."""
        self.own.match = log.durable
        self.progress: dict[ReplicaId, Progress] = {}
        self.followers: tuple[Progress, ...] = ()
        self.sends_due = True
        self.track(everyone, recent_active=False)

    def track(self, everyone: frozenset[ReplicaId], recent_active: bool) -> None:
        """One Progress for each member, kept where there was one; a new one is given the benefit of
        ``recent_active``.

        The leader has its own even when it is no member (it is being removed and still leads): it then counts in
        no quorum, because it is among no voters.
        """
        next_index = self._log.last_index + 1
        known, self.progress = self.progress, {self._id: self.own}
        for replica in sorted(everyone - {self._id}):
            self.progress[replica] = known.get(replica) or Progress(replica, next_index, recent_active)
        self.followers = tuple(self.progress[replica] for replica in sorted(everyone - {self._id}))

    def follower(self, replica: ReplicaId) -> Progress | None:
        """None for strangers, and for those that are members no more: what they say is of no account."""
        progress = self.progress.get(replica)
        return progress if progress is not self.own else None

    # --- what comes back

    def on_response(self, progress: Progress, message: AppendResponse, tick: int) -> bool:
        """An answer to an append. True if it brought ``match`` forward, or ended a probe."""
        progress.recent_active = True
        if message.success:
            if not self._can_hold(message.index) or not progress.acknowledged(message.index, tick):
                return False
            self.sends_due = True
            return True
        hint = message.hint_index
        if message.hint_term:
            hint, _ = self._log.agreement_bound(hint, message.hint_term)
        if progress.refused(message.index, hint):
            self.sends_due = True
        return False

    def _can_hold(self, index: int) -> bool:
        """A follower cannot hold for us what we do not have: such an acknowledgement is not of this log, and
        believing it would commit whatever comes to stand there."""
        return index <= self._log.last_index

    def on_sign_of_life(self, progress: Progress, tick: int) -> None:
        """It lives. If nothing has moved for a heartbeat's time nevertheless, the append or its answer was probably
        lost.

        An *empty* append at the end of what was sent finds out, without sending everything twice to a slow disk.
        """
        progress.recent_active = True
        if tick - progress.stirred_tick < self._config.heartbeat_ticks:
            return
        if progress.state is ProgressState.PROBE:
            progress.paused = False
            self.sends_due = True
        elif progress.state is ProgressState.REPLICATE and progress.match < self._log.last_index:
            progress.stirred_tick = tick
            self._send_empty(progress)

    def on_unreachable(self, progress: Progress, tick: int) -> None:
        """What is on its way to it was probably lost: wait for a sign of life, then probe."""
        if progress.state is ProgressState.REPLICATE:
            progress.become_probe(progress.match + 1)
            progress.paused = True
            progress.stirred_tick = tick

    def on_checkpoint_outcome(self, progress: Progress, installed: bool, tick: int) -> None:
        """The transfer ended. After a failure the next attempt waits for a sign of life."""
        if progress.state is ProgressState.CHECKPOINT:
            progress.become_probe(progress.pending_checkpoint + 1 if installed else progress.match + 1)
            progress.paused = not installed
            progress.stirred_tick = tick
            self.sends_due = True

    def on_entries_loaded(self) -> None:
        for progress in self.followers:
            progress.awaiting_disk = False
        self.sends_due = True

    # --- what goes out

    def flush(self, tick: int) -> None:
        """Sends everyone what they may be sent now."""
        if not self.sends_due:
            return
        self.sends_due = False
        for progress in self.followers:
            if progress.awaiting_disk:
                continue
            if progress.state is ProgressState.REPLICATE:
                self._stream(progress, tick)
            elif progress.state is ProgressState.PROBE and not progress.paused:
                self._send_entries(progress, self._config.max_append_bytes, tick)
        self._shared = (0, 0, ())

    def _stream(self, progress: Progress, tick: int) -> None:
        config = self._config
        last = self._log.last_index
        while progress.next <= last:
            room = progress.window_bytes(config.max_in_flight_messages, config.max_in_flight_bytes)
            if room == 0 or not self._send_entries(progress, min(room, config.max_append_bytes), tick):
                return
        # The commit index rides on the next append, or on a heartbeat one tick from now. A message of its own for
        # every commit would double the traffic of a group that appends one entry after another.
        if progress.sent_commit < self._log.commit and not progress.in_flight:
            self.news_due = True

    def _send_entries(self, progress: Progress, max_bytes: int, tick: int) -> bool:
        """One append with what fits (a probe may be empty). False if the entries cannot be had now."""
        log = self._log
        low = progress.next
        try:
            previous_term = log.term(low - 1)
            entries = self._entries(low, max_bytes) if low <= log.last_index else ()
        except NotInMemory:
            progress.awaiting_disk = True
            return False
        except Compacted:
            self._send_checkpoint(progress)
            return False
        self._send(progress, low - 1, previous_term, entries)
        progress.sent(low - 1 + len(entries), sum([len(entry.data) for entry in entries]), tick)
        return True

    def _entries(self, low: int, max_bytes: int) -> tuple[Entry, ...]:
        """From the log; the same tuple again for the next follower that stands at the same place."""
        shared_low, shared_limit, entries = self._shared
        if shared_low != low or shared_limit != max_bytes:
            entries = self._log.entries(low, self._log.last_index + 1, max_bytes)
            self._shared = (low, max_bytes, entries)
        return entries

    def _send_empty(self, progress: Progress) -> None:
        """An append without entries at the end of what was sent: brings the commit index, finds out about
        losses."""
        previous = progress.next - 1
        try:
            previous_term = self._log.term(previous)
        except Compacted:
            # Retention has passed what was sent and lost. Nothing else would find out: with a full window, or with
            # nothing new to say, no append with entries is due.
            self._send_checkpoint(progress)
            return
        self._send(progress, previous, previous_term, ())

    def _send(self, progress: Progress, previous: int, previous_term: int, entries: tuple[Entry, ...]) -> None:
        commit = self._log.commit
        progress.sent_commit = commit
        self._outbox.at_once.append(
            AppendRequest(self._id, progress.replica, self._term, previous, previous_term, commit, entries)
        )

    def _send_checkpoint(self, progress: Progress) -> None:
        """Its next entry is gone from our log. A transfer is dear, so it waits for a sign of life."""
        if not progress.recent_active:
            progress.become_probe(progress.next)
            progress.paused = True
            return
        checkpoint = self._log.checkpoint
        progress.become_checkpoint(checkpoint.index)
        self._outbox.at_once.append(InstallCheckpoint(self._id, progress.replica, self._term, checkpoint))
