"""The producer's heart: batches out, answers in, and per partition never a loss, a repeat or a swap.

Synchronous and pure: the caller brings the time, answers and broken connections, and takes what to send from
``poll``. The asyncio producer is one such caller, the simulator another.

*Batching.* A partition with nothing in flight sends what it has at once (or after ``linger_ms``); while
something is in flight, records gather, and leave with its answer. So one record alone waits for nothing, and
under load a round trip's worth of records shares a message: a shallow pipeline. Only batches that are full go
out beside others, up to ``MAX_IN_FLIGHT``, because then waiting would gather nothing more.

*Exactly once.* With a session each batch has a sequence number, given at its first sending and kept with its
bytes over every attempt. A node appends a sequence only right after the one before, and answers a repeat with
the offset it already has. It follows, and the rules below lean on it:

1. An attempt that ended unheard of may be repeated freely, at any leader, until it is answered.
2. A batch behind one that never was appended cannot have been appended either, whatever became of its attempts.
   So when a batch is given up as *not done*, those behind it go out again under a new session, as new.
3. A batch given up as *unknown* may still be there: those behind it go on under the same session, where the node
   will say whether they follow.
4. OUT_OF_SEQUENCE for the first of the window means the session is of no use (forgotten by the node, or behind a
   batch given up). If no attempt of that batch is unaccounted for, rule 2 applies to it. Otherwise it is given
   up as unknown, because under a new session it might be appended twice. For any other of the window it only
   means that one before it was refused; it goes again, in its turn.

*Without a session* (``idempotent=False``) an unheard-of attempt ends the batch as unknown, and one batch at a
time is in flight, since nothing else would keep the order when one of two is refused.

Prior art: Kafka's Sender and TransactionManager (KIP-98, KIP-360); rule 2 replaces its
per-partition renumbering, which needs no new session but more cases than we could check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quorumlog.client.errors import (
    Closed,
    NotDone,
    OutcomeUnknown,
    QuorumlogError,
    Reason,
    as_outcome,
    make_error,
)
from quorumlog.client.policy.backoff import RESEND
from quorumlog.client.policy.pending import PartitionQueue, PendingBatch, Session, State

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

    from quorumlog.client.policy.accumulator import Accumulator, ProducerSettings
    from quorumlog.client.policy.routing import Router

#: Batches of one partition in flight at once. A node remembers the last 8 of a session to know a repeat by; with
#: fewer in flight than that, no repeat can fall out of its memory.
MAX_IN_FLIGHT = 5
#: An answer that takes longer makes its leader doubtful: the others are asked whether they know a newer one.
DOUBT_AFTER_MS = 250.0
#: How long a topic may be unknown to a node before that is believed: it takes a moment to reach every node.
TOPIC_GRACE_MS = 3000.0
#: Beyond the time a node was given for its answer: then its connection is given up.
ANSWER_GRACE_MS = 500.0
#: While anything is on its way, deadlines are looked at this often.
TICK_MS = 50.0


_WORTH_RETRYING = frozenset(
    {
        Reason.NOT_LEADER,
        Reason.NO_QUORUM,
        Reason.UNKNOWN_TOPIC,
        Reason.UNKNOWN_PARTITION,
        Reason.OVERLOADED,
        Reason.DISK_FULL,
        Reason.REPLICA_DAMAGED,
        Reason.SHUTTING_DOWN,
        Reason.DEADLINE,
        Reason.UNREACHABLE,
    }
)
#: Refusals that mean: ask another node. NO_QUORUM is one of them: whoever is cut off from its peers may be the only
#: one that does not know of the new leader, and answers so promptly that no timeout would ever make us doubt it.
#: DISK_FULL is another: such a leader hands over.
_WRONG_NODE = frozenset(
    {
        Reason.NOT_LEADER,
        Reason.NO_QUORUM,
        Reason.DISK_FULL,
        Reason.REPLICA_DAMAGED,
        Reason.SHUTTING_DOWN,
    }
)
_NO_SUCH = frozenset({Reason.UNKNOWN_TOPIC, Reason.UNKNOWN_PARTITION})


class Send(NamedTuple):
    """One attempt: put these bytes on the stream to ``address``, in the order in which Sends were given out."""

    address: str
    correlation: int
    topic: str
    partition: int
    batch: bytes
    timeout_ms: int


class Work(NamedTuple):
    """What a poll wants done."""

    sends: list[Send]
    #: Topics of which a partition has no leader to send to: find out at once.
    unrouted: list[str]
    #: Topics with a leader that takes long: ask somebody else whether it still leads.
    doubtful: list[str]
    #: Nodes that did not answer in time: give up the stream, then call ``broken``.
    overdue: list[str]
    #: Call OpenProducer, then ``session_opened``.
    wants_session: bool
    #: When to poll again if nothing happens before; None: not before something does.
    wake_at_ms: float | None


class Sender:
    """Carries one producer's batches to their ends. Not thread-safe; time in ms on any steady clock."""

    __slots__ = (
        "_accumulator",
        "_in_flight",
        "_max_in_flight",
        "_next_correlation",
        "_random",
        "_router",
        "_session",
        "_settings",
    )

    def __init__(
        self, settings: ProducerSettings, accumulator: Accumulator, router: Router, random: Random
    ) -> None:
        self._settings = settings
        self._accumulator = accumulator
        self._router = router
        self._random = random
        self._max_in_flight = MAX_IN_FLIGHT if settings.idempotent else 1
        self._in_flight: dict[int, PendingBatch] = {}
        self._next_correlation = 1
        self._session: Session | None = None

    # ---- batches out

    def poll(self, now_ms: float) -> Work:
        """Everything that can be done now. Call it after any input, and at ``Work.wake_at_ms``."""
        work = Work([], [], [], [], False, None)
        wants_session = False
        wake_at_ms: float | None = None
        for queue in list(self._accumulator.active):
            self._start_clocks(queue, now_ms)
            self._expire(queue, now_ms)
            if not queue:
                del self._accumulator.active[queue]
                continue
            wake_at_ms = now_ms + TICK_MS if wake_at_ms is None else wake_at_ms
            self._doubt(queue, now_ms, work)
            if self._settings.idempotent and not self._has_session(queue):
                wants_session = True
                continue
            address = self._router.leader(queue.topic, queue.partition)
            if address is None:
                work.unrouted.append(queue.topic)
                continue
            if now_ms < queue.retry_at_ms:
                wake_at_ms = min(wake_at_ms, queue.retry_at_ms)
                continue
            due_ms = self._send_what_may_go(queue, address, now_ms, work.sends)
            wake_at_ms = min(wake_at_ms, due_ms)
        return work._replace(
            unrouted=sorted(set(work.unrouted)),
            doubtful=sorted(set(work.doubtful)),
            overdue=sorted(set(work.overdue)),
            wants_session=wants_session,
            wake_at_ms=wake_at_ms,
        )

    def _start_clocks(self, queue: PartitionQueue, now_ms: float) -> None:
        for batch in (*queue.full, *(() if queue.filling is None else (queue.filling,))):
            if not batch.deadline_ms:
                batch.deadline_ms = now_ms + self._settings.delivery_timeout_ms
                batch.due_ms += now_ms + self._settings.linger_ms

    def _has_session(self, queue: PartitionQueue) -> bool:
        if queue.session_over and not queue.window:
            if queue.session == self._session:
                self._session = None
            queue.session = None
            queue.session_over = False
        if queue.session is None and self._session is not None:
            queue.session = self._session
            queue.next_sequence = 0
        return queue.session is not None

    def _send_what_may_go(self, queue: PartitionQueue, address: str, now_ms: float, sends: list[Send]) -> float:
        """Put what may be sent into ``sends``; when something more may go for being old enough."""
        for batch in queue.window:
            if batch.state is State.WAITING:
                sends.append(self._attempt(batch, address, now_ms))
        if queue.session_over:
            return now_ms + TICK_MS
        while len(queue.window) < self._max_in_flight:
            if queue.full:
                batch = queue.full.popleft()
            elif queue.filling is not None and not queue.window:
                if now_ms < queue.filling.due_ms:
                    return queue.filling.due_ms
                batch, queue.filling = queue.filling, None
            else:
                break
            self._number(queue, batch)
            queue.window.append(batch)
            sends.append(self._attempt(batch, address, now_ms))
        return now_ms + TICK_MS

    def _number(self, queue: PartitionQueue, batch: PendingBatch) -> None:
        batch.session = queue.session
        batch.base_sequence = queue.next_sequence
        batch.prepare(self._settings.codec)
        if queue.session is not None:
            queue.next_sequence += batch.count

    def _attempt(self, batch: PendingBatch, address: str, now_ms: float) -> Send:
        correlation = self._next_correlation
        self._next_correlation += 1
        batch.state = State.IN_FLIGHT
        batch.correlation = correlation
        batch.address = address
        batch.sent_ms = now_ms
        batch.queue.failed_since_sending = False
        self._in_flight[correlation] = batch
        timeout_ms = min(self._settings.attempt_timeout_ms, max(batch.deadline_ms - now_ms, 1.0))
        return Send(
            address, correlation, batch.queue.topic, batch.queue.partition, batch.data or b"", int(timeout_ms) or 1
        )

    def _doubt(self, queue: PartitionQueue, now_ms: float, work: Work) -> None:
        """Look at attempts that take long: a hung leader does not break its connection."""
        leader = self._router.leader(queue.topic, queue.partition)
        for batch in queue.window:
            age_ms = now_ms - batch.sent_ms
            if batch.state is not State.IN_FLIGHT or age_ms < DOUBT_AFTER_MS:
                continue
            if age_ms > self._settings.attempt_timeout_ms + ANSWER_GRACE_MS:
                work.overdue.append(batch.address)
            work.doubtful.append(queue.topic)
            if leader is not None and leader != batch.address and self._settings.idempotent:
                # Another leads now; the old one may answer one day, or never. Rule 1.
                del self._in_flight[batch.correlation]
                batch.state = State.WAITING
                batch.may_have_happened = True

    def _expire(self, queue: PartitionQueue, now_ms: float) -> None:
        for batch in queue.unsettled():
            if now_ms < batch.deadline_ms:
                return
            error = queue.last_error or make_error(
                Reason.NO_QUORUM,
                f"{queue.topic}/{queue.partition} has had no leader that answers",
                not_done=True,
            )
            if batch.state is State.IN_FLIGHT:
                batch.may_have_happened = True
            words = f"not delivered within {self._settings.delivery_timeout_ms:.0f} ms; last: {error.message}"
            self._give_up(batch, as_outcome(error, words, not_done=not batch.may_have_happened))

    # ---- answers in

    def session_opened(self, producer_id: int, epoch: int) -> None:
        """OpenProducer answered: partitions without a session go on under this one."""
        self._session = Session(producer_id, epoch)

    def session_refused(self, error: QuorumlogError) -> bool:
        """OpenProducer failed. True: try again after a while; otherwise nobody waits for it, or this is the end."""
        if error.reason not in _WORTH_RETRYING:
            self.end(error)
            return False
        waiting = [queue for queue in self._accumulator.active if queue.session is None]
        for queue in waiting:
            queue.last_error = error
        return bool(waiting)

    def appended(self, correlation: int, base_offset: int) -> None:
        """An attempt was answered: the batch begins at ``base_offset``. Answers to attempts given up are
        ignored."""
        batch = self._in_flight.pop(correlation, None)
        if batch is None:
            return
        queue = batch.queue
        queue.failures = 0
        queue.last_error = None
        batch.base_offset = base_offset
        queue.window.remove(batch)
        self._accumulator.settle(batch, None)

    def refused(self, correlation: int, error: QuorumlogError, now_ms: float) -> None:
        """An attempt was answered with an error, or ended without an answer (an OutcomeUnknown)."""
        batch = self._in_flight.pop(correlation, None)
        if batch is None:
            return
        queue = batch.queue
        queue.last_error = error
        batch.state = State.WAITING
        if not isinstance(error, NotDone):
            batch.may_have_happened = True
        reason = error.reason
        if reason in _WRONG_NODE:
            self._router.refused(queue.topic, queue.partition, batch.address, error.leader)
        if reason is Reason.OUT_OF_SEQUENCE and self._settings.idempotent:
            self._out_of_sequence(queue, batch, error)
        elif reason is Reason.PRODUCER_FENCED:
            self.end(error)
        elif self._worth_retrying(batch, error, now_ms):
            self._hold_back(queue, error, now_ms)
        else:
            self._give_up(batch, error)

    def broken(self, address: str, unsent: Collection[int], now_ms: float) -> None:
        """The stream to ``address`` is gone; attempts in ``unsent`` never left this process."""
        for correlation, batch in list(self._in_flight.items()):
            if batch.address == address:
                not_done = correlation in unsent
                words = f"no connection to {address}" if not_done else f"connection to {address} broke"
                self.refused(correlation, make_error(Reason.UNREACHABLE, words, not_done=not_done), now_ms)

    def _worth_retrying(self, batch: PendingBatch, error: QuorumlogError, now_ms: float) -> bool:
        if error.reason not in _WORTH_RETRYING:
            return False
        if isinstance(error, OutcomeUnknown) and not self._settings.idempotent:
            return False
        if error.reason in _NO_SUCH:
            return now_ms < batch.deadline_ms - self._settings.delivery_timeout_ms + TOPIC_GRACE_MS
        return True

    def _hold_back(self, queue: PartitionQueue, error: QuorumlogError, now_ms: float) -> None:
        """Choose when the partition sends again. A whole window that fails together counts as one failure."""
        if queue.failed_since_sending:
            return
        queue.failed_since_sending = True
        queue.failures += 1
        # The first time, a lost leader is the whole trouble: as soon as another is known there is nothing to
        # wait for.
        lost_leader = error.reason in _WRONG_NODE or error.reason is Reason.UNREACHABLE
        delay_ms = 0.0 if lost_leader and queue.failures == 1 else RESEND.delay_ms(queue.failures, self._random)
        queue.retry_at_ms = now_ms + max(delay_ms, float(error.retry_after_ms))

    def _out_of_sequence(self, queue: PartitionQueue, batch: PendingBatch, error: QuorumlogError) -> None:
        if queue.window[0] is not batch:
            return
        if batch.may_have_happened:
            self._give_up(batch, error)
        else:
            self._end_session(queue, 0)

    # ---- ends

    def _give_up(self, batch: PendingBatch, error: QuorumlogError) -> None:
        """Settle a batch with an error that tells the whole batch's outcome, whatever that of the last attempt."""
        queue = batch.queue
        not_done = not batch.may_have_happened
        if isinstance(error, NotDone) is not not_done:
            error = as_outcome(error, f"{error.message}; an earlier attempt may have been done", not_done=not_done)
        self._in_flight.pop(batch.correlation, None)
        if batch in queue.window:
            position = queue.window.index(batch)
            del queue.window[position]
            if not_done and self._settings.idempotent:
                self._end_session(queue, position)
        elif batch is queue.filling:
            queue.filling = None
        else:
            queue.full.remove(batch)
        self._accumulator.settle(batch, error)

    def _end_session(self, queue: PartitionQueue, position: int) -> None:
        """Rule 2: what stands in the window from ``position`` on was not appended, and goes again as new."""
        while len(queue.window) > position:
            batch = queue.window.pop()
            self._in_flight.pop(batch.correlation, None)
            batch.state = State.QUEUED
            batch.may_have_happened = False
            queue.full.appendleft(batch)
        queue.session_over = True

    def flush(self) -> list[PendingBatch]:
        """Let everything go without lingering; the batches to wait for."""
        for queue in self._accumulator.active:
            if queue.filling is not None:
                queue.filling.due_ms = float("-inf")
        return list(self._accumulator.unsettled())

    def end(self, error: QuorumlogError) -> None:
        """The producer is finished: nothing more is accepted or sent, and everything on its way is settled now.

        What has been sent may have happened, so it is given up as unknown; the rest definitely was not done.
        """
        self._accumulator.ended_by = error
        for batch in list(self._accumulator.unsettled()):
            if batch.state is State.IN_FLIGHT:
                batch.may_have_happened = True
            self._give_up(batch, error)
        self._accumulator.active.clear()


def closed() -> QuorumlogError:
    """What ends a producer that is closed."""
    return Closed("the producer is closed")
