"""Consuming to standard output on behalf of a group: what ``quorumlog consume --group`` does.

A batch of records counts as processed when it has been written *and* flushed: whoever reads the other end of the
pipe has it then, as far as this program can know. A reader that goes away (``| head``) leaves the batch in hand
uncommitted, so that it comes again.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from quorumlog.client.consumer_events import (
    AcquireWaiting,
    BoundBroken,
    CommitUnconfirmed,
    MembershipLost,
    MembershipSilent,
    PartitionAcquired,
    PartitionLost,
    PartitionRevoked,
)
from quorumlog.client.errors import PositionMoved, RetentionGap
from quorumlog.cluster.output import error_console

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from quorumlog.client.consumer import Consumer
    from quorumlog.client.consumer_events import Event
    from quorumlog.client.consumer_record import ConsumerRecord


async def consume_as_group(
    consumer: Consumer,
    encode: Callable[[list[ConsumerRecord]], bytes],
    max_records: int | None,
    *,
    one_by_one: bool,
) -> None:
    """Writes records until the consumer ends, is told to by SIGTERM or SIGINT, or has written so many.

    ``one_by_one``: each record is written, flushed and finished by itself. Raises what ends a consumer.
    """
    left = max_records
    consumer.install_signal_handlers()
    async with consumer:
        async for records in _over_gaps(consumer, one_by_one):
            written = records if left is None else records[:left]
            # A pipe may be full for long: signs of life must leave meanwhile.
            await asyncio.to_thread(_write, encode(written))
            if left is not None:
                left -= len(written)
                if left == 0:
                    # What else is in hand was not written, and is not finished.
                    for record in written:
                        consumer.done(record)
                    return


async def _over_gaps(consumer: Consumer, one_by_one: bool) -> AsyncIterator[list[ConsumerRecord]]:
    """All records; a gap that retention or a reset left is told on stderr, and reading goes on behind it."""
    while True:
        try:
            if one_by_one:
                async for record in consumer:
                    yield [record]
            else:
                async for records in consumer.batches():
                    yield records
        except (RetentionGap, PositionMoved) as gap:
            _warn(gap.message)
        else:
            return


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def tell_event(event: Event) -> None:
    """On stderr: trouble always, the normal course only to a person at a terminal."""
    match event:
        case PartitionLost(partition, error, exposed):
            _warn(f"{partition} is lost ({error.message}); {exposed} records may be processed twice")
        case AcquireWaiting(partition, error):
            _warn(f"{partition} cannot be acquired yet: {error.message}")
        case BoundBroken(partition, records, age_ms, _, error):
            why = f": {error.message}" if error is not None else ""
            _warn(f"{partition}: {records} records processed {age_ms / 1000:.1f} s ago are not committed{why}")
        case CommitUnconfirmed(partition, unconfirmed):
            _warn(f"{partition}: {unconfirmed.error.message}")
        case MembershipLost(group, error):
            _warn(f"{group}: this member was given up ({error.message}); it joins again")
        case MembershipSilent(group):
            _warn(f"{group}: no answer from the coordinator; nothing is handed out until there is one")
        case PartitionAcquired(partition, acquired) if error_console.is_terminal:
            _note(f"{partition}: begins at {acquired.start_offset} ({acquired.explanation})")
        case PartitionRevoked(partition, _, exposed) if error_console.is_terminal:
            _note(f"{partition}: given back{f', {exposed} records may be processed twice' if exposed else ''}")


def _warn(line: str) -> None:
    error_console.print(f"quorumlog: {line}", style="yellow", soft_wrap=True, markup=False)


def _note(line: str) -> None:
    error_console.print(f"quorumlog: {line}", style="dim", soft_wrap=True, markup=False)
