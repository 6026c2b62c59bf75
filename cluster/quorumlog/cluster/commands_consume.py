"""``quorumlog consume``: records of a topic to standard output, by itself or on behalf of a group."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from quorumlog.client import Admin, InvalidStart, Reader, RetentionGap, parse_start
from quorumlog.cluster import servers
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.lines import to_json, to_text
from quorumlog.cluster.output import Format, FormatOption, error_console
from quorumlog.cluster.quantities import parse_span_ms
from quorumlog.cluster.servers import ProfileOption, ServerOption

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from quorumlog.client import Record

app = typer.Typer(add_completion=False)


class Commit(StrEnum):
    """When offsets are committed."""

    AFTER_PROCESSING = "after_processing"
    MANUAL = "manual"
    EACH = "each"


class Fallback(StrEnum):
    """What to do when the stored offset cannot be resumed from."""

    FAIL = "fail"
    EARLIEST = "earliest"
    LATEST = "latest"


IN_GROUP = "With --group"
DEFAULT_COMMIT_INTERVAL_MS = 1000


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
    group: Annotated[
        str | None,
        typer.Option(
            help="Consume for this group: begin at its committed offsets, and commit.",
            rich_help_panel=IN_GROUP,
            show_default=False,
        ),
    ] = None,
    commit: Annotated[
        Commit,
        typer.Option(
            help="after_processing: soon after records have been written; each: every record before the next; "
            "manual: nothing.",
            rich_help_panel=IN_GROUP,
        ),
    ] = Commit.AFTER_PROCESSING,
    commit_interval: Annotated[
        int | None,
        typer.Option(
            parser=parse_span_ms,
            metavar="SPAN",
            help="What is written is committed within this time; 1s.",
            rich_help_panel=IN_GROUP,
            show_default=False,
        ),
    ] = None,
    force_start: Annotated[
        bool, typer.Option("--force-start", help="--start wins over a stored offset.", rich_help_panel=IN_GROUP)
    ] = False,
    on_out_of_range: Annotated[
        Fallback,
        typer.Option(help="The stored offset is not in the log (any more).", rich_help_panel=IN_GROUP),
    ] = Fallback.FAIL,
    on_truncated: Annotated[
        Fallback,
        typer.Option(help="The record before the stored offset is another one now.", rich_help_panel=IN_GROUP),
    ] = Fallback.FAIL,
    exclusive: Annotated[
        bool,
        typer.Option(
            "--exclusive",
            help="With --partition: let nobody take over while this one lives.",
            rich_help_panel=IN_GROUP,
        ),
    ] = False,
    instance: Annotated[
        str,
        typer.Option(
            help="A name that survives restarts: its partitions stay meanwhile.",
            rich_help_panel=IN_GROUP,
            show_default=False,
        ),
    ] = "",
    output: FormatOption = Format.TEXT,
    server: ServerOption = None,
    profile: ProfileOption = None,
) -> None:
    """Read records, by default from the first one to the end; order holds within each partition.

    With --group the group's committed offsets say where to begin (--start only where nothing is stored), and what
    has been written is committed. Partitions are shared with the group's other members, unless --partition names
    them. Ctrl-C and SIGTERM commit what has been written and leave.
    """
    addresses = servers.resolve(server, profile)
    separator = key_separator.encode()
    if group is None:
        _need_group(
            **{
                "--commit": commit is not Commit.AFTER_PROCESSING,
                "--commit-interval": commit_interval is not None,
                "--force-start": force_start,
                "--on-out-of-range": on_out_of_range is not Fallback.FAIL,
                "--on-truncated": on_truncated is not Fallback.FAIL,
                "--exclusive": exclusive,
                "--instance": bool(instance),
            }
        )
    settings: dict[str, Any] = {
        "partitions": partition or None,
        "start": start,
        "force_start": force_start,
        "on_out_of_range": on_out_of_range.value,
        "on_truncated": on_truncated.value,
        "exclusive": exclusive,
        "commit": commit.value,
        "commit_interval_ms": commit_interval or DEFAULT_COMMIT_INTERVAL_MS,
        "instance": instance,
        "stop_at_end": not follow,
    }

    def encode(records: Sequence[Record]) -> bytes:
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

    async def consume_in_group(group: str) -> None:
        from quorumlog.client.consumer import Consumer
        from quorumlog.cluster.group_consumption import consume_as_group, tell_event

        async with Admin(addresses) as admin:
            # A consumer would wait for a cluster for longer than a person does.
            await admin.describe_topic(topic)
        try:
            consumer = Consumer(addresses, topic, group=group, on_event=tell_event, **settings)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        await consume_as_group(consumer, encode, max_records, one_by_one=commit is Commit.EACH)

    try:
        run(read() if group is None else consume_in_group(group))
    except KeyboardInterrupt:
        if not follow:
            raise


def _need_group(**given: bool) -> None:
    """Raises BadParameter for an option that would be ignored silently without a group."""
    for option, there in given.items():
        if there:
            raise typer.BadParameter(f"{option} needs --group")


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
