"""One consumer's doings as the history wants them: what it was told, owned, acquired, processed and committed.

It hears of them by the consumer's public hooks, its events and its observer, and of the processing from the
application itself (``members``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quorumlog.chaos.workloads.ground import partition_key
from quorumlog.chaos.workloads.telling import Teller, kind_of, words_of
from quorumlog.chaos.workloads.values import decode
from quorumlog.check import EventType
from quorumlog.check.forms import told_acquired
from quorumlog.check.offset_evidence import register_key
from quorumlog.client.consumer_events import MembershipLost, PartitionAcquired, PartitionLost, PartitionRevoked
from quorumlog.client.offset_types import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.chaos.workloads.ground import Ground
    from quorumlog.check import Value
    from quorumlog.client import ConsumerRecord, QuorumlogError, RetentionGap
    from quorumlog.client.consumer_events import Event
    from quorumlog.client.offset_calls import Acquired
    from quorumlog.client.policy.committer import Attempt

#: Every member begins at the log's start where nothing is stored.
_RULE = ["EARLIEST", 0]


class _Tenure(NamedTuple):
    """A partition in this member's hands. ``member``: under which id."""

    invocation: int
    member: str


class _Acquiring(NamedTuple):
    """An Acquire under way, and in which generation it is made."""

    invocation: int
    generation: int


