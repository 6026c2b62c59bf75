"""When one partition's progress is committed, and what follows from each answer.

*When.* ``after_processing``: what is processed is durable within ``interval_ms`` of the moment it was finished, and
is sent earlier once ``count`` records have gathered. The clock runs from the record, not from the last commit and
not with the next record: an idle consumer's last record is committed like any other. ``each``: at once. ``manual``:
when asked. A flush (revocation, close, SIGTERM) commits whatever is processed, in every mode but manual.

*One at a time.* A partition has at most one commit under way. What is finished meanwhile is *fresh* and leaves with
the next: a commit is done when it is answered, never when it was sent. A failed one is made again; but in manual
mode the caller is told that it was not done, so that only the caller may.

*Sequences.* Each new attempt has the session's next number. Repeats of an attempt whose outcome is open are the
committer's and keep their number; after a definite refusal the next attempt has a new one.

*Unknown outcomes* are asked about (Resolve), and the answer is final: stored, or never will be. Until then nothing
else is sent for the partition.

*Double confirmation.* After the acknowledgement a linearizable fetch must show that version or a later one. What it
does not show within ``confirm_timeout_ms`` is *unconfirmed*: it stays listed until a later fetch confirms it.

*Lost.* FENCED and NOT_OWNER mean that somebody else has the partition: this object commits nothing any more. So do
refusals that no repeating can mend (the offset lies beyond the end, the record is another one): to go on committing
behind them would hide them.

Prior art: Kafka's consumer commits by a timer that only runs inside poll(), what poll() handed out before; most of
the rules above are the opposite of something that follows from that.

Pure: time in ms on any steady clock; ``poll`` says what to do, the other methods what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.client.errors import (
    InvalidRequest,
    MetadataTooLarge,
    NotDone,
    OutcomeUnknown,
    QuorumlogError,
    Reason,
    as_outcome,
    make_error,
)
from quorumlog.client.offset_types import Fate
from quorumlog.client.policy.backoff import RESEND
from quorumlog.client.policy.committer import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from quorumlog.client.offset_types import Fingerprint
    from quorumlog.client.policy.progress import Exposure, Progress
    from quorumlog.client.receipt import Receipt

MAX_METADATA_BYTES = 4096
#: A commit is sent so much before its bound, but no more than a quarter of it: a commit takes a round trip and an
#: fsync, and what must be durable within a second cannot be sent when the second is over.
_LEAD_MS = 200.0

#: Definite refusals after which committing goes on: the trouble is the cluster's, not the commit's.
_PASSING = frozenset(
    {
        Reason.NOT_LEADER,
        Reason.NO_QUORUM,
        Reason.OVERLOADED,
        Reason.DISK_FULL,
        Reason.REPLICA_DAMAGED,
        Reason.SHUTTING_DOWN,
        Reason.DEADLINE,
        Reason.UNREACHABLE,
        Reason.INTERNAL,
        Reason.COMMIT_SETTLED,
    }
)


class CommitMode(Enum):
    """When an offset is committed."""

    AFTER_PROCESSING = "after_processing"
    MANUAL = "manual"
    EACH = "each"


@dataclass(frozen=True, slots=True)
class CommitSettings:
    """How a consumer commits. ``count`` 0: by time only."""

    mode: CommitMode = CommitMode.AFTER_PROCESSING
    interval_ms: float = 1000.0
    count: int = 10_000
    double: bool = False
    confirm_timeout_ms: float = 10_000.0

    def __post_init__(self) -> None:
        if self.interval_ms <= 0 or self.confirm_timeout_ms <= 0:
            raise ValueError("commit_interval_ms and the time to confirm must be above 0")
        if self.count < 0:
            raise ValueError(f"commit_count must not be below 0, is {self.count}")


class Resolve(NamedTuple):
    """Ask any node what became of this attempt; then ``resolved`` or ``ask_failed``."""

    attempt: Attempt


class ReadBack(NamedTuple):
    """Fetch the offset through the leader, linearizably; then ``read_back`` or ``ask_failed``."""

    receipt: Receipt


class Unconfirmed(NamedTuple):
    """An acknowledged commit that the read-back did not show, and why."""

    receipt: Receipt
    error: QuorumlogError


class _State(Enum):
    IDLE = "idle"
    SENT = "sent"
    UNKNOWN = "unknown"
    """The attempt's outcome is open: to be asked about."""
    ACKNOWLEDGED = "acknowledged"
    """Durable, and to be read back."""


