"""The replicated log as the core sees it: the host's storage, and behind it what is not durable yet.

        checkpoint │  storage (durable)          │  tail (in memory, being written)     │
                   └─ first_index                └─ durable + 1           └─ _unwritten └─ last_index
                         applied ≤ applying ≤ commit ≤ last_index

Entries stay in the tail until the host has confirmed the write that holds them, whatever the storage may already
show; so the core never takes for durable what is only staged. Writes are numbered by their Ready and may overlap.
Each remembers up to which index it vouches, and a truncation *clips* every write in flight: a late completion then
says nothing about the entries that replaced those it wrote. That is stronger than comparing terms at completion,
which is fooled when a third leader brings the first one's entry back (the ABA case: same index, same term, another
place on disk).

Prior art: etcd-io/raft ``log.go`` and ``log_unstable.go``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .errors import InvariantViolated, ensure
from .types import Checkpoint, Compacted, Entry, NotInMemory, Storage

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Write:
    """One Ready's entries on their way to the disk."""

    __slots__ = ("checkpoint", "last_index", "number")

    def __init__(self, number: int, last_index: int, checkpoint: Checkpoint | None) -> None:
        self.number = number
        self.last_index = last_index
        self.checkpoint = checkpoint


class Log:
    """Indices, terms and entries; the commit and apply cursors. Knows nothing of roles or of other replicas."""

    __slots__ = (
        "_checkpoint",
        "_checkpoint_given",
        "_storage",
        "_tail",
        "_tail_start",
        "_unwritten",
        "_writes",
        "applied",
        "applying",
        "awaiting_disk",
        "commit",
        "last_index",
        "last_term",
    )

    def __init__(self, storage: Storage, commit: int, applied: int) -> None:
        first, last = storage.first_index, storage.last_index
        checkpoint = storage.checkpoint
        ensure(last >= first - 1, "an empty log ends just below its first index")
        ensure(checkpoint.index >= first - 1, "what was compacted is covered by a checkpoint")
        ensure(applied >= first - 1, "the state machine cannot start below the first entry")
        self.commit = max(commit, applied, checkpoint.index)
        # Clamping instead would hide lost data: this replica acknowledged entries it no longer holds, and with its
        # vote a leader without them could win (RAFT.md §3).
        ensure(self.commit <= last, "the log ends below its commit index: committed entries were lost")
        self._storage = storage
        self._tail: list[Entry] = []
        self._tail_start = last + 1
        self._unwritten = last + 1
        self._writes: deque[_Write] = deque()
        self._checkpoint: Checkpoint | None = None
        self._checkpoint_given = False
        self.applied = self.applying = applied
        self.awaiting_disk = False
        """Committed entries are being read from disk; until they are there, none are handed out."""
        self.last_index = last
        self.last_term = storage.term(last)

    # --- questions

    @property
    def first_index(self) -> int:
        return self._checkpoint.index + 1 if self._checkpoint is not None else self._storage.first_index

    @property
    def checkpoint(self) -> Checkpoint:
        return self._checkpoint if self._checkpoint is not None else self._storage.checkpoint

    @property
    def durable(self) -> int:
        """Everything up to here is on this replica's disk; 0 while a checkpoint that replaces it all is being
        written."""
        return self._tail_start - 1 if self._checkpoint is None else 0

    def term(self, index: int) -> int:
        """The term at ``index`` ≤ last_index. Raises Compacted below first_index - 1."""
        if index == self.last_index:
            return self.last_term
        ensure(index < self.last_index, "no term above the last index")
        if index >= self._tail_start:
            return self._tail[index - self._tail_start].term
        checkpoint = self._checkpoint
        if checkpoint is None:
            return self._storage.term(index)
        if index == checkpoint.index:
            return checkpoint.term
        raise Compacted

    def matches(self, index: int, term: int) -> bool:
        """The log-matching question: is there an entry at ``index`` with ``term``?"""
        if index > self.last_index:
            return False
        try:
            return self.term(index) == term
        except Compacted:
            return False

    def is_as_current(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends so is at least as up-to-date as this one (§5.4.1)."""
        if last_term != self.last_term:
            return last_term > self.last_term
        return last_index >= self.last_index

    def agreement_bound(self, index: int, term: int) -> tuple[int, int]:
        """The highest index ≤ ``index`` whose term is ≤ ``term``, and its term (0 where it is compacted).

        Two logs cannot agree above it if the other one holds ``term`` at ``index``: terms only grow along a log.
        Both sides use it, so that a divergent tail costs one round per *term* in it, not per entry (etcd
        ``findConflictByTerm``).
        """
        index = min(index, self.last_index)
        while True:
            try:
                ours = self.term(index)
            except Compacted:
                return index, 0
            if ours <= term:
                return index, ours
            index -= 1

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """Entries low..high-1, cut to ``max_bytes`` of data, but never fewer than one. ``low < high ≤ last_index +
        1``.

        Raises Compacted or NotInMemory, as the storage does.
        """
        start = self._tail_start
        if low >= start:
            return _cut(self._tail, low - start, high - start, max_bytes)
        if self._checkpoint is not None:
            raise Compacted
        stored = self._storage.entries(low, min(high, start), max_bytes)
        if high > start == low + len(stored):
            room = max_bytes - sum([len(entry.data) for entry in stored])
            if room >= len(self._tail[0].data):
                stored += _cut(self._tail, 0, high - start, room)
        return stored

    # --- growing and truncating

    def append(self, entries: Sequence[Entry]) -> None:
        """Adds entries behind the last one."""
        ensure(entries[0].index == self.last_index + 1, "a log has no holes")
        self._tail.extend(entries)
        last = entries[-1]
        ensure(last.index - self._tail_start + 1 == len(self._tail), "entries are numbered without holes")
        ensure(last.term >= self.last_term, "terms never fall along a log")
        self.last_index = last.index
        self.last_term = last.term

    def first_news(self, entries: Sequence[Entry]) -> int:
        """The position in ``entries`` of the first one this log does not hold, len(entries) if it holds them all.

        The truncation rule hangs on it: what is here already is left alone, and so is everything behind it. The
        entries of an *old* append may be followed by newer ones here that the leader already counts as ours.
        """
        if entries[0].index > self.last_index:
            return 0
        for position, entry in enumerate(entries):
            if not self.matches(entry.index, entry.term):
                return position
        return len(entries)

    def truncate(self, index: int) -> None:
        """Drops the entries at and above ``index``: a leader has others there. Never committed ones."""
        ensure(index > self.commit, "a leader contradicts a committed entry")
        previous_term = self.term(index - 1)
        if index >= self._tail_start:
            del self._tail[index - self._tail_start :]
        else:
            self._tail.clear()
            self._tail_start = index
        self._unwritten = min(self._unwritten, index)
        self._clip_writes(index)
        self.last_index = index - 1
        self.last_term = previous_term

    def _clip_writes(self, index: int) -> None:
        """No write in flight vouches for what comes to stand at ``index`` or above from now on."""
        for write in self._writes:
            write.last_index = min(write.last_index, index - 1)

    def restore(self, checkpoint: Checkpoint) -> None:
        """A checkpoint replaces the whole log; what was being written vouches for nothing of the new one."""
        ensure(checkpoint.index > self.commit, "a checkpoint never takes back what is committed")
        self._clip_writes(0)
        self._tail.clear()
        self._checkpoint = checkpoint
        self._checkpoint_given = False
        self._tail_start = self._unwritten = checkpoint.index + 1
        self.last_index = self.commit = checkpoint.index
        self.last_term = checkpoint.term

    # --- the disk

    @property
    def has_unwritten(self) -> bool:
        return self._unwritten <= self.last_index or (self._checkpoint is not None and not self._checkpoint_given)

    @property
    def written(self) -> int:
        """The last index that earlier Readys have given to the host, durable or not."""
        return self._unwritten - 1

    def take_unwritten(self, number: int) -> tuple[Checkpoint | None, tuple[Entry, ...]]:
        """What Ready ``number`` has to make durable; it is on its way from here on."""
        checkpoint = None
        if self._checkpoint is not None and not self._checkpoint_given:
            checkpoint = self._checkpoint
            self._checkpoint_given = True
        position = self._unwritten - self._tail_start
        entries = tuple(self._tail[position:] if position else self._tail)
        self._unwritten = self.last_index + 1
        if entries or checkpoint is not None:
            self._writes.append(_Write(number, self.last_index, checkpoint))
        return checkpoint, entries

    def persisted(self, number: int) -> None:
        """The writes of all Readys up to ``number`` are durable."""
        last = 0
        writes = self._writes
        while writes and writes[0].number <= number:
            write = writes.popleft()
            last = write.last_index
            if write.checkpoint is not None and write.checkpoint is self._checkpoint:
                self._checkpoint = None
                self.applying = max(self.applying, write.checkpoint.index)
                self.applied = max(self.applied, write.checkpoint.index)
        if last >= self._tail_start:
            ensure(self._storage.last_index >= last, "a persisted write is in the storage")
            del self._tail[: last - self._tail_start + 1]
            self._tail_start = last + 1

    # --- committing and applying

    def commit_to(self, index: int) -> bool:
        """Raises the commit index; false if it stands there or higher already: it never falls."""
        if index <= self.commit:
            return False
        ensure(index <= self.last_index, "a commit index beyond the last entry means that entries were lost")
        self.commit = index
        return True

    @property
    def has_committed(self) -> bool:
        """Whether there are entries to hand to the state machine. Not while a checkpoint is being written: they
        would be applied to a state that is about to be replaced."""
        return self.applying < self.commit and not self.awaiting_disk and self._checkpoint is None

    def take_committed(self, max_bytes: int) -> tuple[Entry, ...]:
        """The next entries to apply; none if the disk has to bring them first."""
        if not self.has_committed:
            return ()
        try:
            entries = self.entries(self.applying + 1, self.commit + 1, max_bytes)
        except NotInMemory:
            self.awaiting_disk = True
            return ()
        except Compacted as error:
            raise InvariantViolated("entries were compacted before they were applied") from error
        self.applying = entries[-1].index
        return entries

    def applied_to(self, index: int) -> None:
        """The state machine holds everything up to ``index``."""
        ensure(self.applied <= index <= self.applying, "entries are applied once, in order, as handed out")
        self.applied = index


def _cut(entries: list[Entry], low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
    """entries[low:high] as long as their data fits, but never fewer than one: an entry larger than the limit would
    otherwise never be sent."""
    size = 0
    for position in range(low, high):
        size += len(entries[position].data)
        if size > max_bytes:
            return tuple(entries[low : max(position, low + 1)])
    return tuple(entries[low:high])
