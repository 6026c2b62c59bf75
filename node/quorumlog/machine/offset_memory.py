"""What a partition remembers of one consumer group's past, and what may be concluded from it.

The last ``REMEMBERED_COMMITS`` commits and, apart from them, the last ``REMEMBERED_LANDMARKS`` other changes:
frequent commits must not push out who owned the partition and who moved the offset. Both are replicated state,
evictions included.

``forgotten_version`` is that of the newest change of the *offset* that is remembered no longer, 0 if there is none.
It is what makes "this was never stored" an answer: it is given only where it cannot have been forgotten
(the client sessions of the dissertation's §6.3, which must likewise not forget what may still be asked about).
"""

from __future__ import annotations

from collections import deque

from quorumlog.machine.offset_results import Change, ChangeKind

REMEMBERED_COMMITS = 32
REMEMBERED_LANDMARKS = 64

#: Apart from commits, what changes the stored offset.
_MOVES = (ChangeKind.RESET, ChangeKind.RESTORE)


class OffsetMemory:
    """``commits`` and ``landmarks``, the oldest first. To whoever is outside the machine it is only to be read."""

    __slots__ = ("commits", "forgotten_version", "landmarks")

    def __init__(self, forgotten_version: int) -> None:
        self.commits: deque[Change] = deque()
        self.landmarks: deque[Change] = deque()
        self.forgotten_version = forgotten_version

    def add_commit(self, change: Change) -> None:
        commits = self.commits
        if len(commits) >= REMEMBERED_COMMITS:
            self._forget(commits.popleft())
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

    def attempt(self, session: int, sequence: int) -> Change | None:
        """The commit that this attempt came to."""
        for change in reversed(self.commits):
            if change.sequence == sequence and change.session == session:
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

    def last_sequence(self, session: int) -> int:
        """The highest that the session has stored; 0: none is remembered."""
        return max((change.sequence for change in self.commits if change.session == session), default=0)

    def may_have_forgotten(self, session: int, sequence: int) -> bool:
        """Whether the attempt, which is not among the commits, may have been there once.

        Commits are forgotten oldest first and a session's sequences grow. So it was not, if an earlier commit of
        the session is still there; nor if the session is younger than whatever is forgotten. The *oldest* Acquire
        of the session that is remembered says how old it is: it may have lost the partition and come back.

        What this cannot see: a session that comes back after its first Acquire has left the landmarks (so many
        changes of owner later, or in a later life of a group that was removed). An attempt carries no epoch that
        would tell. Sessions are random numbers drawn for one consumer's life, and whoever asks does so soon after.
        """
        if not self.forgotten_version:
            return False
        for change in self.commits:
            if change.session == session and change.sequence < sequence:
                return False
        for change in self.landmarks:
            if change.kind is ChangeKind.ACQUIRE and change.session == session:
                return change.version <= self.forgotten_version
        return True


def _version(change: Change) -> int:
    return change.version
