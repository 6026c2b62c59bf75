"""One consumer group in one partition: its committed offset and its owner.

This is where a commit is judged (OFFSETS.md §2). Every check is made here, when the entry is applied, because only
then is it known what came before it in the log: a door that checked when a commit arrives would let through what
another entry, proposed a moment earlier, has made wrong. So a zombie's commit that was on its way while the
partition was taken over is refused on every replica alike (G7), and a commit can only be stored when the records
below it are in the log before it (G5). ZooKeeper's epoch and Chubby's sequencer (Burrows, 2006, §2.4) are the same
idea; Kafka keeps offsets in another log than the records, and can therefore check neither against the other.

Ownership is a *tenure*: it begins with an Acquire, which gives it an epoch that no tenure of the group had before,
in this life of its name or an earlier one. Sequences number the commits of one tenure and never go back. So an
*attempt*, (owner epoch, session, sequence), is one commit and no other, however often it is sent, which makes a
repeat recognisable (G8). A session that loses the partition and comes back begins anew: what it sends under its new
epoch is another attempt, even if it means the same. ``quorumlog.machine.offset_memory`` has what is remembered.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.machine.offset_memory import OffsetMemory
from quorumlog.machine.offset_results import (
    Acquired,
    AcquireResult,
    BeyondEnd,
    Change,
    ChangeKind,
    CommitRefusal,
    Committed,
    EpochNotGiven,
    Expired,
    Fate,
    FateForgotten,
    FateKnown,
    Fenced,
    GroupActive,
    NotExpired,
    NotOwner,
    OutOfRange,
    Owned,
    Regressed,
    ResetRefusal,
    Settled,
    SettleResult,
    StaleGeneration,
    Stored,
    VersionMismatch,
    WasReset,
)

if TYPE_CHECKING:
    from quorumlog.machine.offset_commands import Acquire, CommitItem, Expire, Release, Reset


class Tenure(IntEnum):
    """Where the newest tenure stands."""

    NONE = 0
    """Nobody has acquired the partition yet."""
    HELD = 1
    RELEASED = 2
    """Given back: its owner will commit no more, and nothing of what it had in hand is left undone."""
    REVOKED = 3
    """Ended by an operator's reset or by expiry: what its owner had in hand may be done twice."""


class Place(NamedTuple):
    """Where in the log a command stands, and the log of records as of there."""

    index: int  # type: ignore[assignment]  # the field's word, as in Entry
    term: int
    start_offset: int
    end_offset: int


_HELD = Tenure.HELD
_COMMIT = ChangeKind.COMMIT


