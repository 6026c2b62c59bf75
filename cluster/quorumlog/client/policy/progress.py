"""How far one partition has been consumed: handed out, processed, sent, durable.

A consumer commits what has been *processed*, never what has merely been handed out; so it must know which records
are finished, and with several of them in work at once they finish in any order. What may be committed is the offset
of the lowest unfinished record: everything below it is done. Records finished above it wait (they are *ahead*).

Four watermarks, each an offset before which everything has come so far: ``delivered`` ≥ ``processed`` (the
committable offset) ≥ ``sent`` ≥ ``durable``. Processed but not durable is the consumer's *exposure*: what a crash
now would repeat, in records and in the age of the oldest.

Prior art: the ack-sets of Pulsar and the "offset map" of Confluent's parallel consumer keep the same two things, a
low watermark and what is finished above it.

Pure: no clock. Times are ms on any steady clock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.client.offset_types import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable


class BatchRange(NamedTuple):
    """The offsets of one batch of the log (``end_offset`` exclusive), and what identifies it: the Raft term of its
    entry (0: not told) and its CRC32C."""

    base_offset: int
    end_offset: int
    term: int
    crc32c: int


class Exposure(NamedTuple):
    """Processed and not durable: how many records, and the age of the oldest in ms."""

    records: int
    age_ms: float


class Progress:
    """One partition's. ``start``: the first record to be handed out; ``stored``: the group's offset then, if any.

    A start below the stored offset (it was forced) is a replay: nothing is committed until it has caught up,
    because a stored offset goes back by a reset only.
    """

    __slots__ = (
        "_ahead",
        "_fresh_ms",
        "_gaps",
        "_ranges",
        "_sent_ms",
        "delivered",
        "durable",
        "processed",
        "sent",
    )

    def __init__(self, start: int, stored: int | None = None) -> None:
        self.delivered = start
        """Everything below has been handed out."""
        self.processed = start
        """Everything below is finished: what may be committed."""
        self.sent = self.durable = start if stored is None else max(start, stored)
        self._ranges: deque[BatchRange] = deque()
        #: Finished above an unfinished record, with the times; in the order in which they were finished.
        self._ahead: dict[int, float] = {}
        #: Records that will never come (retention took them): from → to.
        self._gaps: dict[int, int] = {}
        #: When the oldest record was finished that is: committable and not sent; sent and not durable.
        self._fresh_ms: float | None = None
        self._sent_ms: float | None = None

    # ---- in

    def arrived(self, ranges: Iterable[BatchRange]) -> None:
        """These batches are about to be handed out, in the order of their offsets."""
        self._ranges.extend(ranges)

    def deliver(self, end_offset: int) -> None:
        """Everything below has been handed out."""
        if end_offset > self.delivered:
            self.delivered = end_offset

    def done(self, offset: int, now_ms: float) -> bool:
        """The record is finished. False if that was known, or it is none of those handed out."""
        processed = self.processed
        if offset == processed:
            if offset >= self.delivered:
                return False
            self._reach(offset + 1, now_ms)
            return True
        if processed < offset < self.delivered and offset not in self._ahead:
            self._ahead[offset] = now_ms
            return True
        return False

    def done_below(self, offset: int, now_ms: float) -> None:
        """Every record handed out below ``offset`` is finished."""
        offset = min(offset, self.delivered)
        if offset > self.processed:
            self._jump(offset, now_ms)

    def gap(self, from_offset: int, to_offset: int, now_ms: float) -> None:
        """The records from here to there (exclusive) will never be handed out."""
        self.deliver(to_offset)
        if from_offset <= self.processed:
            if to_offset > self.processed:
                self._jump(to_offset, now_ms)
        else:
            self._gaps[from_offset] = to_offset

    def seek(self, offset: int) -> None:
        """Go on at another offset: what was handed out and is unfinished is given up, not waited for.

        Going back commits nothing until what is durable has been passed again; going forward makes what lies
        between count as processed, because the application said so.
        """
        self._ahead.clear()
        self._gaps.clear()
        self._ranges.clear()
        self.delivered = self.processed = offset
        self.sent = self.durable
        self._fresh_ms = self._sent_ms = None

    def _jump(self, processed: int, now_ms: float) -> None:
        """Reach ``processed`` by passing over what is finished or missing below it."""
        if self._ahead or self._gaps:
            for offset in [each for each in self._ahead if each < processed]:
                now_ms = min(now_ms, self._ahead.pop(offset))
            for offset in [each for each in self._gaps if each < processed]:
                processed = max(processed, self._gaps.pop(offset))
        self._reach(processed, now_ms)

    def _reach(self, processed: int, oldest_ms: float) -> None:
        ahead, gaps = self._ahead, self._gaps
        if ahead or gaps:
            while True:
                if processed in ahead:
                    oldest_ms = min(oldest_ms, ahead.pop(processed))
                    processed += 1
                elif processed in gaps:
                    processed = gaps.pop(processed)
                else:
                    break
        self.processed = processed
        if self._fresh_ms is None and processed > self.sent:
            self._fresh_ms = oldest_ms
        ranges = self._ranges
        while ranges and ranges[0].end_offset < processed:
            ranges.popleft()

    # ---- committing

    def sending(self, limit: int | None = None) -> int:
        """What is processed (at most up to ``limit``) is being committed now; the offset to commit."""
        offset = self.processed if limit is None else min(self.processed, limit)
        if self._fresh_ms is not None and offset > self.sent:
            self._sent_ms = self._fresh_ms if self._sent_ms is None else min(self._sent_ms, self._fresh_ms)
            if offset == self.processed:
                self._fresh_ms = None
        self.sent = max(self.sent, offset)
        return offset

    def committed(self, offset: int) -> None:
        """A commit of this offset is durable."""
        self.durable = max(self.durable, offset)
        self.sent = max(self.sent, self.durable)
        if self.sent == self.durable:
            self._sent_ms = None
        if self.processed <= self.durable:
            self._fresh_ms = None

    def failed(self) -> None:
        """What was sent is not durable, and is to be sent again."""
        if self._sent_ms is not None and self.processed > self.durable:
            self._fresh_ms = self._sent_ms if self._fresh_ms is None else min(self._sent_ms, self._fresh_ms)
        self._sent_ms = None
        self.sent = self.durable

    # ---- questions

    @property
    def fresh(self) -> int:
        """Records processed and not sent."""
        return max(self.processed - self.sent, 0)

    @property
    def fresh_ms(self) -> float | None:
        """When the oldest of them was finished; None: there is none."""
        return self._fresh_ms

    @property
    def ahead(self) -> int:
        """Records finished above an unfinished one."""
        return len(self._ahead)

    def exposure(self, now_ms: float) -> Exposure:
        """What a crash now would repeat although it is processed."""
        durable = self.durable
        ahead = [at_ms for offset, at_ms in self._ahead.items() if offset >= durable]
        records = max(self.processed - durable, 0) + len(ahead)
        oldest = [at_ms for at_ms in (self._fresh_ms, self._sent_ms) if at_ms is not None]
        if ahead:
            oldest.append(ahead[0])
        return Exposure(records, max(now_ms - min(oldest), 0.0) if oldest and records else 0.0)

    def is_done(self, offset: int) -> bool:
        """The record is finished."""
        return offset < self.processed or offset in self._ahead

    def fingerprint(self, offset: int) -> Fingerprint | None:
        """Of the record before ``offset``; None when it was not handed out here, or its term was not told."""
        for base_offset, end_offset, term, crc32c in self._ranges:
            if base_offset < offset <= end_offset:
                return Fingerprint(term, crc32c) if term else None
        return None
