"""One partition's records on their way in: a standing read that outlives its leader.

Batches are kept as they came, undecoded, until somebody wants them: so what is read ahead is bounded in bytes
exactly, and a reader that stops costs nothing. That batches follow one another without a hole is checked when
they arrive; their checksums when they are decoded.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from itertools import chain, repeat
from typing import TYPE_CHECKING

from grpc import aio

from quorumlog.client.errors import (
    DamagedOnTheWay,
    HoleInLog,
    NotDone,
    QuorumlogError,
    Reason,
    RetentionGap,
    as_outcome,
    make_error,
)
from quorumlog.client.network import now_ms
from quorumlog.client.offsets import find_offset
from quorumlog.client.policy.backoff import LOOKUP, RESEND
from quorumlog.client.policy.progress import BatchRange
from quorumlog.client.start import Earliest
from quorumlog.client.status import from_rpc
from quorumlog.v1 import log_pb2
from quorumlog.wire.batch import decode_batch
from quorumlog.wire.errors import BatchError
from quorumlog.wire.header import parse_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from quorumlog.client.channel import NodeChannel
    from quorumlog.client.network import Network
    from quorumlog.wire.record import Record

#: How often a node with nothing new says so, and how long a silent one is believed to be alive.
_HEARTBEAT_MS = 250
_SILENCE_MS = 4 * _HEARTBEAT_MS
_MESSAGE_BYTES = 1 << 20
#: Small batches are handed out together, up to about so many records.
_RECORDS_AT_ONCE = 4096

_RETRIED = frozenset(
    {
        Reason.NOT_LEADER,
        Reason.NO_QUORUM,
        Reason.OVERLOADED,
        Reason.SHUTTING_DOWN,
        Reason.REPLICA_DAMAGED,
        Reason.UNREACHABLE,
        Reason.DEADLINE,
        Reason.UNKNOWN_PARTITION,
    }
)


class Subscription:
    """The read of one partition, from ``offset`` on, to ``stop`` (exclusive) if that is given.

    ``owner``: the consumer group and owner epoch on whose behalf is read; such a read ends with FENCED once
    somebody else has acquired the partition. ``position`` is the offset of the next record to be handed out.
    ``on_change`` is called when ``waiting`` becomes true or the read ends.
    """

    def __init__(
        self,
        network: Network,
        topic: str,
        partition: int,
        offset: int,
        stop: int | None,
        *,
        prefetch_bytes: int,
        timeout_ms: float,
        on_change: Callable[[Subscription], None],
        owner: tuple[str, int] | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.position = offset
        self.end_offset = offset
        self._network = network
        self._stop = stop
        self._prefetch_bytes = prefetch_bytes
        self._timeout_ms = timeout_ms
        self._on_change = on_change
        self._owner = None if owner is None else log_pb2.Owner(group=owner[0], epoch=owner[1])
        self._arrived = offset
        self._batches: deque[bytes] = deque()
        #: The term of each of them.
        self._terms: deque[int] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self._error: QuorumlogError | None = None
        self._progress_ms = now_ms()
        self._task: asyncio.Task[None] | None = None
        self.resume()

    # ---- out

    @property
    def waiting(self) -> bool:
        """``take`` has something to give or to raise."""
        return bool(self._batches) or self._error is not None

    @property
    def finished(self) -> bool:
        """Everything up to ``stop`` has been handed out."""
        return self._stop is not None and self.position >= self._stop

    def take(self) -> list[Record]:
        """The next records, at least one when ``waiting``.

        Raises what ended the read, once everything that came before has been handed out; reading goes on
        afterwards, if it is asked to: behind the gap after a RetentionGap, else at ``position``.
        """
        return self.take_ranges()[0]

    def take_ranges(self) -> tuple[list[Record], list[BatchRange]]:
        """The same, and the batches that the records are from."""
        if not self._batches:
            error, self._error = self._error, None
            if isinstance(error, RetentionGap):
                self.position = error.to_offset
            self.resume()
            if error is not None:
                raise error
            return [], []
        records: list[Record] = []
        ranges: list[BatchRange] = []
        try:
            while self._batches and len(records) < _RECORDS_AT_ONCE:
                data = self._batches[0]
                decoded = decode_batch(data, self.partition)
                self._batches.popleft()
                self._bytes -= len(data)
                header = parse_header(data)
                ranges.append(
                    BatchRange(header.base_offset, header.end_offset, self._terms.popleft(), header.crc32c)
                )
                records += self._wanted(decoded)
                self.position = records[-1].offset + 1
        except BatchError as error:
            if not records:
                self._start_over()
                where = f"{self.topic}/{self.partition} from {self.position} on"
                raise DamagedOnTheWay(f"{where}: {error}") from error
        if self._bytes < self._prefetch_bytes:
            self._room.set()
        return records, ranges

    def _wanted(self, decoded: list[Record]) -> list[Record]:
        first, last = decoded[0].offset, decoded[-1].offset
        if first < self.position or (self._stop is not None and last >= self._stop):
            stop = self._stop if self._stop is not None else last + 1
            return decoded[self.position - first : max(stop - first, 0)]
        return decoded

    def _start_over(self) -> None:
        """Fetch again what has not been handed out."""
        self._batches.clear()
        self._terms.clear()
        self._bytes = 0
        self._arrived = self.position
        if self._task is not None:
            self._task.cancel()
        self._task = None
        self.resume()

    def resume(self) -> None:
        """Go on reading after the read has ended with an error."""
        if self._task is None or self._task.done():
            self._progress_ms = now_ms()
            self._task = asyncio.create_task(self._run(), name=f"read {self.topic}/{self.partition}")

    async def close(self) -> None:
        """End the read."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ---- in

    async def _run(self) -> None:
        failures = 0
        while self._stop is None or self._arrived < self._stop:
            before = self._arrived
            try:
                await self._follow()
                continue
            except QuorumlogError as error:
                failures = 1 if self._arrived > before else failures + 1
                told = await self._judged(error)
            if told is not None:
                self._error = told
                self._on_change(self)
                return
            if failures > 1:
                await self._network.wait_change(RESEND.delay_ms(failures, self._network.random))

    async def _judged(self, error: QuorumlogError) -> QuorumlogError | None:
        """What to tell the application about a failed read; None: nothing, it is tried again."""
        if error.reason is Reason.OFFSET_OUT_OF_RANGE:
            try:
                log = await find_offset(
                    self._network, self.topic, self.partition, Earliest(), timeout_ms=self._timeout_ms
                )
            except QuorumlogError as failed:
                return failed
            if log.start_offset <= self._arrived:
                # Beyond the end for this leader: it may not have caught up with what an earlier one had committed.
                return error if now_ms() - self._progress_ms > self._timeout_ms else None
            gap = RetentionGap(self.topic, self.partition, self._arrived, log.start_offset)
            self._arrived = log.start_offset
            return gap
        if error.reason not in _RETRIED:
            return error if isinstance(error, NotDone) else as_outcome(error, error.message, not_done=True)
        silent_ms = now_ms() - self._progress_ms
        if silent_ms > self._timeout_ms:
            return as_outcome(error, f"nothing read for {silent_ms:.0f} ms; last: {error.message}", not_done=True)
        return None

    async def _follow(self) -> None:
        """Read from the leader there is now; returns at ``stop``, raises when the leader or the way to it fails."""
        channel = await self._leader()
        request = log_pb2.SubscribeRequest(
            topic=self.topic,
            partition=self.partition,
            offset=self._arrived,
            max_bytes=min(_MESSAGE_BYTES, self._prefetch_bytes),
            stop_at_end=self._stop is not None,
            heartbeat_ms=_HEARTBEAT_MS,
            owner=self._owner,
        )
        call = channel.log.Subscribe(request)
        try:
            while self._stop is None or self._arrived < self._stop:
                while self._bytes >= self._prefetch_bytes:
                    self._room.clear()
                    await self._room.wait()
                try:
                    async with asyncio.timeout(_SILENCE_MS / 1000):
                        response = await call.read()
                except TimeoutError:
                    self._network.ask_again([self.topic])
                    words = f"{channel.address} has been silent for {_SILENCE_MS} ms"
                    raise make_error(Reason.DEADLINE, words, not_done=True) from None
                if not isinstance(response, log_pb2.ReadResponse):
                    return  # the end of the stream
                self._progress_ms = now_ms()
                self.end_offset = max(self.end_offset, response.end_offset)
                if response.batches:
                    self._arrive(response.batches, response.terms)
        except aio.AioRpcError as error:
            channel.look()
            told = from_rpc(error, channel.address, never_left=True)
            if told.reason in (Reason.NOT_LEADER, Reason.NO_QUORUM, Reason.SHUTTING_DOWN, Reason.REPLICA_DAMAGED):
                self._network.router.refused(self.topic, self.partition, channel.address, told.leader)
            raise told from None
        finally:
            call.cancel()

    async def _leader(self) -> NodeChannel:
        while (address := self._network.router.leader(self.topic, self.partition)) is None:
            self._network.seek([self.topic])
            await self._network.wait_change(LOOKUP.cap_ms)
            if now_ms() - self._progress_ms > self._timeout_ms:
                where = f"{self.topic}/{self.partition}"
                raise make_error(Reason.NO_QUORUM, f"{where} has no leader that answers", not_done=True)
        return self._network.channel(address)

    def _arrive(self, batches: Iterable[bytes], terms: Iterable[int]) -> None:
        arrived = self._arrived
        empty = not self._batches
        try:
            # A node that tells no terms: 0, which is nobody's term and makes no fingerprint.
            for data, term in zip(batches, chain(terms, repeat(0)), strict=False):
                if self._stop is not None and arrived >= self._stop:
                    break
                header = parse_header(data)
                if header.end_offset <= arrived:
                    continue
                # The first batch may begin before the offset asked for; what has been handed out is skipped in
                # ``take``.
                if header.base_offset > arrived:
                    raise HoleInLog(
                        f"{self.topic}/{self.partition}: {arrived} is due, the node sent {header.base_offset}",
                        fields={"expected": str(arrived), "received": str(header.base_offset)},
                    )
                self._batches.append(data)
                self._terms.append(term)
                self._bytes += len(data)
                arrived = header.end_offset
        except struct.error as error:
            where = f"{self.topic}/{self.partition} from {arrived} on"
            raise DamagedOnTheWay(f"{where}: a batch cut short") from error
        finally:
            self._arrived = arrived
            if empty and self._batches:
                self._on_change(self)
