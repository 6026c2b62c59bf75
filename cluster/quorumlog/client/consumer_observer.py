"""What somebody is told who writes down all that a consumer does: an audit, or a checker of histories.

Events (``quorumlog.client.consumer_events``) tell what has become of a consumer's partitions. An observer is told
before anything leaves as well: only who knows when an Acquire or a commit *began* can say which of two came first.
Its methods are called on the event loop and must neither block nor raise.

Prior art: Kafka's ConsumerInterceptor, whose ``onCommit`` hears of a commit only when it is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.client.errors import QuorumlogError
    from quorumlog.client.offset_types import TopicPartition
    from quorumlog.client.policy.committer import Attempt


class ConsumerObserver(Protocol):
    """See the module."""

    def assigned(self, member: str, generation: int, partitions: Sequence[TopicPartition]) -> None:
        """The coordinator answered ``member``: these are its partitions in this generation."""

    def acquiring(self, partition: TopicPartition, generation: int) -> None:
        """An Acquire is about to be sent. PartitionAcquired follows, ``not_acquired``, or nothing if the partition
        is not wanted any more."""

    def not_acquired(self, partition: TopicPartition, error: QuorumlogError) -> None:
        """It ended with this error; it is made again for as long as the partition is wanted."""

    def gave_back(self, partitions: Sequence[TopicPartition]) -> None:
        """The coordinator has taken these back from a member that it still knew."""

    def committing(self, attempt: Attempt) -> bytes:
        """A commit is about to be sent; what is to be stored with it (at most 4 KiB, ``attempt.metadata`` unless
        the observer has better)."""

    def committed(self, attempt: Attempt) -> None:
        """The commit has come to its end: its ``receipt`` or its ``error`` is set."""
