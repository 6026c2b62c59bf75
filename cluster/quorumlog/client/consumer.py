"""The consumer: records of topics on behalf of a group, committed after they have been processed.

    async with Consumer("127.0.0.1:7401", "orders", group="billing") as consumer:
        async for record in consumer:
            await bill(record)

Asking for the next record says that the one before it is processed; processed records are durably committed within
``commit_interval_ms``, also when nothing more comes, when partitions move and when the consumer is closed. After a
crash the group goes on at the committed offset: nothing is skipped, and what was processed within the last interval
is processed again. ``stats()`` says how much that would be now.

``commit``: ``after_processing`` as above; ``each`` makes every record's commit durable before the next is handed
out; ``manual`` leaves it to ``await consumer.commit()``, which includes the record in hand.

Concurrent workers iterate a ``lane()`` each, or finish records with ``done(record)`` in any order: what is
committed is the offset of the lowest unfinished record.

What cannot be read on through is raised, and iterating again goes on: RetentionGap, PositionMoved (the group's
offset was reset), Fenced (without group management: another consumer has taken the partition), OffsetOutOfRange and
FingerprintMismatch (the stored offset cannot be resumed from, and the policy is to fail). Everything else is an
event (``quorumlog.client.consumer_events``).

The event loop must run for commits and signs of life to leave: a handler that blocks belongs into
``quorumlog.client.sync.Consumer``.
"""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from typing import TYPE_CHECKING, Literal, Self

from quorumlog.client.assignment import Assignment, Callbacks, Plan
from quorumlog.client.claim import is_double
from quorumlog.client.commit_link import CommitLink
from quorumlog.client.consumer_events import BoundBroken
from quorumlog.client.consumer_partition import ConsumerPartition, Reading
from quorumlog.client.consumer_stats import ConsumerStats, PartitionStats, register
from quorumlog.client.errors import Closed, InvalidRequest, QuorumlogError, UnknownPartition, as_outcome
from quorumlog.client.group_member import GroupMember
from quorumlog.client.handing import Hand, Lane, Turns
from quorumlog.client.network import now_ms
from quorumlog.client.offset_calls import Fallback, StartPolicy, owner_name
from quorumlog.client.offset_types import Strategy, TopicPartition
from quorumlog.client.policy.commits import CommitMode, CommitSettings, Unconfirmed, checked_metadata
from quorumlog.client.policy.membership import Membership
from quorumlog.client.policy.progress import Exposure
from quorumlog.client.start import parse_start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from prometheus_client import CollectorRegistry

    from quorumlog.client.assignment import Callback
    from quorumlog.client.consumer_events import Event
    from quorumlog.client.consumer_observer import ConsumerObserver
    from quorumlog.client.consumer_record import ConsumerRecord
    from quorumlog.client.consumer_stats import ConsumerCollector
    from quorumlog.client.receipt import Receipt
    from quorumlog.client.start import Start
    from quorumlog.wire.record import Record

_EVENTS_KEPT = 1_000
_LEAVE_MS = 2_000.0

FallbackName = Literal["fail", "earliest", "latest"]
Place = TopicPartition | tuple[str, int] | int