class GroupTale:
    """See the module; a ``quorumlog.client.consumer_observer.ConsumerObserver``."""

    def __init__(self, ground: Ground, group: str) -> None:
        self._ground = ground
        self._group = group
        self._teller = Teller(ground, group)
        self._tellers: dict[TopicPartition, Teller] = {}
        self._told: tuple[str, int, tuple[TopicPartition, ...]] | None = None
        self._tenures: dict[TopicPartition, _Tenure] = {}
        self._acquires: dict[TopicPartition, _Acquiring] = {}
        self._epochs: dict[TopicPartition, int] = {}
        self._returns: dict[TopicPartition, int] = {}
        self._commits: dict[Attempt, int] = {}
        self._values: dict[TopicPartition, dict[int, Value]] = {}
        """Of records processed and not known to be committed: what a commit's fingerprint stands for."""

    def _of(self, partition: TopicPartition) -> Teller:
        teller = self._tellers.get(partition)
        if teller is None:
            key = register_key(self._group, partition_key(*partition))
            teller = self._tellers[partition] = Teller(self._ground, key)
        return teller

    # --- ownership, as the observer of a consumer

    def assigned(self, member: str, generation: int, partitions: Sequence[TopicPartition]) -> None:
        told = (member, generation, tuple(partitions))
        if told == self._told:
            return
        self._told = told
        names = [partition_key(*each) for each in partitions]
        value = {"member": member, "generation": generation, "partitions": names}
        self._teller.end(self._teller.begin("assigned", value))

    def acquiring(self, partition: TopicPartition, generation: int) -> None:
        self._drop_acquire(partition)
        invocation = self._of(partition).begin("acquire", {"start": _RULE})
        self._acquires[partition] = _Acquiring(invocation, generation)

    def not_acquired(self, partition: TopicPartition, error: QuorumlogError) -> None:
        acquiring = self._acquires.pop(partition, None)
        if acquiring is not None:
            self._of(partition).refused(acquiring.invocation, error)

    def gave_back(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            invocation = self._returns.pop(partition, None)
            if invocation is not None:
                self._of(partition).end(invocation)

    def event(self, event: Event) -> None:
        """For ``on_event``."""
        match event:
            case PartitionAcquired(partition, acquired):
                self._acquired(partition, acquired)
            case PartitionRevoked(partition):
                tenure = self._end_tenure(partition)
                if tenure is not None and partition not in self._returns:
                    self._returns[partition] = self._of(partition).begin("give_back", {"member": tenure.member})
            case PartitionLost(partition):
                self._end_tenure(partition)
            case MembershipLost(_, error):
                self._drop_returns(words_of(error))

    def _acquired(self, partition: TopicPartition, acquired: Acquired) -> None:
        assert self._told is not None
        acquiring = self._acquires.pop(partition)
        teller, member = self._of(partition), self._told[0]
        teller.end(acquiring.invocation, value=told_acquired(acquired))
        # Not from the Acquire's beginning: one that was given up without knowing it asks for what it has not.
        value = {"member": member, "generation": acquiring.generation}
        self._tenures[partition] = _Tenure(teller.begin("own", value), member)
        self._epochs[partition] = acquired.owner_epoch
        self._values[partition] = {}

    def _end_tenure(self, partition: TopicPartition) -> _Tenure | None:
        tenure = self._tenures.pop(partition, None)
        if tenure is not None:
            self._of(partition).end(tenure.invocation)
        return tenure

    def _drop_acquire(self, partition: TopicPartition) -> None:
        """An Acquire that was given up half-way: it may have been done."""
        acquiring = self._acquires.pop(partition, None)
        if acquiring is not None:
            self._of(partition).end(acquiring.invocation, EventType.INFO, error="given up")

    def _drop_returns(self, error: str) -> None:
        for partition, invocation in self._returns.items():
            self._of(partition).end(invocation, EventType.FAIL, error=error)
        self._returns.clear()

    def over(self) -> None:
        """The consumer has been closed."""
        for partition in list(self._acquires):
            self._drop_acquire(partition)
        self._drop_returns("left")
        for partition in list(self._tenures):
            self._end_tenure(partition)

    # --- commits, as the observer

    def committing(self, attempt: Attempt) -> bytes:
        token = f"c{self._ground.new_number()}"
        values = self._values.get(_partition(attempt), {})
        asked = {
            "offset": attempt.offset,
            "epoch": attempt.owner_epoch,
            "token": token,
            "below": values.get(attempt.offset - 1),
        }
        self._commits[attempt] = self._of(_partition(attempt)).begin("commit", asked)
        return token.encode()

    def committed(self, attempt: Attempt) -> None:
        partition = _partition(attempt)
        teller, invocation = self._of(partition), self._commits.pop(attempt)
        receipt, error = attempt.receipt, attempt.error
        if error is not None:
            teller.end(invocation, kind_of(error), error=words_of(error))
        elif receipt is not None:
            teller.end(invocation, value={"version": receipt.version, "term": receipt.term})
            values = self._values.get(partition, {})
            for offset in [each for each in values if each < receipt.offset - 1]:
                del values[offset]

    # --- what the application does

    def begins(self, records: Sequence[ConsumerRecord]) -> int:
        """It was handed these records, which follow one another in one partition; for ``finished``."""
        first, last = records[0], records[-1]
        partition = _partition(first)
        values = self._values[partition]
        for record in records:
            value = values[record.offset] = decode(record.value)
            if isinstance(value, str):
                self._impossible(partition, record.offset, value)
        told = {"epoch": self._epochs[partition], "first": first.offset, "last": last.offset}
        return self._of(partition).begin("process", told)

    def finished(self, records: Sequence[ConsumerRecord], invocation: int) -> None:
        """It has finished them."""
        self._of(_partition(records[0])).end(invocation)

    def missed(self, gap: RetentionGap) -> None:
        """It was told that records are gone."""
        teller = self._of(TopicPartition(gap.topic, gap.partition))
        teller.end(teller.begin("gap", {"from": gap.from_offset, "to": gap.to_offset}))

    def _impossible(self, partition: TopicPartition, offset: int, text: str) -> None:
        """A record that nobody sent: so the history says that it was read."""
        teller = Teller(self._ground, partition_key(*partition))
        value = {"start": 0, "end": offset + 1, "batches": [[offset, [text]]]}
        teller.end(teller.begin("read", offset), value=value)


def _partition(where: Attempt | ConsumerRecord) -> TopicPartition:
    return TopicPartition(where.topic, where.partition)
