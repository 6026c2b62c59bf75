"""Commits on their way to the leaders: many consumers' commits share few requests, and each finds its end.

Synchronous and pure: the caller brings the time, the answers and the broken calls, and takes requests from
``poll``.

*Coalescing.* While a request to a node is unanswered, the commits for partitions it leads gather; with its answer
they leave together. A lone commit waits for nothing. Only when a request takes long (its partition may lack a
quorum, and the others on that node do not) does another go beside it.

*Repeating.* An attempt has a sequence number that never changes; the partition stores it once however often and
wherever it arrives. So whatever ends without a definite word is simply sent again, at whoever leads then, until the
attempt's own time is over. Then it is given up with the truth: *not done* only if no sending of it is unaccounted
for, else *unknown*, and its owner has it resolved (``quorumlog.client.policy.commits``).

Prior art: the producer's sender (``quorumlog.client.policy.sender``), whose rules 1 to 3 these are, per commit
instead of per batch; Kafka's clients have one commit call per consumer and nothing between consumers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quorumlog.client.errors import NotDone, QuorumlogError, Reason, as_outcome, make_error
from quorumlog.client.policy.backoff import RESEND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from quorumlog.client.offset_types import Fingerprint
    from quorumlog.client.policy.routing import Router
    from quorumlog.client.receipt import Receipt

#: A request unanswered for so long lets another go beside it, up to so many.
BESIDE_AFTER_MS = 25.0
MAX_BESIDE = 4
#: What one request may carry: so a request stays well below the size that a node takes in.
MAX_COMMITS = 1_000
MAX_METADATA_BYTES = 1 << 20
#: An answer that takes longer makes its leader doubtful.
DOUBT_AFTER_MS = 250.0
#: While anything is on its way, deadlines are looked at this often.
TICK_MS = 50.0
#: How long a node may take over one request. Its caller ends the call with ``broken`` soon after that.
REQUEST_TIMEOUT_MS = 2_000

_WORTH_RETRYING = frozenset(
    {
        Reason.NOT_LEADER,
        Reason.NO_QUORUM,
        Reason.OVERLOADED,
        Reason.REPLICA_DAMAGED,
        Reason.SHUTTING_DOWN,
        Reason.DEADLINE,
        Reason.UNREACHABLE,
    }
)
#: See ``quorumlog.client.policy.sender`` for why NO_QUORUM is one of them.
_WRONG_NODE = frozenset({Reason.NOT_LEADER, Reason.NO_QUORUM, Reason.REPLICA_DAMAGED, Reason.SHUTTING_DOWN})
_NO_SUCH = frozenset({Reason.UNKNOWN_TOPIC, Reason.UNKNOWN_PARTITION})
#: How long a topic may be unknown to a node before that is believed: it takes a moment to reach every node.
TOPIC_GRACE_MS = 3_000.0


class Attempt:
    """One commit with its one sequence number, until ``receipt`` or ``error`` is set; then ``on_done(attempt)``."""

    __slots__ = (
        "address",
        "correlation",
        "deadline_ms",
        "duplicate",
        "error",
        "failures",
        "fingerprint",
        "group",
        "key",
        "may_have_happened",
        "metadata",
        "offset",
        "on_done",
        "owner_epoch",
        "partition",
        "receipt",
        "refusal",
        "retry_at_ms",
        "sent_ms",
        "sequence",
        "session",
        "topic",
    )

    def __init__(
        self,
        key: tuple[str, str, int],
        offset: int,
        owner_epoch: int,
        session: int,
        sequence: int,
        fingerprint: Fingerprint | None,
        metadata: bytes,
        on_done: Callable[[Attempt], None],
    ) -> None:
        self.key = key
        self.group, self.topic, self.partition = key
        self.offset = offset
        self.owner_epoch = owner_epoch
        self.session = session
        self.sequence = sequence
        self.fingerprint = fingerprint
        self.metadata = metadata
        self.on_done = on_done
        self.receipt: Receipt | None = None
        self.duplicate = False
        self.error: QuorumlogError | None = None
        #: The last refusal, as it was told. ``error`` tells the whole attempt's outcome, and a kind of error that
        #: is always definite cannot tell an open one.
        self.refusal: QuorumlogError | None = None
        self.deadline_ms = 0.0
        self.retry_at_ms = 0.0
        self.failures = 0
        #: Of the request that carries it; 0: none does.
        self.correlation = 0
        self.address = ""
        self.sent_ms = 0.0
        #: Some sending ended without our learning what became of it. Never cleared by a later refusal.
        self.may_have_happened = False

    @property
    def settled(self) -> bool:
        """Its end is known."""
        return self.receipt is not None or self.error is not None


class CommitCall(NamedTuple):
    """Commit these at ``address``; then ``answered`` or ``broken`` with the correlation."""

    address: str
    correlation: int
    attempts: list[Attempt]
    timeout_ms: int


class CommitWork(NamedTuple):
    """What a poll wants done."""

    calls: list[CommitCall]
    #: Topics of which a partition has no leader to send to: find out at once.
    unrouted: list[str]
    #: Topics with a leader that takes long: ask somebody else whether it still leads.
    doubtful: list[str]
    #: When to poll again if nothing happens before; None: not before something does.
    wake_at_ms: float | None


class Committer:
    """All commits of one process that are not settled. Not thread-safe; time in ms on any steady clock."""

    __slots__ = (
        "_active",
        "_calls",
        "_looked_ms",
        "_next_correlation",
        "_queues",
        "_random",
        "_ready",
        "_router",
        "_timeout_ms",
        "_unrouted",
    )

    def __init__(self, router: Router, random: Random, timeout_ms: float = 10_000.0) -> None:
        self._router = router
        self._random = random
        self._timeout_ms = timeout_ms
        self._active: dict[Attempt, None] = {}
        #: To be routed by the next poll: new ones, and those that wait for their time.
        self._ready: list[Attempt] = []
        #: Those that wait for a leader.
        self._unrouted: list[Attempt] = []
        self._queues: dict[str, list[Attempt]] = {}
        #: By address, the calls under way, oldest first; each with when it was made.
        self._calls: dict[str, dict[int, tuple[float, list[Attempt]]]] = {}
        self._next_correlation = 1
        self._looked_ms = 0.0

    @property
    def unsettled(self) -> int:
        """How many attempts have no end yet."""
        return len(self._active)

    def submit(self, attempt: Attempt, now_ms: float) -> None:
        """Carry the attempt to its end."""
        attempt.deadline_ms = now_ms + self._timeout_ms
        self._active[attempt] = None
        self._ready.append(attempt)

    # ---- out

    def poll(self, now_ms: float) -> CommitWork:
        """Everything that can be done now. Call it after any input, and at ``CommitWork.wake_at_ms``."""
        work = CommitWork([], [], [], None)
        if not self._active:
            return work
        if now_ms - self._looked_ms >= TICK_MS:
            self._looked_ms = now_ms
            self._look(now_ms, work)
        self._route(now_ms)
        wake_at_ms = now_ms + TICK_MS
        for address, queue in self._queues.items():
            if queue:
                wake_at_ms = min(wake_at_ms, self._send(address, queue, now_ms, work.calls))
        for attempt in self._ready:
            wake_at_ms = min(wake_at_ms, max(attempt.retry_at_ms, now_ms + 1.0))
        return work._replace(
            unrouted=sorted({attempt.topic for attempt in self._unrouted}),
            doubtful=sorted(set(work.doubtful)),
            wake_at_ms=wake_at_ms if self._active else None,
        )

    def _route(self, now_ms: float) -> None:
        """Put what may go into its leader's line."""
        todo = self._unrouted + self._ready if self._unrouted else self._ready
        self._ready, self._unrouted = [], []
        leader, queues = self._router.leader, self._queues
        for attempt in todo:
            if now_ms < attempt.retry_at_ms:
                self._ready.append(attempt)
                continue
            address = leader(attempt.topic, attempt.partition)
            if address is None:
                self._unrouted.append(attempt)
                continue
            queue = queues.get(address)
            if queue is None:
                queue = queues[address] = []
            queue.append(attempt)

    def _send(self, address: str, queue: list[Attempt], now_ms: float, calls: list[CommitCall]) -> float:
        """Send the line to its node, if a request may go there now; when another may."""
        under_way = self._calls.get(address)
        if under_way:
            newest_ms = next(reversed(under_way.values()))[0]
            if len(under_way) >= MAX_BESIDE:
                return now_ms + TICK_MS
            if now_ms - newest_ms < BESIDE_AFTER_MS:
                return newest_ms + BESIDE_AFTER_MS
        attempts, rest = self._take(queue)
        self._queues[address] = rest
        if attempts:
            correlation = self._next_correlation
            self._next_correlation += 1
            for attempt in attempts:
                attempt.correlation = correlation
                attempt.address = address
                attempt.sent_ms = now_ms
            self._calls.setdefault(address, {})[correlation] = (now_ms, attempts)
            calls.append(CommitCall(address, correlation, attempts, REQUEST_TIMEOUT_MS))
        return now_ms + (BESIDE_AFTER_MS if rest else TICK_MS)

    def _take(self, queue: list[Attempt]) -> tuple[list[Attempt], list[Attempt]]:
        """What one request may carry, and what must wait: two owners of one (group, partition) in one process never
        share a request, because a partition refuses such a pair."""
        attempts: list[Attempt] = []
        rest: list[Attempt] = []
        keys: set[tuple[str, str, int]] = set()
        room = MAX_METADATA_BYTES
        for attempt in queue:
            if attempt.receipt is not None or attempt.error is not None:
                continue
            if attempt.key in keys or len(attempts) >= MAX_COMMITS or len(attempt.metadata) > room:
                rest.append(attempt)
                continue
            keys.add(attempt.key)
            room -= len(attempt.metadata)
            attempts.append(attempt)
        return attempts, rest

    def _look(self, now_ms: float, work: CommitWork) -> None:
        """Give up what is too old, doubt leaders that take long, and leave those that have been replaced."""
        leader = self._router.leader
        for address, queue in self._queues.items():
            moved = [each for each in queue if leader(each.topic, each.partition) != address]
            if moved:
                self._queues[address] = [each for each in queue if each not in moved]
                self._ready += moved
        for attempt in list(self._active):
            if now_ms >= attempt.deadline_ms:
                self._expire(attempt)
            elif attempt.correlation and now_ms - attempt.sent_ms >= DOUBT_AFTER_MS:
                work.doubtful.append(attempt.topic)
                if leader(attempt.topic, attempt.partition) not in (None, attempt.address):
                    # Another leads now; the old one may answer one day, or never. Sent twice, it has one effect.
                    attempt.correlation = 0
                    attempt.may_have_happened = True
                    self._ready.append(attempt)

    def _expire(self, attempt: Attempt) -> None:
        if attempt.correlation:
            attempt.may_have_happened = True
        topic, partition = attempt.topic, attempt.partition
        self._settle(
            attempt,
            make_error(
                Reason.NO_QUORUM,
                f"commit of {attempt.offset} to {topic}/{partition}: no answer within {self._timeout_ms:.0f} ms",
                not_done=not attempt.may_have_happened,
            ),
        )

    # ---- in

    def answered(
        self, address: str, correlation: int, results: Sequence[Receipt | QuorumlogError], now_ms: float
    ) -> None:
        """A call was answered: one result for each of its attempts, in order."""
        attempts = self._close(address, correlation)
        for attempt, result in zip(attempts, results, strict=True):
            if attempt.receipt is not None or attempt.error is not None:
                continue
            if isinstance(result, QuorumlogError):
                if attempt.correlation == correlation:
                    self._refused(attempt, result, now_ms)
            else:
                # Whichever sending it answers: the attempt is stored.
                attempt.receipt = result
                attempt.correlation = 0
                del self._active[attempt]
                attempt.on_done(attempt)

    def broken(self, address: str, correlation: int, error: QuorumlogError, now_ms: float) -> None:
        """A call failed as a whole: it never left (a NotDone), or nobody knows (an OutcomeUnknown)."""
        for attempt in self._close(address, correlation):
            if not attempt.settled and attempt.correlation == correlation:
                self._refused(attempt, error, now_ms)

    def _close(self, address: str, correlation: int) -> list[Attempt]:
        found = self._calls.get(address, {}).pop(correlation, None)
        return found[1] if found is not None else []

    def _refused(self, attempt: Attempt, error: QuorumlogError, now_ms: float) -> None:
        attempt.correlation = 0
        attempt.refusal = error
        reason = error.reason
        if not isinstance(error, NotDone):
            attempt.may_have_happened = True
        if reason in _WRONG_NODE:
            self._router.refused(attempt.topic, attempt.partition, attempt.address, error.leader)
        new = now_ms < attempt.deadline_ms - self._timeout_ms + TOPIC_GRACE_MS
        if reason not in _WORTH_RETRYING and not (reason in _NO_SUCH and new):
            self._settle(attempt, error)
            return
        attempt.failures += 1
        # The first time, a lost leader is the whole trouble: as soon as another is known there is nothing to wait
        # for.
        lost_leader = reason in _WRONG_NODE or reason is Reason.UNREACHABLE
        delay_ms = 0.0 if lost_leader and attempt.failures == 1 else RESEND.delay_ms(attempt.failures, self._random)
        attempt.retry_at_ms = now_ms + max(delay_ms, float(error.retry_after_ms))
        self._ready.append(attempt)

    def _settle(self, attempt: Attempt, error: QuorumlogError) -> None:
        """End an attempt with an error that tells the whole attempt's outcome, whatever that of its last
        sending."""
        not_done = not attempt.may_have_happened
        if isinstance(error, NotDone) is not not_done:
            error = as_outcome(error, f"{error.message}; an earlier sending may have been done", not_done=not_done)
        attempt.error = error
        attempt.correlation = 0
        self._active.pop(attempt, None)
        for line in (self._ready, self._unrouted):
            if attempt in line:
                line.remove(attempt)
        attempt.on_done(attempt)

    def give_up(self, attempt: Attempt, error: QuorumlogError) -> None:
        """Its owner does not wait any longer; it ends now, as unknown if it may have been done."""
        if attempt.settled:
            return
        if attempt.correlation:
            attempt.may_have_happened = True
        self._settle(attempt, error)
