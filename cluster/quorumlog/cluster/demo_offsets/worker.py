"""One consumer of the demonstration, as an application would write it: a loop over records, and the defaults.

It takes from the demonstration only what a stranger would be told, and keeps a journal. SIGTERM ends it in order.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from quorumlog.client.consumer import Consumer
from quorumlog.client.consumer_events import PartitionAcquired, PartitionLost, PartitionRevoked
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.demo_offsets.journal import JournalWriter
from quorumlog.cluster.failures import explain

if TYPE_CHECKING:
    from quorumlog.client.consumer_events import Event

#: How often the journal is brought up to date with what is durable: a kill in between finds it a little behind.
NOTE_EVERY_S = 0.01


async def work(
    servers: str,
    topic: str,
    group: str,
    session_timeout_ms: int,
    work_ms: float,
    journal: JournalWriter,
    instance: str,
) -> None:
    """Processes records until SIGTERM. Raises what ends a consumer."""

    def note(event: Event) -> None:
        match event:
            case PartitionAcquired(partition, acquired):
                journal.assigned(partition.partition, acquired.start_offset)
            case PartitionRevoked(partition, committed):
                (journal.released if committed else journal.lost)(partition.partition)
            case PartitionLost(partition):
                journal.lost(partition.partition)
            case _:
                print(event, flush=True)

    consumer = Consumer(
        servers, topic, group=group, session_timeout_ms=session_timeout_ms, instance=instance, on_event=note
    )
    consumer.install_signal_handlers()
    async with consumer:
        noting = asyncio.create_task(_note_durable(consumer, journal))
        async for record in consumer:
            if work_ms:
                await asyncio.sleep(work_ms / 1000)
            journal.processed(record.partition, record.offset, record.value or b"")
        noting.cancel()


async def _note_durable(consumer: Consumer, journal: JournalWriter) -> None:
    noted: dict[int, int] = {}
    while True:
        for receipt in [each.receipt for each in consumer.stats().partitions.values()]:
            if receipt is not None and noted.get(receipt.partition) != receipt.version:
                noted[receipt.partition] = receipt.version
                journal.durable(receipt.partition, receipt.offset, receipt.version)
        await asyncio.sleep(NOTE_EVERY_S)


def main() -> int:
    """Arguments: SERVERS TOPIC GROUP SESSION_TIMEOUT_MS WORK_MS JOURNAL INSTANCE ("": a dynamic member)."""
    servers, topic, group, session_timeout_ms, work_ms, path, instance = sys.argv[1:]
    with JournalWriter(Path(path)) as journal:
        try:
            run(work(servers, topic, group, int(session_timeout_ms), float(work_ms), journal, instance))
        except Exception as error:
            explained = explain(error)
            if explained is None:
                raise
            print(explained.message, flush=True)
            return explained.exit_code
        journal.ended()
    return 0


if __name__ == "__main__":
    sys.exit(main())
