"""``OffsetAdmin`` and ``GroupAdmin`` without asyncio; see ``quorumlog.client.sync``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.client import group_admin as aio_group_admin
from quorumlog.client import offset_admin as aio_offset_admin
from quorumlog.client.loop_thread import Threaded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quorumlog.client.errors import QuorumlogError
    from quorumlog.client.offset_types import (
        DescribedGroup,
        FetchedOffset,
        GroupLag,
        History,
        ListedGroup,
        ResetOffset,
        Resolution,
        Restore,
        TopicPartition,
        ToVersion,
    )
    from quorumlog.client.receipt import Receipt
    from quorumlog.client.start import Start
    from quorumlog.client.verification import PartitionFindings


class OffsetAdmin(Threaded):
    """See ``quorumlog.client.OffsetAdmin``, whose calls these are."""

    def __init__(self, servers: str | Sequence[str], *, timeout_ms: float = 10_000.0) -> None:
        self._admin = aio_offset_admin.OffsetAdmin(servers, timeout_ms=timeout_ms)
        super().__init__(self._admin, "quorumlog offset admin")

    def partitions(self, topics: Sequence[str] = ()) -> list[TopicPartition]:
        """All partitions of these topics (none: of all the users' topics)."""
        return self._thread.run(self._admin.partitions(topics))

    def fetch(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, FetchedOffset | QuorumlogError]:
        """What is stored for the group."""
        return self._thread.run(self._admin.fetch(group, partitions))

    def fetch_at(self, node_id: int, group: str, partition: TopicPartition, min_version: int) -> FetchedOffset:
        """What one node's replica has stored for the group, once it has applied ``min_version``."""
        return self._thread.run(self._admin.fetch_at(node_id, group, partition, min_version))

    def history(self, group: str, partition: TopicPartition) -> History:
        """What happened to the group's offset in a partition."""
        return self._thread.run(self._admin.history(group, partition))

    def resolve(self, receipt: Receipt | str) -> Resolution:
        """What became of a commit."""
        return self._thread.run(self._admin.resolve(receipt))

    def resolve_attempt(
        self, group: str, partition: TopicPartition, owner_epoch: int, session: int, sequence: int
    ) -> Resolution:
        """What became of a commit whose answer was lost."""
        return self._thread.run(self._admin.resolve_attempt(group, partition, owner_epoch, session, sequence))

    def lag(
        self, groups: Sequence[str] = (), partitions: Sequence[TopicPartition] | None = None
    ) -> dict[TopicPartition, list[GroupLag] | QuorumlogError]:
        """How far groups are behind."""
        return self._thread.run(self._admin.lag(groups, partitions))

    def reset(
        self,
        group: str,
        partitions: Sequence[TopicPartition],
        to: str | Start | ToVersion | Restore,
        *,
        reason: str,
        expected_versions: Mapping[TopicPartition, int] | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> dict[TopicPartition, ResetOffset | QuorumlogError]:
        """Move the group's stored offsets."""
        return self._thread.run(
            self._admin.reset(
                group,
                partitions,
                to,
                reason=reason,
                expected_versions=expected_versions,
                force=force,
                dry_run=dry_run,
            )
        )

    def mark(
        self, group: str, partitions: Sequence[TopicPartition], *, critical: bool, hold_bytes: int = 0
    ) -> dict[TopicPartition, QuorumlogError | None]:
        """Treat the group so from now on."""
        return self._thread.run(self._admin.mark(group, partitions, critical=critical, hold_bytes=hold_bytes))

    def forget(
        self, group: str, partitions: Sequence[TopicPartition], *, force: bool = False
    ) -> dict[TopicPartition, QuorumlogError | None]:
        """Remove the group's offset, fences and history for good."""
        return self._thread.run(self._admin.forget(group, partitions, force=force))

    def verify(self, partitions: Sequence[TopicPartition] | None = None) -> list[PartitionFindings]:
        """Compare the offsets of all replicas."""
        return self._thread.run(self._admin.verify(partitions))


class GroupAdmin(Threaded):
    """See ``quorumlog.client.GroupAdmin``; what it has as ``offsets`` is an ``OffsetAdmin`` of its own here."""

    def __init__(self, servers: str | Sequence[str], *, timeout_ms: float = 10_000.0) -> None:
        self._admin = aio_group_admin.GroupAdmin(servers, timeout_ms=timeout_ms)
        super().__init__(self._admin, "quorumlog group admin")

    def describe(self, group: str) -> DescribedGroup:
        """A group as its coordinator has it."""
        return self._thread.run(self._admin.describe(group))

    def delete(self, group: str, *, force: bool = False) -> int:
        """Remove a group: its membership, and its offsets in every partition; the number of those."""
        return self._thread.run(self._admin.delete(group, force=force))

    def list(self) -> list[ListedGroup]:
        """All groups, by name."""
        return self._thread.run(self._admin.list())
