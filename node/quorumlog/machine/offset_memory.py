"""What a partition remembers of one consumer group's past, and what may be concluded from it.

The last ``REMEMBERED_COMMITS`` commits and, apart from them, the last ``REMEMBERED_LANDMARKS`` other changes:
frequent commits must not push out who owned the partition and who moved the offset. Both are replicated state,
evictions included.

Two marks say how far it has forgotten, one for each way to ask. They are what makes "this was never stored" an
answer: it is given only where it cannot have been forgotten (the client sessions of the dissertation's §6.3, which
must likewise not forget what may still be asked about):

- ``forgotten_version`` is that of the newest change of the *offset* that is remembered no longer, 0 if there is
  none. Versions grow.
- ``forgotten_attempt`` is (owner epoch, sequence) of the newest *commit* that is remembered no longer. These grow
  as well: epochs from one tenure to the next, and within one tenure sequences. Commits are forgotten in the order
  in which they were stored, so of what lies above this none is forgotten. It would not do to go by sessions: one
  that lost the partition and came back has attempts on both sides of whatever was forgotten between.
"""

from __future__ import annotations

from collections import deque

from quorumlog.machine.offset_results import Change, ChangeKind

REMEMBERED_COMMITS = 32
REMEMBERED_LANDMARKS = 64

#: Apart from commits, what changes the stored offset.
_MOVES = (ChangeKind.RESET, ChangeKind.RESTORE)

#: The largest sequence that there can be.
_LAST = (1 << 64) - 1


class OffsetMemory:
    """``commits`` and ``landmarks``, the oldest first. To whoever is outside the machine it is only to be read."""

    __slots__ = ("commits", "forgotten_attempt", "forgotten_version", "landmarks")

    def __init__(self, epoch_floor: int, forgotten_version: int) -> None:
        """Of a group whose epochs begin above ``epoch_floor``: what earlier lives of its name did is forgotten."""
        self.commits: deque[Change] = deque()
        self.landmarks: deque[Change] = deque()
        self.forgotten_version = forgotten_version
        self.forgotten_attempt = (epoch_floor, _LAST)

    def add_commit(self, change: Change) -> None:
        commits = self.commits
        if len(commits) >= REMEMBERED_COMMITS:
            oldest = commits.popleft()
            self._forget(oldest)
            self.forgotten_attempt = (oldest.owner_epoch, oldest.sequence)
        commits.append(change)

    def add_landmark(self, change: Change) -> None:
        landmarks = self.landmarks
        if len(landmarks) >= REMEMBERED_LANDMARKS:
            oldest = landmarks.popleft()
            if oldest.kind in _MOVES:
                self._forget(oldest)
        landmarks.append(change)

    def _forget(self, change: Change) -> None:
        if change.version > self.forgotten_version:
            self.forgotten_version = change.version

    def changes(self) -> tuple[Change, ...]:
        """All that is remembered, oldest first. No two changes of a group have one version."""
        return tuple(sorted((*self.commits, *self.landmarks), key=_version))

    def attempt(self, owner_epoch: int, sequence: int) -> Change | None:
        """The commit of this number in the tenure of this epoch."""
        for change in reversed(self.commits):
            if change.sequence == sequence and change.owner_epoch == owner_epoch:
                return change
        return None

    def stored_at(self, version: int) -> Change | None:
        """The change of the offset that has this version; a reset is one, too."""
        for change in self.commits:
            if change.version == version:
                return change
        for change in self.landmarks:
            if change.version == version and change.kind in _MOVES:
                return change
        return None

    def may_have_forgotten(self, owner_epoch: int, sequence: int) -> bool:
        """Whether the attempt, which is not among the commits, may have been there once."""
        return (owner_epoch, sequence) <= self.forgotten_attempt


def _version(change: Change) -> int:
    return change.version
