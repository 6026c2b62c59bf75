"""Three nodes whose committed offsets are driven by hand: what the tests of offsets share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replica.trio import Trio, batch

from quorumlog.machine import PartitionMachine
from quorumlog.machine.offset_commands import CommitItem, Fingerprint
from quorumlog.replica import Failure
from quorumlog.replica.offset_api import (
    AcquiredOffset,
    AcquireRequest,
    AttemptAt,
    CommittedOffset,
    FetchedOffset,
    OffsetHistory,
    ReceiptAt,
    ResetOffset,
    ResetRequest,
    ResetTo,
    StartAt,
    StartRule,
)
from quorumlog.wire.header import parse_header

if TYPE_CHECKING:
    from quorumlog.machine.offset_results import ChangeKind, FateKnown
    from quorumlog.replica.partition import PartitionService

EARLIEST = StartAt(StartRule.EARLIEST)
LATEST = StartAt(StartRule.LATEST)


class OffsetTrio(Trio):
    """One topic ``t`` of one partition, with ``records`` of one record a batch."""

    def __init__(self, records: int = 10, topic: dict[str, int] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.make_topic("t", **(topic or {}))
        for number in range(records):
            self.append(self.led(), [b"%d" % number])

    def follower(self) -> int:
        return next(node for node in sorted(self.nodes) if node != self.led())

    def fingerprint(self, offset: int) -> Fingerprint:
        """Of the record before ``offset``, as a reader has it."""
        read = self.read(self.led(), offset - 1, max_bytes=1)[0]
        return Fingerprint(read.terms[0], parse_header(read.batches[0]).crc32c)

    # --- requests that are answered at once; those with ``_from`` wait for whoever answers ---

    def acquiring(self, node: int, group: str = "g", session: int = 7, **asked: Any) -> list[Any]:
        request = AcquireRequest(group, f"owner-{session}", session, **{"start": EARLIEST, **asked})
        return self.ask(node, lambda one, done: one.offsets.acquire("t", 0, request, 0, done))

    def acquire(self, group: str = "g", session: int = 7, **asked: Any) -> AcquiredOffset:
        answer = self.acquiring(self.led(), group, session, **asked)[0]
        assert isinstance(answer, AcquiredOffset), answer
        return answer

    def committing(
        self,
        node: int,
        offset: int,
        sequence: int,
        group: str = "g",
        session: int = 7,
        epoch: int = 1,
        fingerprint: Fingerprint | None = None,
        metadata: bytes = b"",
    ) -> list[Any]:
        item = CommitItem(group, offset, epoch, session, sequence, fingerprint, metadata)
        return self.ask(node, lambda one, done: one.offsets.commit("t", 0, item, 0, done))

    def commit(self, offset: int, sequence: int, **item: Any) -> CommittedOffset:
        answer = self.committing(self.led(), offset, sequence, **item)[0]
        assert isinstance(answer, CommittedOffset), answer
        return answer

    def refused(self, offset: int, sequence: int, **item: Any) -> Failure:
        answer = self.committing(self.led(), offset, sequence, **item)[0]
        assert isinstance(answer, Failure), answer
        return answer

    def fetching(self, node: int, group: str = "g", min_version: int = 0) -> list[Any]:
        return self.ask(node, lambda one, done: one.offsets.fetch("t", 0, group, min_version, 0, done))

    def fetch(self, node: int | None = None, group: str = "g") -> FetchedOffset:
        answer = self.fetching(node or self.led(), group)[0]
        assert isinstance(answer, FetchedOffset), answer
        return answer

    def stored(self, node: int | None = None, group: str = "g") -> int | None:
        stored = self.fetch(node, group).stored
        return None if stored is None else stored.offset

    def resetting(self, to: ResetTo, group: str = "g", reason: str = "why", **asked: Any) -> ResetOffset | Failure:
        request = ResetRequest(group, to, reason, **asked)
        answers = self.ask(self.led(), lambda one, done: one.offsets.reset("t", 0, request, 0, done))
        answer: ResetOffset | Failure = answers[0]
        return answer

    def resolving(self, node: int, what: ReceiptAt | AttemptAt) -> list[Any]:
        return self.ask(node, lambda one, done: one.offsets.resolve("t", 0, what, 0, done))

    def resolve(self, what: ReceiptAt | AttemptAt, node: int | None = None) -> FateKnown | Failure:
        answer: FateKnown | Failure = self.resolving(node or self.led(), what)[0]
        return answer

    def fill(self, batches: int, size: int = 4_000) -> None:
        """Records that make segments full."""
        for _ in range(batches):
            self.append_batch(self.led(), batch([b"x" * size]))

    def chill(self) -> None:
        """Entries enough to push all earlier ones out of a small cache."""
        for _ in range(70):
            self.ask(self.led(), lambda one, done: one.offsets.audit("t", 0, 0, done))

    def hand_over(self, to: int) -> None:
        """Moves the partition's leadership."""
        self.ask(self.led(), lambda one, done: one.transfer_leadership("t", 0, to, done))
        self.until(lambda: self.leader(self.group()) == to)

    def digests_agree(self) -> bool:
        group = self.group()
        return len({(r.applied_index, r.digest) for r in (self.replica(n, group) for n in self.nodes)}) == 1

    def history(self, group: str = "g") -> list[tuple[ChangeKind, int | None]]:
        """What is remembered: kind and offset of each change."""
        answer = self.ask(self.led(), lambda one, done: one.offsets.history("t", 0, group, 0, done))[0]
        assert isinstance(answer, OffsetHistory), answer
        return [(change.kind, change.offset) for change in answer.changes]

    def service(self, node: int) -> PartitionService:
        """The insides of the topic's partition on one node, for tests that break them."""
        return self.nodes[node]._groups.partitions[self.group()]

    def machine(self, node: int) -> PartitionMachine:
        machine = self.service(node).replica.machine
        assert isinstance(machine, PartitionMachine)
        return machine

    def remember(self, node: int, group: str = "g", **wrong: Any) -> None:
        """Makes one replica's machine have another stored offset than it should."""
        table = self.machine(node).offsets.get(group)
        assert table is not None
        assert table.stored is not None
        table.stored = table.stored._replace(**wrong)
