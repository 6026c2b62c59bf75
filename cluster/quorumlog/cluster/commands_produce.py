"""``quorumlog produce``: the lines of a file or of standard input into a topic."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from quorumlog.client import Admin, Producer, QuorumlogError
from quorumlog.cluster import servers
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.feed import lines_of
from quorumlog.cluster.lines import from_json, from_text
from quorumlog.cluster.output import Format, error_console, size
from quorumlog.cluster.servers import ProfileOption, ServerOption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quorumlog.client import Delivery

app = typer.Typer(add_completion=False)

STANDARD_INPUT = Path("-")
#: Records whose acknowledgement is outstanding, at most: each is remembered so that a failure can be told.
MOST_UNDER_WAY = 50_000


class Compression(StrEnum):
    """How batches are compressed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    LZ4 = "lz4"


@dataclass(slots=True)
class Progressed:
    """How far it has come. Bytes are those of the lines, newlines included."""

    records: int = 0
    acknowledged: int = 0
    acknowledged_bytes: int = 0
    under_way: deque[tuple[Delivery, int]] = field(default_factory=deque)


@app.command(name="produce")
def produce(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", show_default=False)],
    file: Annotated[
        Path,
        typer.Argument(metavar="[FILE|-]", help="One record per line; - is standard input.", show_default=False),
    ] = STANDARD_INPUT,
    key_separator: Annotated[
        str, typer.Option(help="What stands before its first occurrence is the record's key.", show_default=False)
    ] = "",
    partition: Annotated[
        int | None, typer.Option(min=0, help="Write to this partition, whatever the key.", show_default=False)
    ] = None,
    compression: Annotated[Compression, typer.Option(help="How batches are compressed.")] = Compression.NONE,
    lines: Annotated[
        Format, typer.Option("--format", help="text: a line is a value; json: an object.")
    ] = Format.TEXT,
    server: ServerOption = None,
    profile: ProfileOption = None,
) -> None:
    """Write records, one per line; ends when every one of them is fsynced on a quorum."""
    addresses = servers.resolve(server, profile)
    separator = key_separator.encode()
    if separator and lines is Format.JSON:
        raise typer.BadParameter("--key-separator is for text; in json the key has a field of its own")
    descriptor = sys.stdin.fileno() if file == STANDARD_INPUT else os.open(file, os.O_RDONLY)
    parse = from_json if lines is Format.JSON else lambda line, _number: from_text(line, separator)
    done = Progressed()

    async def write(advance: Callable[[Progressed], None]) -> None:
        async with Admin(addresses) as admin:
            # A producer would wait for a cluster as long as for a delivery; a person wants to know sooner.
            await admin.describe_topic(topic)
        async with Producer(addresses, compression=compression.value) as producer:
            await producer.prepare(topic)
            async for batch in lines_of(descriptor):
                for text in batch:
                    done.records += 1
                    line = parse(text, done.records)
                    place = line.partition if partition is None else partition
                    delivery = await producer.send(
                        topic, line.value, line.key, line.timestamp_ms, line.headers, partition=place
                    )
                    done.under_way.append((delivery, len(text) + 1))
                await _collect(done, MOST_UNDER_WAY)
                advance(done)
            await _collect(done, 0)
            advance(done)

    begin = time.perf_counter()
    try:
        with _progress(descriptor) as advance:
            run(write(advance))
    finally:
        _take_stock(done)
        if done.records:
            _summarize(done, time.perf_counter() - begin)


async def _collect(done: Progressed, leave: int) -> None:
    """Takes note of acknowledgements; waits for the oldest while more than ``leave`` are outstanding.

    Raises the client's error for the first record that failed.
    """
    under_way = done.under_way
    while under_way and (len(under_way) > leave or under_way[0][0].done):
        delivery, line_bytes = under_way.popleft()
        await delivery
        done.acknowledged += 1
        done.acknowledged_bytes += line_bytes


def _take_stock(done: Progressed) -> None:
    """At the end, however it came about: counts what was acknowledged and not yet taken note of."""
    for delivery, line_bytes in done.under_way:
        if delivery.done:
            with suppress(QuorumlogError):
                _ = delivery.position
                done.acknowledged += 1
                done.acknowledged_bytes += line_bytes
    done.under_way.clear()


def _summarize(done: Progressed, seconds: float) -> None:
    error_console.print(
        f"{done.acknowledged:,} records acknowledged ({size(done.acknowledged_bytes)}) in {seconds:.1f} s: "
        f"{done.acknowledged / seconds:,.0f} records/s, {done.acknowledged_bytes / seconds / 1e6:.1f} MB/s"
    )
    if done.acknowledged < done.records:
        error_console.print(f"{done.records - done.acknowledged:,} more were read and not acknowledged")


@contextmanager
def _progress(descriptor: int) -> Iterator[Callable[[Progressed], None]]:
    """A bar on a terminal for a file whose size is known; a count for what has none; nothing in a script."""
    if not error_console.is_terminal or os.isatty(descriptor):
        yield lambda done: None
        return
    total = os.fstat(descriptor).st_size or None
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console, transient=True) as bar:
        task = bar.add_task("0 records", total=total)

        def advance(done: Progressed) -> None:
            bar.update(task, completed=done.acknowledged_bytes, description=f"{done.acknowledged:,} records")

        yield advance
