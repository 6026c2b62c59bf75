"""The promise for one record: light, because there is one for each, while the fate is the batch's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.client.policy.pending import State

if TYPE_CHECKING:
    from collections.abc import Generator

    from quorumlog.client.policy.pending import PendingBatch


class RecordPosition(NamedTuple):
    """Where a record stands for good."""

    topic: str
    partition: int
    offset: int


class Delivery:
    """``await delivery`` gives the RecordPosition once the record is durable on a majority, or raises why it is
    not: a NotDone or an OutcomeUnknown. Any number of tasks may await it, and cancelling one disturbs no
    other."""

    __slots__ = ("_batch", "_index")

    def __init__(self, batch: PendingBatch, index: int) -> None:
        self._batch = batch
        self._index = index

    @property
    def done(self) -> bool:
        """The fate is known: ``position`` will not raise asyncio.InvalidStateError."""
        return self._batch.state is State.DONE

    @property
    def position(self) -> RecordPosition:
        """The record's position. Raises the delivery's error, or asyncio.InvalidStateError before it is done."""
        batch = self._batch
        if batch.state is not State.DONE:
            raise asyncio.InvalidStateError("the record is still on its way")
        if batch.error is not None:
            # The one error of a batch is raised for each of its records; their tracebacks must not pile up on it.
            raise batch.error.with_traceback(None)
        return RecordPosition(batch.queue.topic, batch.queue.partition, batch.base_offset + self._index)

    def __await__(self) -> Generator[None, None, RecordPosition]:
        if self._batch.state is not State.DONE:
            # A future of one's own: a task that is cancelled cancels the future it waits for, and a shared one
            # would take everybody else's records with it.
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._batch.on_done.append(lambda: None if future.done() else future.set_result(None))
            yield from future
        return self.position