class Consumer:
    """Consumes ``topics`` (one or several) for ``group``; an asynchronous context manager.

    ``partitions``: of the one topic, to be consumed without group management; None: the group's coordinator
    assigns. ``start``, ``force_start``, ``on_out_of_range``, ``on_truncated``: where to begin (OFFSETS.md §3; see
    ``parse_start``). ``exclusive``: without group management, refuse others while this one lives. ``commit``,
    ``commit_interval_ms``, ``commit_count``: see the module; ``confirm="double"`` reads each commit back before it
    counts. ``instance``: a name that survives restarts, so that its partitions stay while it does. ``strategy``:
    sticky, range or round_robin. ``session_timeout_ms``: silent for longer, a member is given up.
    ``stop_at_end``: end where each partition's log ended (committed) when it was acquired.

    ``on_assigned``, ``on_revoked`` (still time to commit) and ``on_lost`` get the partitions; ``on_event`` every
    event; an ``observer`` hears of what is about to be done as well. One task may iterate the consumer at a time,
    and one each lane. Raises ValueError for settings that make no sense, InvalidStart for a start that is none.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        topics: str | Sequence[str],
        *,
        group: str,
        partitions: Iterable[int] | None = None,
        start: str | Start = "earliest",
        force_start: bool = False,
        on_out_of_range: FallbackName = "fail",
        on_truncated: FallbackName = "fail",
        exclusive: bool = False,
        commit: Literal["after_processing", "manual", "each"] = "after_processing",
        commit_interval_ms: float = 1000.0,
        commit_count: int = 10_000,
        confirm: Literal["single", "double"] = "single",
        instance: str = "",
        strategy: Literal["sticky", "range", "round_robin"] = "sticky",
        session_timeout_ms: int = 10_000,
        stop_at_end: bool = False,
        prefetch_bytes: int = 16 << 20,
        timeout_ms: float = 30_000.0,
        on_assigned: Callback | None = None,
        on_revoked: Callback | None = None,
        on_lost: Callback | None = None,
        on_event: Callable[[Event], None] | None = None,
        observer: ConsumerObserver | None = None,
    ) -> None:
        names = (topics,) if isinstance(topics, str) else tuple(topics)
        self._topics = tuple(dict.fromkeys(names))
        self._wanted = None if partitions is None else sorted(set(partitions))
        if not self._topics or (self._wanted is not None and len(self._topics) != 1):
            raise ValueError("name one topic with partitions, or one or more topics without")
        if exclusive and self._wanted is None:
            raise ValueError("exclusive is for consumers that name their partitions: a group has owners of its own")
        self._settings = CommitSettings(
            CommitMode(commit), commit_interval_ms, commit_count, double=is_double(confirm)
        )
        self._start = StartPolicy(
            parse_start(start),
            force_start,
            Fallback[on_out_of_range.upper()],
            Fallback[on_truncated.upper()],
            exclusive,
        )
        self._group = group
        self._reading = Reading(prefetch_bytes, timeout_ms, stop_at_end)
        self._servers = servers
        self._instance = instance
        self._strategy = Strategy[strategy.upper()]
        self._session_timeout_ms = session_timeout_ms
        self._timeout_ms = timeout_ms
        self._callbacks = Callbacks(on_assigned, on_revoked, on_lost)
        self._on_event = on_event
        self._observer = observer
        self.events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        """The last of them, oldest first."""
        self._turns = Turns(self._lose, self._at_end)
        self._lane = Lane(self._turns)
        self._link: CommitLink | None = None
        self._membership: Membership | None = None
        self._member: GroupMember | None = None
        self._assignment: Assignment | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._opening: asyncio.Future[None] | None = None
        self._collectors: list[tuple[CollectorRegistry, ConsumerCollector]] = []
        self._ending = False
        self._closed = False

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except QuorumlogError:
            # What ended the body is the more important of the two; the events tell of the other.
            if error is None:
                raise

    # ---- the beginning

    async def open(self) -> None:
        """Join the group, or acquire the partitions named; done by itself when iteration begins.

        Raises UnknownTopic, UnknownPartition, InvalidGroup, GroupFull, Owned, OffsetOutOfRange and what else
        acquiring may end with, NoQuorum or Unreachable.
        """
        if self._closed:
            raise Closed("the consumer is closed")
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
            self._opening.add_done_callback(_looked_at)
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        try:
            await self._begin()
        except BaseException:
            try:
                await self._end(for_good=False)
            finally:
                self._opening = None
            raise

    async def _begin(self) -> None:
        link = self._link = CommitLink.shared(self._servers)
        views = [await link.network.topic(name, timeout_ms=self._timeout_ms) for name in self._topics]
        wanted = self._wanted
        for number in wanted or ():
            if not 0 <= number < len(views[0].partitions):
                raise UnknownPartition(f"{self._topics[0]} has {len(views[0].partitions)} partitions, not {number}")
        count = len(wanted) if wanted is not None else sum(len(view.partitions) for view in views)
        reading = self._reading._replace(prefetch_bytes=max(self._reading.prefetch_bytes // max(count, 1), 1))
        plan = Plan(
            self._group,
            self._start,
            self._settings,
            reading,
            self._callbacks,
            drain_ms=self._session_timeout_ms / 4,
            flush_ms=self._session_timeout_ms / 2,
            observer=self._observer,
        )
        assignment = self._assignment = Assignment(
            link, plan, self._generation, self._turns.ready, self._tell, self._turns.error
        )
        self._watcher = asyncio.create_task(self._watch(), name="watch the commit bound")
        if wanted is None:
            await self._join(link, assignment)
        else:
            await asyncio.gather(*(assignment.gain(TopicPartition(self._topics[0], each)) for each in wanted))
            self._turns.raise_error()

    async def _join(self, link: CommitLink, assignment: Assignment) -> None:
        membership = self._membership = Membership(
            self._group,
            self._topics,
            link.network.random,
            instance=self._instance,
            client=owner_name(),
            strategy=self._strategy,
            session_timeout_ms=self._session_timeout_ms,
        )
        member = self._member = GroupMember(
            link.network, membership, assignment, self._tell, self._turns.error, self._observer
        )
        if not await member.joined(self._timeout_ms) and membership.last_error is not None:
            last = membership.last_error
            raise as_outcome(last, f"group {self._group!r} cannot be joined; last: {last.message}", not_done=False)
        self._turns.raise_error()

    def _generation(self, partition: TopicPartition) -> int | None:
        """In which generation the partition may be acquired now; None: not any more."""
        if self._ending:
            return None
        membership = self._membership
        if membership is None:
            return 0
        return membership.generation if membership.holds(partition) else None

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        if self._on_event is not None:
            self._on_event(event)

    def _lose(self, part: ConsumerPartition, error: QuorumlogError) -> None:
        if self._assignment is not None:
            self._assignment.lose(part, error)

    async def _watch(self) -> None:
        """Notice what no call tells: a broken bound, and a coordinator that has been silent for too long."""
        pause_s = min(self._settings.interval_ms / 4, 250.0) / 1000
        while True:
            await asyncio.sleep(pause_s)
            at_ms = now_ms()
            for part in self._parts():
                broken = part.claim.commits.broken_bound(at_ms)
                if broken is not None:
                    progress, commits = part.progress, part.claim.commits
                    waits = progress.ahead > 0 and progress.processed <= progress.durable
                    waits_for = progress.processed if waits else None
                    self._tell(BoundBroken(part.name, broken.records, broken.age_ms, waits_for, commits.last_error))
            if self._member is not None:
                self._member.look()

    def _parts(self) -> list[ConsumerPartition]:
        return list(self._assignment.parts.values()) if self._assignment is not None else []

    # ---- records

    async def __aiter__(self) -> AsyncIterator[ConsumerRecord]:
        await self.open()
        async for record in self._lane:
            yield record

    async def batches(self) -> AsyncIterator[list[ConsumerRecord]]:
        """Lists of records, each of one partition and never empty: to ask for the next says that all of the one
        before are processed."""
        await self.open()
        async for records in self._lane.batches():
            yield records

    def lane(self) -> Lane:
        """Another worker's way through the records (after ``open``); each record goes to one lane."""
        return Lane(self._turns)

    def hand(self) -> Hand:
        """The same for a worker in another thread; see ``quorumlog.client.sync_consumer``."""
        return Hand(self._turns)

    def done(self, record: Record) -> bool:
        """The record is processed. False if that was known, or its partition is not this consumer's any more.

        Of a consumer of several topics, a record without a topic (a plain Record) is taken for one of the first.
        """
        topic = getattr(record, "topic", self._topics[0])
        part = self._assignment.parts.get(TopicPartition(topic, record.partition)) if self._assignment else None
        return part is not None and part.finish(record.offset, now_ms())

    def stop(self) -> None:
        """End every iteration after the record in hand, which then counts as processed; and begin to commit. What
        to do on SIGTERM; ``close`` follows."""
        self._turns.stop()
        for part in self._parts():
            part.claim.commits.flush()
            part.claim.pump()

    def install_signal_handlers(self, signals: Iterable[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> None:
        """Have these signals ``stop`` this consumer, so that the end of the iteration closes it in order."""
        loop = asyncio.get_running_loop()
        for each in signals:
            loop.add_signal_handler(each, self.stop)

    def _at_end(self) -> bool:
        if not self._reading.stop_at_end or self._assignment is None or not self._assignment.settled:
            return False
        parts = self._parts()
        return bool(parts) and all(part.finished for part in parts)

    # ---- commits

    async def commit(
        self,
        offsets: Mapping[TopicPartition, int] | None = None,
        *,
        metadata: bytes | None = None,
        timeout_ms: float | None = None,
    ) -> list[Receipt]:
        """Commit what is processed, and return when it is durable: a receipt for each partition with something to
        commit. In manual mode the record in hand counts as processed.

        ``offsets``: commit these instead (of the next record to be processed, at most what has been handed out).
        ``metadata``: at most 4 KiB, stored with the offset. Raises Fenced or NotOwner for a lost partition,
        MetadataTooLarge, OffsetRegressed; OutcomeUnknown when it is not durable in time, and then it may become so.
        """
        limit_ms = self._timeout_ms if timeout_ms is None else timeout_ms
        if metadata is not None:
            checked_metadata(metadata)
        if self._settings.mode is CommitMode.MANUAL and offsets is None:
            self._lane.finish()
        if offsets is None:
            work = [part.commit(metadata, limit_ms) for part in self._parts()]
        else:
            work = [self._commit_at(place, offset, metadata, limit_ms) for place, offset in offsets.items()]
        receipts = await asyncio.gather(*work)
        return [receipt for receipt in receipts if receipt is not None]

    async def _commit_at(
        self, place: TopicPartition, offset: int, metadata: bytes | None, limit_ms: float
    ) -> Receipt | None:
        part = self._part(place)
        if not 0 <= offset <= part.progress.delivered:
            raise InvalidRequest(
                f"{offset} is no offset up to which {part.name} has been handed out ({part.progress.delivered})",
                fields={"offset": str(offset), "delivered": str(part.progress.delivered)},
            )
        return await part.claim.commit(offset, metadata, timeout_ms=limit_ms)

    @property
    def unconfirmed(self) -> list[Unconfirmed]:
        """With double confirmation: acknowledged commits that no read-back has shown yet."""
        return [each for part in self._parts() for each in part.claim.commits.unconfirmed]

    # ---- positions

    def _part(self, place: Place) -> ConsumerPartition:
        name = TopicPartition(self._topics[0], place) if isinstance(place, int) else TopicPartition(*place)
        part = self._assignment.parts.get(name) if self._assignment is not None else None
        if part is None:
            raise UnknownPartition(f"{name} is not this consumer's")
        return part

    def assignment(self) -> tuple[TopicPartition, ...]:
        """The partitions this consumer has, sorted."""
        return tuple(sorted(part.name for part in self._parts()))

    def pause(self, *places: Place) -> None:
        """Hand out nothing of these partitions (none named: of all). A number means one of the first topic."""
        for part in [self._part(place) for place in places] or self._parts():
            part.pause(True)

    def resume(self, *places: Place) -> None:
        """Hand out again."""
        for part in [self._part(place) for place in places] or self._parts():
            part.pause(False)

    async def seek(self, place: Place, offset: int) -> None:
        """Go on at ``offset`` in this partition. Back: nothing is committed until what is committed has been passed
        again. Forward: what lies between counts as processed."""
        if offset < 0:
            raise InvalidRequest(f"offset of {offset}", fields={"offset": str(offset)})
        part = self._part(place)
        self._turns.forget(part)
        await part.seek(offset)

    def position(self, place: Place) -> int:
        """The offset of the next record to be handed out."""
        return self._part(place).progress.delivered

    def committed(self, place: Place) -> int | None:
        """The stored offset as last known here; None: nothing is stored."""
        return self._part(place).claim.committed

    def end(self, place: Place) -> int:
        """The log's committed end as last heard of."""
        part = self._part(place)
        return max(part.subscription.end_offset, part.claim.acquired.log_end)

    def lag(self, place: Place) -> int:
        """Records from the committed offset to the end, as last heard of."""
        return self._stats_of(self._part(place), now_ms()).lag

    @property
    def exposure(self) -> Exposure:
        """What a crash now would repeat although it is processed."""
        stats = self.stats()
        return Exposure(stats.exposed_records, stats.exposed_ms)

    def stats(self) -> ConsumerStats:
        """The figures of this moment."""
        membership, at_ms = self._membership, now_ms()
        return ConsumerStats(
            self._group,
            membership.member if membership is not None else "",
            membership.generation if membership is not None else 0,
            {part.name: self._stats_of(part, at_ms) for part in self._parts()},
            self._assignment.fenced if self._assignment is not None else 0,
        )

    def _stats_of(self, part: ConsumerPartition, at_ms: float) -> PartitionStats:
        progress, commits = part.progress, part.claim.commits
        exposure = progress.exposure(at_ms)
        return PartitionStats(
            delivered=progress.delivered,
            processed=progress.processed,
            sent=progress.sent,
            durable=progress.durable,
            committed=part.claim.committed,
            end=max(part.subscription.end_offset, part.claim.acquired.log_end),
            exposed_records=exposure.records,
            exposed_ms=exposure.age_ms,
            ahead=progress.ahead,
            commits=commits.commits,
            resolved=commits.resolved_count,
            unconfirmed=len(commits.unconfirmed),
            paused=part.paused,
            receipt=commits.receipt,
        )

    def register_metrics(self, registry: CollectorRegistry) -> None:
        """Have a Prometheus registry show ``stats()`` until this consumer is closed."""
        self._collectors.append((registry, register(self.stats, registry)))

    # ---- the end

    async def close(self, *, for_good: bool = False) -> None:
        """Commit what is processed and nothing else, give the partitions back and leave the group.

        ``for_good``: a static member gives up its place, too. Raises why something processed could not be
        committed: it will be processed again.
        """
        if self._closed:
            return
        self._closed = True
        self._turns.stop()
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        failed = await self._end(for_good)
        if failed is not None:
            raise failed

    async def _end(self, for_good: bool) -> QuorumlogError | None:
        """Undo what ``_begin`` has done; why something could not be committed, if so."""
        self._ending = True
        failed: QuorumlogError | None = None
        try:
            if self._assignment is not None:
                failed = await self._assignment.close()
            if self._member is not None:
                await self._member.leave(for_good, _LEAVE_MS)
        finally:
            if self._watcher is not None:
                self._watcher.cancel()
                await asyncio.gather(self._watcher, return_exceptions=True)
            for registry, collector in self._collectors:
                registry.unregister(collector)
            self._collectors.clear()
            link, self._link = self._link, None
            if link is not None:
                await link.release()
            self._assignment = self._membership = self._member = self._watcher = None
            self._ending = False
        return failed


def _looked_at(opening: asyncio.Future[None]) -> None:
    """Who asked for it may have given up waiting; its failure is nobody's then, and the next ``open`` tells."""
    if not opening.cancelled():
        opening.exception()
