"""One partition in the hands of a simulated member: taken over, read, processed, committed, given back.

The order of things is the consumer's (OFFSETS.md §2): acquire, go on where the answer says, process, commit what is
finished; when it is to be given back, finish what is in hand, flush, release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.check import EventType
from quorumlog.check.forms import told_acquired, told_stored
from quorumlog.check.offset_evidence import register_key
from quorumlog.client.errors import NotDone
from quorumlog.client.offset_types import Fate, Fingerprint
from quorumlog.client.policy.backoff import LOOKUP
from quorumlog.client.policy.commits import CommitSettings, PartitionCommits, ReadBack, Resolve
from quorumlog.client.policy.progress import BatchRange, Progress
from quorumlog.client.receipt import Receipt
from quorumlog.machine.offset_results import FateKnown
from quorumlog.replica import Earliest, Failure, OffsetFound, ReadResult, Reason
from quorumlog.replica.offset_api import (
    AcquiredOffset,
    AcquireRequest,
    AttemptAt,
    Fallback,
    FetchedOffset,
    StartAt,
    StartRule,
)
from quorumlog.sim.calls import Lost
from quorumlog.sim.clients import CALL_TIMEOUT_MS, client_error, node_at, partition_key
from quorumlog.sim.telling import Teller, error_of
from quorumlog.sim.world import MS
from quorumlog.wire.batch import decode_batch
from quorumlog.wire.header import parse_header

if TYPE_CHECKING:
    from quorumlog.check import Value
    from quorumlog.client.offset_types import TopicPartition
    from quorumlog.client.policy.committer import Attempt
    from quorumlog.sim.members import Member

#: How long an Acquire that was refused waits for news.
_AGAIN_MS = 80
#: Records processed at once, at most.
_CHUNK = 4


class Holding:
    """See the module. It ends by ``Member.gave_back`` or ``Member.lost``, or with its member's process."""

    def __init__(self, member: Member, partition: TopicPartition) -> None:
        self.partition = partition
        self.member_id = member.membership.member
        shared = member.shared
        self.teller = Teller(shared, register_key(member.group, partition_key(*partition)))
        self._member = member
        self._shared = shared
        self._session = member.asker.random.getrandbits(63) | 1
        self._commits: PartitionCommits | None = None
        self._progress = Progress(0)
        self._epoch = 0
        self._position = 0
        self._records: list[int] = []
        """Offsets fetched and not handed out."""
        self._values: dict[int, Value] = {}
        self._busy: int | None = None
        """The invocation of what the application works on."""
        self._stopping = False
        self._over = False
        self._failures = 0
        self._open: dict[Attempt, int] = {}
        value = {"member": self.member_id, "generation": member.membership.generation}
        self._tenure = self.teller.begin("own", value)
        self._acquire()

    # --- its end ---

    def stop(self) -> None:
        """To be given back: what is in hand is finished and committed first."""
        if self._over or self._stopping:
            return
        self._stopping = True
        self._records.clear()
        if self._commits is not None:
            self._commits.flush()
        self._member.poll_soon(0)

    def lose(self) -> None:
        """It is somebody else's, or may be: nothing is finished, committed or given back."""
        if not self._over:
            self._end(EventType.OK)
            self._member.lost(self)

    def die(self) -> None:
        """The member's process is gone."""
        if not self._over:
            self._end(EventType.INFO)
            if self._busy is not None:
                self.teller.end(self._busy, EventType.INFO)
            for invocation in self._open.values():
                self.teller.end(invocation, EventType.INFO)
            self._open.clear()

    def _end(self, kind: EventType) -> None:
        self._over = True
        self._records.clear()
        self.teller.end(self._tenure, kind)

    def _give_back(self) -> None:
        """Everything finished is durable: the ownership goes back, then the partition."""
        self._end(EventType.OK)
        partition, epoch = self.partition, self._epoch
        member = self._member
        if not epoch:
            member.gave_back(self)
            return

        def answered(result: object, unknown: bool, node: int) -> None:
            member.gave_back(self)

        member.asker.ask(
            *partition,
            lambda node, done: node.offsets.release(*partition, member.group, self._session, epoch, 0, done),
            answered,
            patience_ms=400,
        )

    # --- taking over ---

    def _acquire(self) -> None:
        member, partition = self._member, self.partition
        if self._over:
            return
        if self._stopping:
            self._give_back()
            return
        start = StartAt(StartRule.EARLIEST)
        request = AcquireRequest(
            member.group,
            self.member_id,
            self._session,
            start,
            generation=member.membership.generation,
            on_out_of_range=Fallback.EARLIEST,
        )
        invocation = self.teller.begin("acquire", {"start": [start.rule.name, start.value]})

        def answered(result: AcquiredOffset | Failure | Lost, unknown: bool, node: int) -> None:
            if isinstance(result, AcquiredOffset):
                self.teller.end(invocation, EventType.OK, told_acquired(result), node=node)
                self._took_over(result)
                return
            self.teller.refused(invocation, result, unknown, node)
            self._shared.world.after(_AGAIN_MS * MS, member.gate, self._acquire)

        member.asker.ask(
            *partition,
            lambda node, done: node.offsets.acquire(*partition, request, 0, done),
            answered,
            patience_ms=1500,
        )

    def _took_over(self, acquired: AcquiredOffset) -> None:
        member, stored = self._member, acquired.stored
        if self._over:
            return
        self._epoch = acquired.owner_epoch
        self._position = acquired.start_offset
        durable = acquired.start_offset if stored is None else stored.offset
        self._progress = Progress(acquired.start_offset, durable)
        options = member.options
        settings = CommitSettings(
            interval_ms=float(options.commit_interval_ms), double=options.double, confirm_timeout_ms=2000.0
        )
        known = stored.fingerprint if stored is not None else None
        self._commits = PartitionCommits(
            (member.group, *self.partition),
            self._epoch,
            self._session,
            self._progress,
            settings,
            self._member.asker.random,
            None if known is None else Fingerprint(*known),
            self._settled,
        )
        if self._stopping:
            member.poll_soon(0)
        else:
            self._read()

    # --- reading and processing ---

    def _later(self, delay_ms: float, action: Any) -> None:
        self._shared.world.after(int(delay_ms * MS) + 1, self._member.gate, action)

    def _retry(self) -> None:
        self._failures += 1
        self._member.asker.locator.look_up([self.partition.topic])
        self._later(LOOKUP.delay_ms(self._failures, self._member.asker.random), self._read)

    def _read(self) -> None:
        member, shared = self._member, self._shared
        if self._over or self._stopping:
            return
        if member.membership.silent(shared.now_ms):
            self._later(_AGAIN_MS, self._read)
            return
        locator = member.asker.locator
        address = locator.router.leader(*self.partition)
        if address is None:
            self._retry()
            return
        owner = (member.group, self._epoch)
        position, wait_ms, partition = self._position, member.asker.random.randrange(200), self.partition

        def answered(result: ReadResult | Failure | Lost) -> None:
            if self._over or self._stopping:
                return
            if isinstance(result, ReadResult):
                self._failures = 0
                locator.answered()
                self._arrived(result)
            elif isinstance(result, Lost):
                locator.lost(address)
                self._retry()
            elif result.reason in (Reason.FENCED, Reason.NOT_OWNER):
                self._displaced(result)
            elif result.reason is Reason.OFFSET_OUT_OF_RANGE:
                self._find_start()
            else:
                if result.reason is Reason.NOT_LEADER:
                    locator.router.refused(*partition, address, client_error(result).leader)
                self._retry()

        shared.calls.call(
            member.asker.client,
            node_at(address),
            lambda node, done: node.read(
                *partition, position, member.options.read_bytes, wait_ms, done, owner=owner
            ),
            lambda result: member.gate(answered, result),
            CALL_TIMEOUT_MS,
        )

    def _displaced(self, result: Failure) -> None:
        if self._commits is not None:
            self._commits.lose(client_error(result))
        self._member.poll_soon(0)

    def _arrived(self, result: ReadResult) -> None:
        decode = self._shared.values.decode
        for batch, term in zip(result.batches, result.terms, strict=True):
            head = parse_header(batch)
            self._progress.arrived([BatchRange(head.base_offset, head.end_offset, term, head.crc32c)])
            for record in decode_batch(batch):
                if record.offset >= self._position:
                    self._records.append(record.offset)
                    self._values[record.offset] = decode(record.value)
        if self._records:
            self._position = self._records[-1] + 1
            self._hand_out()
        else:
            self._later(self._member.asker.random.randrange(10, 60), self._read)

    def _hand_out(self) -> None:
        """The application gets a few records, and works on them."""
        if self._over or self._stopping:
            return
        if not self._records:
            self._read()
            return
        random = self._member.asker.random
        count = random.randint(1, _CHUNK)
        chunk, self._records = self._records[:count], self._records[count:]
        self._progress.deliver(chunk[-1] + 1)
        value = {"epoch": self._epoch, "first": chunk[0], "last": chunk[-1]}
        self._busy = self.teller.begin("process", value)
        self._later(random.expovariate(1.0 / self._member.process_ms), lambda: self._finished(chunk))
        self._member.poll_soon(0)

    def _finished(self, chunk: list[int]) -> None:
        assert self._busy is not None
        self.teller.end(self._busy, EventType.OK)
        self._busy = None
        if self._over:
            return
        # Within a chunk the application finishes in any order.
        self._member.asker.random.shuffle(chunk)
        for offset in chunk:
            self._progress.done(offset, self._shared.now_ms)
        self._member.poll_soon(0)
        self._hand_out()

    def _find_start(self) -> None:
        """Retention has taken what comes next: the application is told."""
        partition, position = self.partition, self._position

        def answered(result: OffsetFound | Failure | Lost, unknown: bool, node: int) -> None:
            if isinstance(result, OffsetFound) and result.start_offset > position and not self._over:
                gap = self.teller.begin("gap", {"from": position, "to": result.start_offset})
                self.teller.end(gap, EventType.OK)
                self._progress.gap(position, result.start_offset, self._shared.now_ms)
                self._position = result.start_offset
            self._later(1, self._read)

        self._member.asker.ask(
            *partition, lambda node, done: node.list_offsets(*partition, Earliest(), done), answered
        )

    # --- committing ---

    def poll(self, now_ms: float) -> None:
        """Commits what is due, asks what is open, and gives back when there is nothing left to do."""
        commits = self._commits
        if self._over or commits is None:
            return
        if commits.lost is not None and not self._open and commits.settled:
            # Fenced: should the group still think it this member's, it is to give it anew.
            self.lose()
            self._member.membership.gave_back([self.partition])
            return
        token = f"c{self._shared.new_token()}"
        commits.metadata = token.encode()
        wanted = commits.poll(now_ms)
        if isinstance(wanted, Resolve):
            self._resolve(wanted.attempt)
        elif isinstance(wanted, ReadBack):
            self._read_back(wanted.receipt)
        elif wanted is not None:
            asked = {
                "offset": wanted.offset,
                "epoch": wanted.owner_epoch,
                "token": token,
                "below": self._values.get(wanted.offset - 1),
            }
            self._open[wanted] = self.teller.begin("commit", asked)
            self._member.committer.submit(wanted, now_ms)
        if self._stopping and self._busy is None and commits.settled:
            self._give_back()

    def wake_at_ms(self) -> float | None:
        return None if self._over or self._commits is None else self._commits.wake_at_ms()

    def _settled(self, attempt: Attempt) -> None:
        """The committer has brought it to its end."""
        invocation = self._open.pop(attempt, None)
        if invocation is not None:
            if attempt.receipt is not None:
                receipt = attempt.receipt
                self.teller.end(invocation, EventType.OK, {"version": receipt.version, "term": receipt.term})
            else:
                kind = EventType.FAIL if isinstance(attempt.error, NotDone) else EventType.INFO
                self.teller.end(invocation, kind, error=str(attempt.error))
        if self._commits is not None:
            self._commits.settle(attempt, self._shared.now_ms)
        self._member.poll_soon(0)

    def _resolve(self, attempt: Attempt) -> None:
        member, commits = self._member, self._commits
        assert commits is not None
        which = AttemptAt(attempt.group, attempt.owner_epoch, attempt.session, attempt.sequence)
        invocation = self.teller.begin("resolve", {"token": attempt.metadata.decode()})

        def answered(result: FateKnown | Failure | Lost, unknown: bool, node: int) -> None:
            now_ms = self._shared.now_ms
            if isinstance(result, FateKnown):
                found = result.commit
                receipt = None
                if found is not None and found.offset is not None:
                    receipt = Receipt(*commits.key, found.offset, found.version, found.term)
                value = {"fate": result.fate.name, "version": 0 if found is None else found.version}
                self.teller.end(invocation, EventType.OK, value, node=node)
                commits.resolved(Fate(int(result.fate)), receipt, now_ms)
            else:
                self.teller.end(invocation, EventType.FAIL, error=error_of(result), node=node)
                commits.ask_failed(client_error(result), now_ms)
            member.poll_soon(0)

        member.asker.ask(
            *self.partition,
            lambda node, done: node.offsets.resolve(*self.partition, which, 0, done),
            answered,
            patience_ms=1500,
        )

    def _read_back(self, receipt: Receipt) -> None:
        member, commits = self._member, self._commits
        assert commits is not None
        invocation = self.teller.begin("fetch")

        def answered(result: FetchedOffset | Failure | Lost, unknown: bool, node: int) -> None:
            now_ms = self._shared.now_ms
            if isinstance(result, FetchedOffset):
                answer = {"stored": told_stored(result.stored), "epoch": result.owner_epoch}
                self.teller.end(invocation, EventType.OK, answer, node=node)
                commits.read_back(0 if result.stored is None else result.stored.version, now_ms)
            else:
                self.teller.end(invocation, EventType.FAIL, error=error_of(result), node=node)
                commits.ask_failed(client_error(result), now_ms)
            member.poll_soon(0)

        member.asker.ask(
            *self.partition,
            lambda node, done: node.offsets.fetch(*self.partition, receipt.group, 0, 0, done),
            answered,
            patience_ms=1500,
        )
