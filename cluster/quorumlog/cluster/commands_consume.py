"""``quorumlog consume``: records of a topic to standard output."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from quorumlog.client import Admin, InvalidStart, Reader, RetentionGap, parse_start
from quorumlog.cluster import servers
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.lines import to_json, to_text
from quorumlog.cluster.output import Format, FormatOption, error_console
from quorumlog.cluster.servers import ProfileOption, ServerOption

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from quorumlog.client import Record

app = typer.Typer(add_completion=False)


def _checked_start(text: str) -> str:
    try:
        parse_start(text)
    except InvalidStart as error:
        raise typer.BadParameter(str(error)) from None
    return text


@app.command(name="consume")
def consume(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", show_default=False)],
    start: Annotated[
        str,
        typer.Option(
            callback=_checked_start,
            metavar="SPEC",
            help="Where to begin: earliest, latest, offset:N, begin+K, end-K, time:T (ISO 8601, ms), age:D (90s).",
        ),
    ] = "earliest",
    max_records: Annotated[
        int | None, typer.Option("--max", min=1, help="End after so many records.", show_default=False)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more at the end, until Ctrl-C.")] = False,
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="Only this partition; repeatable.", show_default=False)
    ] = None,
    key_separator: Annotated[
        str, typer.Option(help="Write keys before values, with this between.", show_default=False)
    ] = "",
    output: FormatOption = Format.TEXT,
    server: ServerOption = None,
    profile: ProfileOption = None,
) -> None:
    """Read records, by default from the first one to the end; order holds within each partition."""
    addresses = servers.resolve(server, profile)
    separator = key_separator.encode()

    def encode(records: list[Record]) -> bytes:
        if output is Format.JSON:
            return "".join([to_json(record) + "\n" for record in records]).encode()
        return b"".join([to_text(record, separator) for record in records])

    async def read() -> None:
        left = max_records
        out = sys.stdout.buffer
        async with Admin(addresses) as admin:
            # A reader would wait for a cluster for longer than a person does.
            await admin.describe_topic(topic)
            found = {} if follow else await admin.list_offsets(topic, start, partition or None)
            expected = sum(max(each.end_offset - each.offset, 0) for each in found.values())
        async with Reader(
            addresses, topic, partitions=partition or None, start=start, stop_at_end=not follow
        ) as reader:
            with _progress(expected) as advance:
                async for records in _batches_over_gaps(reader):
                    if left is not None:
                        del records[left:]
                        left -= len(records)
                    out.write(encode(records))
                    out.flush()
                    advance(len(records))
                    if left == 0:
                        return

    try:
        run(read())
    except KeyboardInterrupt:
        if not follow:
            raise


async def _batches_over_gaps(reader: Reader) -> AsyncIterator[list[Record]]:
    """All batches; a gap that retention left is told on stderr, and reading goes on behind it."""
    while True:
        try:
            async for records in reader.batches():
                yield records
        except RetentionGap as gap:
            error_console.print(f"quorumlog: {gap.message}", style="yellow", soft_wrap=True)
        else:
            return


@contextmanager
def _progress(expected: int) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal while the records go elsewhere; none when it is not known how many there are."""
    if not expected or not error_console.is_terminal or sys.stdout.isatty():
        yield lambda count: None
        return
    columns = (TextColumn("{task.completed:,} records"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console, transient=True) as bar:
        task = bar.add_task("read", total=expected)
        yield lambda count: bar.advance(task, count)
