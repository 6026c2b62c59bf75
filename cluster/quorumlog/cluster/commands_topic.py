"""``quorumlog topic``: create, list, describe, alter, delete."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from quorumlog.client import Admin
from quorumlog.cluster import servers
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.output import Format, FormatOption, console, duration, print_json, size, table
from quorumlog.cluster.quantities import parse_size, parse_span_ms
from quorumlog.cluster.servers import ProfileOption, ServerOption

if TYPE_CHECKING:
    from quorumlog.client.types import Offsets, Topic

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Make, list, describe, alter and delete topics.")

NameArgument = Annotated[str, typer.Argument(metavar="TOPIC", help="The topic's name.", show_default=False)]
RetentionOption = Annotated[
    int | None,
    typer.Option(
        parser=parse_span_ms,
        metavar="SPAN",
        help="Drop records older than this, like 7d; 0: never.",
        show_default=False,
    ),
]
RetentionBytesOption = Annotated[
    int | None,
    typer.Option(
        parser=parse_size,
        metavar="SIZE",
        help="Keep about this much per partition, like 10GiB; 0: all.",
        show_default=False,
    ),
]
SegmentBytesOption = Annotated[
    int | None,
    typer.Option(parser=parse_size, metavar="SIZE", help="Seal a segment at this size.", show_default=False),
]
MaxBatchBytesOption = Annotated[
    int | None,
    typer.Option(parser=parse_size, metavar="SIZE", help="Refuse larger batches.", show_default=False),
]


@app.command()
def create(
    name: NameArgument,
    partitions: Annotated[int, typer.Option(min=1, max=10_000, help="How many partitions.")] = 1,
    replication_factor: Annotated[
        int, typer.Option(min=0, help="Replicas of each; 0: 3, or as many as there are nodes if fewer.")
    ] = 0,
    retention: RetentionOption = None,
    retention_bytes: RetentionBytesOption = None,
    segment_bytes: SegmentBytesOption = None,
    max_batch_bytes: MaxBatchBytesOption = None,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Make a topic and wait until its partitions have leaders. Making it again with the same settings is fine."""

    async def make(addresses: list[str]) -> tuple[Topic, bool]:
        async with Admin(addresses) as admin:
            return await admin.create_topic(
                name,
                partitions=partitions,
                replication_factor=replication_factor,
                retention_ms=retention or 0,
                retention_bytes=retention_bytes or 0,
                segment_bytes=segment_bytes or 0,
                max_batch_bytes=max_batch_bytes or 0,
            )

    topic, made = run(make(servers.resolve(server, profile)))
    if output is Format.JSON:
        print_json({"created": made, **asdict(topic)})
    else:
        there = "" if made else "was there already: "
        shape = f"{_count(len(topic.partitions), 'partition')}, {_count(_replicas(topic), 'replica')} each"
        console.print(f"{topic.name}: {there}{shape}")


@app.command("list")
def list_topics(
    server: ServerOption = None, profile: ProfileOption = None, output: FormatOption = Format.TEXT
) -> None:
    """List all topics."""

    async def ask(addresses: list[str]) -> list[Topic]:
        async with Admin(addresses) as admin:
            return await admin.list_topics()

    topics = run(ask(servers.resolve(server, profile)))
    if output is Format.JSON:
        print_json([asdict(topic) for topic in topics])
        return
    if not topics:
        console.print("No topics. Make one: quorumlog topic create NAME --partitions 4")
        return
    shown = table("topic", "partitions", "replicas", "retention", right=("partitions", "replicas"))
    for topic in topics:
        shown.add_row(topic.name, str(len(topic.partitions)), str(_replicas(topic)), _retention(topic))
    console.print(shown)


@app.command()
def describe(
    name: NameArgument,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show a topic's settings, and each partition's leader, replicas and offsets."""

    async def ask(addresses: list[str]) -> tuple[Topic, dict[int, Offsets]]:
        async with Admin(addresses) as admin:
            return await admin.describe_topic(name), await admin.list_offsets(name)

    topic, offsets = run(ask(servers.resolve(server, profile)))
    if output is Format.JSON:
        record = asdict(topic)
        for partition in record["partitions"]:
            found = offsets[partition["partition"]]
            partition |= {"start_offset": found.start_offset, "end_offset": found.end_offset}
        print_json(record)
        return
    console.print(f"{topic.name}  (id {topic.topic_id}), retention {_retention(topic)}\n")
    shown = table("partition", "leader", "replicas", "start", "end", right=("partition", "leader", "start", "end"))
    for each in topic.partitions:
        found = offsets[each.partition]
        leader = str(each.leader) if each.leader else "none"
        replicas = ", ".join(map(str, each.replicas))
        shown.add_row(str(each.partition), leader, replicas, f"{found.start_offset:,}", f"{found.end_offset:,}")
    console.print(shown)


@app.command()
def alter(
    name: NameArgument,
    retention: RetentionOption = None,
    retention_bytes: RetentionBytesOption = None,
    segment_bytes: SegmentBytesOption = None,
    max_batch_bytes: MaxBatchBytesOption = None,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Change a topic's retention, segment size or batch size."""
    changes = {
        "retention_ms": retention,
        "retention_bytes": retention_bytes,
        "segment_bytes": segment_bytes,
        "max_batch_bytes": max_batch_bytes,
    }
    given = {key: value for key, value in changes.items() if value is not None}
    if not given:
        raise typer.BadParameter("nothing to change: give a new --retention, --segment-bytes or other setting")

    async def change(addresses: list[str]) -> Topic:
        async with Admin(addresses) as admin:
            return await admin.alter_topic(name, **given)

    topic = run(change(servers.resolve(server, profile)))
    if output is Format.JSON:
        print_json(asdict(topic))
    else:
        console.print(f"{topic.name}: retention {_retention(topic)}")


@app.command()
def delete(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: ServerOption = None,
    profile: ProfileOption = None,
) -> None:
    """Remove a topic and its records for good."""
    addresses = servers.resolve(server, profile)
    if not yes:
        typer.confirm(f"Delete topic {name} and all its records?", abort=True)

    async def remove() -> None:
        async with Admin(addresses) as admin:
            await admin.delete_topic(name)

    run(remove())
    console.print(f"{name}: deleted")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _replicas(topic: Topic) -> int:
    return len(topic.partitions[0].replicas)


def _retention(topic: Topic) -> str:
    bounds = []
    if topic.config.retention_ms:
        bounds.append(duration(topic.config.retention_ms / 1000))
    if topic.config.retention_bytes:
        bounds.append(f"{size(topic.config.retention_bytes)} per partition")
    return " or ".join(bounds) or "for ever"