class PartitionCommits:
    """The commits of one owner of (group, partition). ``key``: group, topic, partition.

    ``lost``: why nothing is committed any more; None while it is. ``receipt`` and ``stored_sequence``: of the
    newest durable commit.
    """

    __slots__ = (
        "_asked",
        "_asked_ms",
        "_asking",
        "_attempt",
        "_bound_told",
        "_failures",
        "_flushing",
        "_limit",
        "_metadata",
        "_on_settled",
        "_pending_receipt",
        "_random",
        "_retry_at_ms",
        "_sequence",
        "_settings",
        "_stand",
        "_state",
        "commits",
        "key",
        "last_error",
        "lost",
        "metadata",
        "owner_epoch",
        "progress",
        "receipt",
        "resolved_count",
        "session",
        "stored_sequence",
        "unconfirmed",
    )

    def __init__(
        self,
        key: tuple[str, str, int],
        owner_epoch: int,
        session: int,
        progress: Progress,
        settings: CommitSettings,
        random: Random,
        fingerprint: Fingerprint | None = None,
        on_settled: Callable[[Attempt], None] = lambda _: None,
    ) -> None:
        self.key = key
        self.owner_epoch = owner_epoch
        self.session = session
        self.progress = progress
        self.lost: QuorumlogError | None = None
        self.receipt: Receipt | None = None
        self.stored_sequence = 0
        self.unconfirmed: list[Unconfirmed] = []
        self.commits = 0
        self.resolved_count = 0
        self.last_error: QuorumlogError | None = None
        self.metadata = b""
        self._settings = settings
        self._random = random
        #: Of the newest durable commit: it is sent again by a commit of the same offset.
        self._stand = (progress.durable, fingerprint)
        self._on_settled = on_settled
        self._state = _State.IDLE
        self._sequence = 0
        self._attempt: Attempt | None = None
        self._pending_receipt: Receipt | None = None
        self._asked = False
        self._limit: int | None = None
        self._asked_ms = 0.0
        self._asking = False
        self._flushing = False
        self._failures = 0
        self._retry_at_ms = 0.0
        self._bound_told = False

    # ---- asked for

    def ask(self, metadata: bytes | None = None, offset: int | None = None) -> int:
        """Commit what is processed now (at most up to ``offset``), even if the same offset is stored already; the
        sequence of the first attempt that does. ``metadata`` goes with it and those that follow. Raises
        MetadataTooLarge."""
        if metadata is not None:
            self.metadata = checked_metadata(metadata)
        if offset is None or not self._asked:
            self._limit = offset
        elif self._limit is not None:
            self._limit = max(self._limit, offset)
        self._asked = True
        return self._sequence + 1

    def flush(self) -> None:
        """Commit what is processed, without waiting for more."""
        if self._settings.mode is not CommitMode.MANUAL:
            self._flushing = True

    @property
    def settled(self) -> bool:
        """Nothing is under way, and nothing that may be committed is missing."""
        if self.lost is not None:
            return self._state not in (_State.UNKNOWN, _State.SENT)
        return (
            self._state is _State.IDLE
            and not self._asked
            and (self._settings.mode is CommitMode.MANUAL or self.progress.processed <= self.progress.durable)
        )

    # ---- out

    def poll(self, now_ms: float) -> Attempt | Resolve | ReadBack | None:
        """What to do now, if anything: hand an Attempt to the committer, ask about one, read one back."""
        state = self._state
        if state is _State.IDLE:
            if self.lost is not None or now_ms < self._retry_at_ms or not self._due(now_ms):
                return None
            return self._next_attempt()
        if self._asking or now_ms < self._retry_at_ms:
            return None
        if state is _State.UNKNOWN and self._attempt is not None:
            self._asking = True
            return Resolve(self._attempt)
        if state is _State.ACKNOWLEDGED and self._pending_receipt is not None:
            self._asking = True
            return ReadBack(self._pending_receipt)
        return None

    def _due(self, now_ms: float) -> bool:
        progress = self.progress
        if self._asked:
            # Not while a replay has not caught up: a commit below the stored offset is refused.
            return progress.processed >= progress.durable
        fresh = progress.processed - progress.sent
        if fresh <= 0:
            self._flushing = False
            return False
        settings = self._settings
        if self._flushing or settings.mode is CommitMode.EACH:
            return True
        if settings.mode is CommitMode.MANUAL:
            return False
        return 0 < settings.count <= fresh or now_ms >= self._due_at_ms()

    def _due_at_ms(self) -> float:
        interval_ms = self._settings.interval_ms
        return (self.progress.fresh_ms or 0.0) + interval_ms - min(_LEAD_MS, interval_ms / 4)

    def _next_attempt(self) -> Attempt:
        progress = self.progress
        offset = progress.sending(self._limit)
        fingerprint = progress.fingerprint(offset)
        if fingerprint is None and offset == self._stand[0]:
            fingerprint = self._stand[1]
        self._asked = False
        self._limit = None
        self._sequence += 1
        self._attempt = Attempt(
            self.key,
            offset,
            self.owner_epoch,
            self.session,
            self._sequence,
            fingerprint,
            self.metadata,
            self._on_settled,
        )
        self._state = _State.SENT
        return self._attempt

    def wake_at_ms(self) -> float | None:
        """When to poll again if nothing happens before; None: not before something does."""
        if self._state is _State.SENT or self._asking:
            return None
        if self._state is not _State.IDLE:
            return self._retry_at_ms
        if self.lost is not None or (self.progress.fresh <= 0 and not self._asked):
            return None
        if self._asked or self._flushing or self._settings.mode is CommitMode.EACH:
            return self._retry_at_ms
        if self._settings.mode is CommitMode.MANUAL:
            return None
        return max(self._due_at_ms(), self._retry_at_ms)

    # ---- in

    def settle(self, attempt: Attempt, now_ms: float) -> None:
        """The committer has brought the attempt to its end."""
        if attempt is not self._attempt:
            return
        if attempt.receipt is not None:
            self._stored(attempt, attempt.receipt, now_ms)
            return
        error = attempt.error
        if error is None:
            return
        self.last_error = error
        if isinstance(error, OutcomeUnknown):
            self._state = _State.UNKNOWN
            self._retry_at_ms = now_ms
            refusal = attempt.refusal or error
            if refusal.reason not in _PASSING and error.reason not in _PASSING:
                self.lost = error
            return
        self._not_stored(error, now_ms)

    @property
    def sequence(self) -> int:
        """Of the newest attempt."""
        return self._sequence

    @property
    def under_way(self) -> Attempt | None:
        """What the committer has, or what is being asked about."""
        return self._attempt

    @property
    def confirming(self) -> bool:
        """The newest commit is acknowledged, and not read back yet."""
        return self._state is _State.ACKNOWLEDGED

    def _stored(self, attempt: Attempt, receipt: Receipt, now_ms: float) -> None:
        self.commits += 1
        self.receipt = receipt
        self.stored_sequence = attempt.sequence
        self._failures = 0
        self._retry_at_ms = 0.0
        self._attempt = None
        self._stand = (attempt.offset, attempt.fingerprint)
        self.progress.committed(attempt.offset)
        self._bound_told = False
        if self._settings.double:
            self._state = _State.ACKNOWLEDGED
            self._pending_receipt = receipt
            self._asked_ms = now_ms
        else:
            self._state = _State.IDLE

    def _not_stored(self, error: QuorumlogError | None, now_ms: float) -> None:
        """The attempt had no effect and never will."""
        attempt, self._attempt = self._attempt, None
        self._state = _State.IDLE
        self.progress.failed()
        if attempt is not None and self._settings.mode is not CommitMode.MANUAL:
            # What was asked for although it was stored already: nothing fresh would bring it back.
            self._asked = self._asked or attempt.offset <= self.progress.durable
        if error is None:
            return
        if error.reason not in _PASSING:
            self.lost = error
            return
        self._failures += 1
        delay_ms = 0.0 if error.reason is Reason.COMMIT_SETTLED else RESEND.delay_ms(self._failures, self._random)
        self._retry_at_ms = now_ms + max(delay_ms, float(error.retry_after_ms))

    def resolved(self, fate: Fate, receipt: Receipt | None, now_ms: float) -> None:
        """What became of the attempt asked about."""
        attempt = self._attempt
        self._asking = False
        if attempt is None or self._state is not _State.UNKNOWN:
            return
        self.resolved_count += 1
        if fate is Fate.NEVER_HAPPENED or receipt is None:
            self._not_stored(None, now_ms)
            if self.lost is not None and attempt.refusal is not None:
                # What was refused is now known to have had no effect by an earlier sending either.
                self.lost = attempt.refusal
        else:
            self._stored(attempt, receipt, now_ms)

    def read_back(self, version: int, now_ms: float) -> None:
        """The leader's linearizable answer shows this version (0: nothing is stored)."""
        self._asking = False
        receipt = self._pending_receipt
        if receipt is None:
            return
        if version >= receipt.version:
            self.unconfirmed = [each for each in self.unconfirmed if each.receipt.version > version]
        else:
            words = f"the leader shows version {version}, and {receipt} was acknowledged"
            self._leave_unconfirmed(receipt, make_error(Reason.INTERNAL, words, not_done=False))
        self._pending_receipt = None
        self._state = _State.IDLE

    def ask_failed(self, error: QuorumlogError, now_ms: float) -> None:
        """The question that ``poll`` wanted asked has no answer yet."""
        self._asking = False
        self._failures += 1
        self._retry_at_ms = now_ms + max(RESEND.delay_ms(self._failures, self._random), float(error.retry_after_ms))
        if self._state is _State.ACKNOWLEDGED and self._pending_receipt is not None:
            if now_ms - self._asked_ms >= self._settings.confirm_timeout_ms or error.reason not in _PASSING:
                self._leave_unconfirmed(self._pending_receipt, error)
                self._pending_receipt = None
                self._state = _State.IDLE
                self._retry_at_ms = now_ms
        elif self._state is _State.UNKNOWN and isinstance(error, NotDone) and error.reason not in _PASSING:
            # It is not known any more, and never will be. To commit again is safe whatever it was: an offset that
            # is stored already may be stored again.
            self._not_stored(None, now_ms)

    def _leave_unconfirmed(self, receipt: Receipt, error: QuorumlogError) -> None:
        words = f"{receipt} was acknowledged and is not confirmed: {error.message}"
        self.unconfirmed.append(Unconfirmed(receipt, as_outcome(error, words, not_done=False)))

    def lose(self, error: QuorumlogError) -> None:
        """The partition is somebody else's, as a read or the coordinator told."""
        if self.lost is None:
            self.lost = error

    # ---- questions

    def broken_bound(self, now_ms: float) -> Exposure | None:
        """What is exposed for longer than the bound; told once, until a commit succeeds again."""
        if self._bound_told or self._settings.mode is CommitMode.MANUAL:
            return None
        exposure = self.progress.exposure(now_ms)
        if exposure.age_ms <= self._settings.interval_ms:
            return None
        self._bound_told = True
        return exposure


def checked_metadata(metadata: bytes) -> bytes:
    """``metadata`` if it may go with a commit. Raises MetadataTooLarge or InvalidRequest."""
    if not isinstance(metadata, bytes):
        raise InvalidRequest(f"metadata must be bytes, not {type(metadata).__name__}")
    if len(metadata) > MAX_METADATA_BYTES:
        raise MetadataTooLarge(f"metadata of {len(metadata)} bytes; at most {MAX_METADATA_BYTES}")
    return metadata
