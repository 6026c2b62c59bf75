"""One member of a consumer group: joining, giving signs of life, taking partitions and giving them back.

The coordinator assigns; a member only follows. What it may own comes with every answer; what it holds beyond that
it must stop reading, commit, and give back with its next heartbeat, which is sent at once. A partition is acquired
(``Offsets.Acquire``) with the newest generation in which the member knows itself to have it.

Three rules carry the safety, and each has its counter-story:

1. A partition that was given back is held no more from that moment, and an answer to a heartbeat sent *before* does
   not bring it back: its coordinator had not heard yet.
2. An answer of an older generation than the one known changes nothing: it came from a coordinator that has been
   replaced, or took a long way.
3. A member that has had no answer for its session's length must expect to have been given up: it hands out no more
   records (``silent``) until it knows. Its commits are fenced in any case; this keeps it from working in vain.

UNKNOWN_MEMBER ends the membership: everything held is dropped, and the member joins again under a new id. A
static member (one with an ``instance`` name) does that only if it had been silent for long enough to be given up;
otherwise another process has come with its name, and two that take the name from each other would never end.

Prior art: KIP-848 (the coordinator assigns, members reconcile one partition at a time); KIP-345 for static members.

Pure: time in ms on any steady clock, ids from the ``Random`` passed in.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.client.errors import QuorumlogError, Reason
from quorumlog.client.offset_types import Strategy, TopicPartition
from quorumlog.client.policy.backoff import RESEND

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

#: While partitions are on their way from one member to another, all who wait look so often.
_RESTLESS_MS = 150.0
_FIRST_INTERVAL_MS = 1_000.0

#: Errors with which a group cannot be joined however often one tries.
_FATAL = frozenset(
    {
        Reason.INVALID_GROUP,
        Reason.INVALID_REQUEST,
        Reason.UNKNOWN_TOPIC,
        Reason.GROUP_FULL,
    }
)


class Join(NamedTuple):
    """Call Groups.Join with this; then ``answered`` or ``failed``."""

    group: str
    member: str
    instance: str
    client: str
    topics: tuple[str, ...]
    strategy: Strategy
    session_timeout_ms: int


class Heartbeat(NamedTuple):
    """Call Groups.Heartbeat with this; then ``answered`` or ``failed``."""

    group: str
    member: str
    generation: int
    owned: tuple[TopicPartition, ...]
    released: tuple[TopicPartition, ...]


class Leave(NamedTuple):
    """Call Groups.Leave with this; then ``left`` or ``failed``."""

    group: str
    member: str
    for_good: bool


class Answer(NamedTuple):
    """What Join and Heartbeat answer; ``heartbeat_interval_ms`` 0: as before."""

    generation: int
    assigned: tuple[TopicPartition, ...]
    pending: tuple[TopicPartition, ...]
    heartbeat_interval_ms: int


class Change(NamedTuple):
    """What an answer changes: take these; stop and give back those."""

    gained: tuple[TopicPartition, ...]
    revoked: tuple[TopicPartition, ...]


NO_CHANGE = Change((), ())


class _State(Enum):
    JOINING = "joining"
    MEMBER = "member"
    DROPPING = "dropping"
    """Given up by the group: to join again once everything held has been dropped."""
    LEAVING = "leaving"
    OVER = "over"


class Membership:
    """See the module. ``generation``: the newest known; ``error``: why the membership ended for good, if it did."""

    __slots__ = (
        "_answered_ms",
        "_asked",
        "_assigned",
        "_calling",
        "_client",
        "_failures",
        "_for_good",
        "_held",
        "_instance",
        "_interval_ms",
        "_last_sent_ms",
        "_pending",
        "_random",
        "_released",
        "_retry_at_ms",
        "_sent_released",
        "_session_timeout_ms",
        "_soon",
        "_state",
        "_strategy",
        "_topics",
        "error",
        "generation",
        "group",
        "last_error",
        "member",
    )

    def __init__(
        self,
        group: str,
        topics: Sequence[str],
        random: Random,
        *,
        instance: str = "",
        client: str = "",
        strategy: Strategy = Strategy.STICKY,
        session_timeout_ms: int = 10_000,
    ) -> None:
        self.group = group
        self.generation = 0
        self.error: QuorumlogError | None = None
        self.last_error: QuorumlogError | None = None
        self._topics = tuple(sorted(topics))
        self._random = random
        self._instance = instance
        self._client = client
        self._strategy = strategy
        self._session_timeout_ms = session_timeout_ms
        self.member = self._new_id()
        self._state = _State.JOINING
        #: Given by the coordinator and not given back; in the order in which they came.
        self._held: dict[TopicPartition, None] = {}
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._pending = False
        #: Given back here, and the coordinator has not confirmed that it heard.
        self._released: dict[TopicPartition, None] = {}
        self._sent_released: tuple[TopicPartition, ...] = ()
        self._interval_ms = _FIRST_INTERVAL_MS
        self._calling = False
        self._soon = True
        self._asked = False
        self._last_sent_ms = 0.0
        #: When the last call that was answered had been sent.
        self._answered_ms: float | None = None
        self._retry_at_ms = 0.0
        self._failures = 0
        self._for_good = False

    def _new_id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    # ---- out

    def poll(self, now_ms: float) -> Join | Heartbeat | Leave | None:
        """The call to make now, if any; one at a time."""
        if self._calling or now_ms < self._retry_at_ms:
            return None
        call: Join | Heartbeat | Leave
        if self._state is _State.JOINING:
            call = Join(
                self.group,
                self.member,
                self._instance,
                self._client,
                self._topics,
                self._strategy,
                self._session_timeout_ms,
            )
        elif self._state is _State.MEMBER:
            if not self._soon and now_ms < self._last_sent_ms + self._pause_ms():
                return None
            self._sent_released = tuple(self._released)
            call = Heartbeat(
                self.group, self.member, self.generation, tuple(sorted(self._held)), self._sent_released
            )
        elif self._state is _State.LEAVING:
            call = Leave(self.group, self.member, self._for_good)
        else:
            return None
        self._calling = True
        self._soon = False
        self._asked = True
        self._last_sent_ms = now_ms
        return call

    def _pause_ms(self) -> float:
        return min(self._interval_ms, _RESTLESS_MS) if self._pending else self._interval_ms

    def wake_at_ms(self) -> float | None:
        """When to poll again if nothing happens before; None: not before something does."""
        if self._calling or self._state in (_State.OVER, _State.DROPPING):
            return None
        if self._state is _State.MEMBER and not self._soon:
            return max(self._last_sent_ms + self._pause_ms(), self._retry_at_ms)
        return self._retry_at_ms

    # ---- in

    def answered(self, answer: Answer) -> Change:
        """Join or Heartbeat was answered; what follows for the partitions."""
        self._calling = False
        if self._state not in (_State.JOINING, _State.MEMBER):
            return NO_CHANGE
        joined = self._state is _State.JOINING
        self._failures = 0
        self._retry_at_ms = 0.0
        self._answered_ms = self._last_sent_ms
        self._state = _State.MEMBER
        if answer.heartbeat_interval_ms:
            self._interval_ms = float(answer.heartbeat_interval_ms)
        for each in self._sent_released:
            self._released.pop(each, None)
        self._sent_released = ()
        if answer.generation < self.generation and not joined:
            return NO_CHANGE
        self.generation = answer.generation
        self._assigned = frozenset(answer.assigned)
        # A Join's answer does not tell what is on its way here: so the first heartbeats come soon.
        self._pending = bool(answer.pending) or joined
        self._soon = self._soon or bool(self._released)
        gained = tuple(each for each in answer.assigned if each not in self._held and each not in self._released)
        revoked = tuple(each for each in self._held if each not in self._assigned)
        self._held.update(dict.fromkeys(gained))
        return Change(gained, revoked)

    def failed(self, error: QuorumlogError, now_ms: float) -> tuple[TopicPartition, ...]:
        """A call failed; what is lost by that, to be dropped at once (then call ``dropped``)."""
        self._calling = False
        self.last_error = error
        if self._state is _State.LEAVING and error.reason in (Reason.UNKNOWN_MEMBER, Reason.UNKNOWN_GROUP):
            self._state = _State.OVER
            return ()
        if self._state is _State.MEMBER and error.reason in (Reason.UNKNOWN_MEMBER, Reason.UNKNOWN_GROUP):
            return self._given_up(error, now_ms)
        if error.reason in _FATAL and self._state is _State.JOINING:
            self.error = error
            self._state = _State.OVER
            return ()
        self._failures += 1
        self._soon = True
        delay_ms = RESEND.delay_ms(self._failures, self._random)
        self._retry_at_ms = now_ms + max(delay_ms, float(error.retry_after_ms))
        return ()

    def _given_up(self, error: QuorumlogError, now_ms: float) -> tuple[TopicPartition, ...]:
        held = tuple(self._held)
        self._released.clear()
        self._sent_released = ()
        if self._instance and not self.silent(now_ms):
            self.error = error
            self._state = _State.OVER
        else:
            self._state = _State.DROPPING
            if not held:
                self.dropped()
        return held

    def dropped(self) -> None:
        """Everything that ``failed`` named has been dropped."""
        self._held.clear()
        self._assigned = frozenset()
        if self._state is _State.DROPPING:
            self.member = self._new_id()
            self.generation = 0
            self._state = _State.JOINING
            self._answered_ms = None
            self._pending = False

    def gave_back(self, partitions: Iterable[TopicPartition]) -> None:
        """These have been stopped and committed: they go back with the next heartbeat, which is due at once."""
        for each in partitions:
            if each in self._held:
                del self._held[each]
                self._released[each] = None
                self._soon = True

    def leave(self, for_good: bool) -> None:
        """Everything held has been stopped and committed: end the membership, as far as this can be done."""
        if self._state is _State.MEMBER or (self._state is _State.JOINING and self._asked):
            # A Join whose answer has not come may have made a member all the same.
            self._state = _State.LEAVING
            self._calling = False
            self._retry_at_ms = 0.0
            self._for_good = for_good
        elif self._state is not _State.LEAVING:
            self._state = _State.OVER

    def left(self) -> None:
        """Leave was answered."""
        self._calling = False
        self._state = _State.OVER

    # ---- questions

    @property
    def over(self) -> bool:
        """The membership has ended."""
        return self._state is _State.OVER

    def holds(self, partition: TopicPartition) -> bool:
        """The member has it and, as far as is known, may keep it: it may be acquired with ``generation``."""
        return partition in self._held and partition in self._assigned

    @property
    def held(self) -> tuple[TopicPartition, ...]:
        """Everything given and not given back, sorted."""
        return tuple(sorted(self._held))

    def silent(self, now_ms: float) -> bool:
        """No answer for the session's length: it may have been given up, so it must hand out nothing."""
        return self._answered_ms is not None and now_ms - self._answered_ms >= self._session_timeout_ms

    def silent_at_ms(self) -> float | None:
        """When ``silent`` becomes true unless an answer comes."""
        return None if self._answered_ms is None else self._answered_ms + self._session_timeout_ms
