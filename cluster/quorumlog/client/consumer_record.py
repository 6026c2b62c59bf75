"""A record as a consumer hands it out: a Record that knows its topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from quorumlog.wire.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable


class ConsumerRecord(Record):
    """A Record with its ``topic`` as a seventh item, because a consumer may read several topics.

    Still one tuple: hundreds of thousands are made a second.
    """

    __slots__ = ()

    def __new__(
        cls,
        partition: int,
        offset: int,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        header_blob: bytes = b"",
        topic: str = "",
    ) -> ConsumerRecord:
        """A record of ``topic``."""
        return tuple.__new__(cls, (partition, offset, timestamp_ms, key, value, header_blob, topic))

    @property
    def topic(self) -> str:
        """The topic's name."""
        return cast("str", tuple.__getitem__(self, 6))

    def __repr__(self) -> str:
        return (
            f"ConsumerRecord(topic={self.topic!r}, partition={self.partition}, offset={self.offset}, "
            f"timestamp_ms={self.timestamp_ms}, key={self.key!r}, value={self.value!r})"
        )


def of_topic(records: Iterable[Record], topic: str) -> list[ConsumerRecord]:
    """The same records, knowing their topic."""
    new, rest = tuple.__new__, (topic,)
    return [new(ConsumerRecord, record + rest) for record in records]
