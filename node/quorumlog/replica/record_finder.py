"""The batch that holds a record: for fingerprints, and for the record's time.

What is committed and applied never changes, so what was found is true for ever; the last batch found is remembered,
because the commits of many groups are about the same few batches at the end of the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.machine.offset_commands import Fingerprint
from quorumlog.replica.failures import Failure
from quorumlog.replica.starting import FingerprintCheck
from quorumlog.wire.batch import record_time_ms
from quorumlog.wire.header import parse_header

if TYPE_CHECKING:
    from quorumlog.machine import PartitionMachine
    from quorumlog.replica.refusals import Refusals
    from quorumlog.replica.replica import Replica


class FoundBatch(NamedTuple):
    """A stored batch, the term of its entry, and where in the files it was found (None: in memory)."""

    data: bytes
    term: int
    base_offset: int
    end_offset: int
    crc32c: int
    found_at: tuple[str, int] | None

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(self.term, self.crc32c)

    def time_ms(self, offset: int) -> int:
        """The timestamp of the record at ``offset``."""
        return record_time_ms(self.data, offset - self.base_offset)


#: A batch; None if it is not stored any more.
FoundDone = Callable[[FoundBatch | Failure | None], None]


class RecordFinder:
    """See the module. One per partition; finds only what is committed and applied."""

    __slots__ = ("_last", "_machine", "_refuse", "_replica")

    def __init__(self, replica: Replica, machine: PartitionMachine, refuse: Refusals) -> None:
        self._replica = replica
        self._machine = machine
        self._refuse = refuse
        self._last: FoundBatch | None = None

    def find(self, offset: int, done: FoundDone) -> None:
        """The batch that holds ``offset``, from memory at once, otherwise by a job. ``offset`` must lie below the
        machine's end."""
        last = self._last
        if last is not None and last.base_offset <= offset < last.end_offset:
            done(last)
            return
        entry = self._replica.log.batch_at(offset)
        if entry is not None:
            done(self._remember(entry.data, entry.term, None))
        else:
            self.find_on_disk(offset, done)

    def find_on_disk(self, offset: int, done: FoundDone) -> None:
        """The same, with ``found_at``."""
        log = self._replica.log
        start = log.start_offset
        if start is None or offset < start:
            done(None)
            return
        job = log.batches_job(offset, self._machine.end_offset, 1)

        def loaded(error: BaseException | None) -> None:
            if error is not None:
                done(self._refuse.unreadable(error))
            elif job.missing or not job.batches:
                done(None)
            else:
                done(self._remember(job.batches[0], job.terms[0], job.found_at))

        self._replica.run_read(job, loaded)

    def _remember(self, data: bytes, term: int, found_at: tuple[str, int] | None) -> FoundBatch:
        head = parse_header(data)
        self._last = found = FoundBatch(data, term, head.base_offset, head.end_offset, head.crc32c, found_at)
        return found

    def vouches(self, offset: int, fingerprint: Fingerprint) -> bool:
        """Whether the last batch found holds the record before ``offset`` and has this fingerprint. The quick way,
        for what comes thousands of times; False says nothing."""
        last = self._last
        return (
            last is not None
            and last.base_offset < offset <= last.end_offset
            and fingerprint == (last.term, last.crc32c)
        )

    def check(
        self, offset: int, fingerprint: Fingerprint | None, done: Callable[[FingerprintCheck | Failure], None]
    ) -> None:
        """Whether the record before ``offset`` is the one that ``fingerprint`` names. ``offset`` must not lie
        beyond the machine's end."""
        if fingerprint is None:
            done(FingerprintCheck.UNCHECKED)
            return
        if offset == 0:
            done(FingerprintCheck.CHANGED)  # no record was processed, so none can be named
            return
        wanted = fingerprint

        def found(batch: FoundBatch | Failure | None) -> None:
            if isinstance(batch, Failure):
                done(batch)
            elif batch is None:
                done(FingerprintCheck.UNCHECKED)
            else:
                same = wanted == batch.fingerprint
                done(FingerprintCheck.SAME if same else FingerprintCheck.CHANGED)

        self.find(offset - 1, found)