class OffsetGroup:
    """Changed by applying, and by nothing else; whoever is outside the machine only looks.

    ``last_owner``, ``session`` and ``last_sequence`` belong to the newest tenure, over or not; ``owner`` is who has
    it now. ``expired_wall_ms`` is when the offset became a tombstone, None while it lives; ``stored`` stays in it.
    """

    __slots__ = (
        "critical",
        "exclusive",
        "expired_wall_ms",
        "generation",
        "hold_bytes",
        "last_owner",
        "last_sequence",
        "last_sign_ms",
        "last_use_ms",
        "lease_ms",
        "memory",
        "name",
        "owner_epoch",
        "previous_owner",
        "previous_released",
        "session",
        "stored",
        "tenure",
    )

    def __init__(self, name: str, epoch_floor: int, forgotten_version: int) -> None:
        self.name = name
        self.stored: Stored | None = None
        self.expired_wall_ms: int | None = None
        self.tenure = Tenure.NONE
        self.owner_epoch = epoch_floor
        self.generation = 0
        self.session = 0
        self.last_sequence = 0
        self.last_owner = ""
        self.previous_owner = ""
        #: An Acquire that is repeated because its answer was lost must get the same answer.
        self.previous_released = True
        self.exclusive = False
        self.lease_ms = 0
        self.last_sign_ms = 0
        self.last_use_ms = 0
        self.critical = False
        self.hold_bytes = 0
        self.memory = OffsetMemory(epoch_floor, forgotten_version)

    # --- questions ---

    @property
    def owner(self) -> str:
        """Who owns it now; empty: nobody."""
        return self.last_owner if self.tenure is _HELD else ""

    @property
    def owned(self) -> bool:
        """Somebody owns it now."""
        return self.tenure is _HELD

    @property
    def tombstone(self) -> bool:
        """The offset has expired."""
        return self.expired_wall_ms is not None

    @property
    def expired(self) -> Expired | None:
        """The tombstone, as a refusal; there is none of nothing."""
        if self.expired_wall_ms is None or self.stored is None:
            return None
        return Expired(self.stored, self.expired_wall_ms)

    @property
    def live(self) -> Stored | None:
        """What is stored and has not expired."""
        return None if self.expired_wall_ms is not None else self.stored

    @property
    def version(self) -> int:
        """Of what is stored, expired or not; 0: nothing."""
        return 0 if self.stored is None else self.stored.version

    @property
    def forgotten_version(self) -> int:
        """The newest version that is remembered no longer; 0: all are."""
        return self.memory.forgotten_version

    def history(self) -> tuple[Change, ...]:
        """All that is remembered, oldest first."""
        return self.memory.changes()

    def unused_since(self, wall_ms: int) -> bool:
        """What Expire asks: not critical, and not used after ``wall_ms``; of a tombstone, that it is older.

        Every sign of an owner is a use, so an owner who has given one since is covered.
        """
        if self.critical:
            return False
        return (self.last_use_ms if self.expired_wall_ms is None else self.expired_wall_ms) <= wall_ms

    # --- commits ---

    def commit(
        self, item: CommitItem, index: int, term: int, wall_ms: int, node_id: int, end_offset: int
    ) -> Committed | CommitRefusal:
        """Stores ``item``, or says why not. The one hot path of offsets."""
        _, offset, owner_epoch, session, sequence, fingerprint, metadata = item
        stored = self.stored
        # A tombstone is nobody's: it never gets past the tenure.
        if (
            owner_epoch != self.owner_epoch
            or session != self.session
            or self.tenure is not _HELD
            or sequence <= self.last_sequence
            or offset > end_offset
            or (stored is not None and offset < stored.offset)
        ):
            return self._commit_refused(item, end_offset)
        new = tuple.__new__
        self.stored = new(Stored, (offset, index, term, wall_ms, fingerprint, metadata))
        self.last_sequence = sequence
        self.last_sign_ms = wall_ms
        if wall_ms > self.last_use_ms:
            self.last_use_ms = wall_ms
        owner = self.last_owner
        change = (_COMMIT, index, term, wall_ms, offset, owner, owner_epoch, session, sequence, node_id, "")
        self.memory.add_commit(new(Change, change))
        return new(Committed, (offset, index, term, False))

    def _commit_refused(self, item: CommitItem, end_offset: int) -> Committed | CommitRefusal:
        """Why ``item`` is not stored; the first of these reasons, in this order."""
        if self.tenure is Tenure.NONE:
            return NotOwner(self.name)
        if (expired := self.expired) is not None:
            return expired
        if item.owner_epoch < self.owner_epoch:
            return Fenced(item.owner_epoch, self.owner_epoch, self.owner)
        if item.owner_epoch > self.owner_epoch or self.tenure is not _HELD or item.session != self.session:
            return NotOwner(self.name)
        if item.sequence <= self.last_sequence:
            return self._repeated(item)
        stored = self.stored
        if item.offset > end_offset or stored is None:
            return BeyondEnd(item.offset, end_offset)
        return Regressed(item.offset, stored.offset)

    def _repeated(self, item: CommitItem) -> Committed | Settled | FateForgotten:
        """An attempt of the owner whose sequence is used up: by itself, or by having been settled."""
        found = self.memory.attempt(item.owner_epoch, item.sequence)
        if found is not None:
            return Committed(found.offset or 0, found.version, found.term, True)
        if self.memory.may_have_forgotten(item.owner_epoch, item.sequence):
            return FateForgotten(self.forgotten_version)
        return Settled(item.sequence)

    # --- ownership ---

    def acquire(self, command: Acquire, place: Place) -> AcquireResult:
        """A new tenure, or a renewal of the session's own."""
        if (expired := self.expired) is not None:
            return expired
        renewed = self.tenure is _HELD and self.session == command.session
        if not renewed:
            if command.generation < self.generation:
                return StaleGeneration(command.generation, self.generation)
            if self.tenure is _HELD and self.exclusive:
                # The log has the owner's sign before this command. A sign later than it by the wall clock was
                # stamped by a leader whose clock was ahead: the lease must not last for as long as it was.
                self.last_sign_ms = min(self.last_sign_ms, command.wall_ms)
                until = self.last_sign_ms + self.lease_ms
                if command.wall_ms < until:
                    return Owned(self.last_owner, until)
            self.previous_owner = self.last_owner
            self.previous_released = self.tenure in (Tenure.NONE, Tenure.RELEASED)
            self.tenure = _HELD
            self.owner_epoch += 1
            self.session, self.last_sequence = command.session, 0
        self.last_owner = command.owner
        self.generation = max(self.generation, command.generation)
        self.exclusive = command.exclusive
        self.lease_ms = command.lease_ms
        self.last_sign_ms = command.wall_ms
        self._used(command.wall_ms)
        if not renewed:
            self._landmark(ChangeKind.ACQUIRE, command, place, self.live, command.owner, command.session)
        return Acquired(
            self.owner_epoch,
            self.stored,
            place.start_offset,
            place.end_offset,
            self.previous_owner,
            self.previous_released,
            renewed,
        )

    def release(self, command: Release, place: Place) -> None:
        """Ends the tenure, if it is the one that is meant."""
        if self.tenure is _HELD and self.session == command.session and self.owner_epoch == command.owner_epoch:
            self.tenure = Tenure.RELEASED
            # It was in use until here, however long ago the last commit was.
            self._used(command.wall_ms)
            self._landmark(ChangeKind.RELEASE, command, place, self.live, self.last_owner, self.session)

    def touch(self, wall_ms: int, owner_epoch: int) -> None:
        """The owner of that epoch is there, with nothing to commit."""
        if self.tenure is _HELD and self.owner_epoch == owner_epoch:
            self._used(wall_ms)

    # --- operators ---

    def reset_fault(self, command: Reset, place: Place) -> ResetRefusal | None:
        """Why ``command`` may not be done, if so."""
        if command.pin:
            return self._pin_fault(command, place)
        if command.restore and self.expired_wall_ms is None:
            return NotExpired(self.name)
        if command.expected_version and command.expected_version != self.version:
            return VersionMismatch(command.expected_version, self.version)
        if self.tenure is _HELD and not command.force:
            return GroupActive(self.last_owner)
        # What a tombstone holds may lie below the log's start by now. It comes back as it was: the next Acquire
        # says so, and has a policy for it.
        return None if command.restore else range_fault(command.offset, place)

    def _pin_fault(self, command: Reset, place: Place) -> ResetRefusal | None:
        if (expired := self.expired) is not None:
            return expired
        if command.owner_epoch < self.owner_epoch:
            return Fenced(command.owner_epoch, self.owner_epoch, self.owner)
        if command.owner_epoch > self.owner_epoch or self.tenure is not _HELD:
            return NotOwner(self.name)
        if self.stored is not None:
            return VersionMismatch(0, self.version)
        return range_fault(command.offset, place)

    def reset(self, command: Reset, place: Place) -> WasReset:
        """Moves the offset; ``reset_fault`` has found nothing. An owner whose offset is moved is fenced by it."""
        before = self.stored
        self.stored = after = stored_by_reset(before, command, place)
        self.expired_wall_ms = None
        owner, session = (self.last_owner, self.session) if command.pin else ("", 0)
        if self.tenure is _HELD and not command.pin:
            self.tenure = Tenure.REVOKED
            self.owner_epoch += 1
        self._used(command.wall_ms)
        kind = ChangeKind.RESTORE if command.restore else ChangeKind.RESET
        self._landmark(kind, command, place, after, owner, session, command.reason)
        return WasReset(after, before)

    def expire(self, command: Expire, place: Place) -> Stored | None:
        """Makes the offset a tombstone and returns it. None: there is none, or it is a tombstone already, and the
        group may go. The caller has asked ``unused_since``."""
        if self.stored is None or self.expired_wall_ms is not None:
            return None
        self.expired_wall_ms = command.wall_ms
        if self.tenure is _HELD:
            self.tenure = Tenure.REVOKED
        self._landmark(ChangeKind.EXPIRE, command, place, None, "", 0)
        return self.stored

    # --- what became of a commit ---

    def settle(self, owner_epoch: int, session: int, sequence: int) -> SettleResult:
        """``fate_of_attempt``, with "not yet" made "never": the sequence is used up."""
        fate = self.fate_of_attempt(owner_epoch, session, sequence)
        if fate is None:
            self.last_sequence = sequence
            return FateKnown(Fate.NEVER_HAPPENED, None, self.live)
        return fate

    def fate_of_attempt(self, owner_epoch: int, session: int, sequence: int) -> SettleResult | None:
        """What became of a commit, as of what is applied here; None: it may still arrive and be stored.

        Once the tenure is over it is final: what arrives now carries an epoch that is fenced, or one whose owner
        has given back. So it is for a session that never had that epoch.
        """
        if not 0 < owner_epoch <= self.owner_epoch:
            return EpochNotGiven(owner_epoch, self.owner_epoch)
        found = self.memory.attempt(owner_epoch, sequence)
        if found is not None:
            if found.session == session:
                return self._stored_once(found)
        elif self.memory.may_have_forgotten(owner_epoch, sequence):
            return FateForgotten(self.forgotten_version)
        elif self._open(owner_epoch, session) and sequence > self.last_sequence:
            return None
        return FateKnown(Fate.NEVER_HAPPENED, None, self.live)

    def _open(self, owner_epoch: int, session: int) -> bool:
        return self.tenure is _HELD and owner_epoch == self.owner_epoch and session == self.session

    def fate_of_receipt(self, offset: int, version: int, term: int) -> SettleResult:
        """What became of the commit whose receipt this claims to be. A reset's version is good for one, too."""
        change = self.memory.stored_at(version)
        if change is not None and (change.offset, change.term) == (offset, term):
            return self._stored_once(change)
        if change is not None or version > self.forgotten_version:
            return FateKnown(Fate.NEVER_HAPPENED, None, self.live)
        return FateForgotten(self.forgotten_version)

    def _stored_once(self, change: Change) -> FateKnown:
        live = self.live
        present = live is not None and live.version == change.version
        return FateKnown(Fate.PRESENT if present else Fate.SUPERSEDED, change, live)

    # --- keeping ---

    def _used(self, wall_ms: int) -> None:
        # The largest: a leader whose clock is behind must not make the group look unused for longer.
        self.last_use_ms = max(self.last_use_ms, wall_ms)

    def _landmark(
        self,
        kind: ChangeKind,
        command: Acquire | Release | Reset | Expire,
        place: Place,
        stored: Stored | None,
        owner: str,
        session: int,
        reason: str = "",
    ) -> None:
        offset = None if stored is None else stored.offset
        index, term, _, _ = place
        epoch, wall_ms, node_id = self.owner_epoch, command.wall_ms, command.node_id
        self.memory.add_landmark(
            Change(kind, index, term, wall_ms, offset, owner, epoch, session, 0, node_id, reason)
        )


def stored_by_reset(before: Stored | None, command: Reset, place: Place) -> Stored:
    """What ``command`` stores; with ``restore``, what the tombstone had, of a new version."""
    if command.restore and before is not None:
        return before._replace(version=place.index, term=place.term, wall_ms=command.wall_ms)
    return Stored(command.offset, place.index, place.term, command.wall_ms, command.fingerprint, b"")


def range_fault(offset: int, place: Place) -> OutOfRange | None:
    """A reset must lead into the log."""
    if place.start_offset <= offset <= place.end_offset:
        return None
    return OutOfRange(offset, place.start_offset, place.end_offset)
