"""``quorumlog group``: list, describe, lag, mark, delete; the commands about stored offsets stand in
``commands_group_offsets``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from quorumlog.client.errors import QuorumlogError, Reason
from quorumlog.client.group_admin import GroupAdmin
from quorumlog.client.offset_types import Verdict
from quorumlog.cluster import commands_group_offsets, servers
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.group_choice import (
    GroupArgument,
    PartitionOption,
    TopicOption,
    chosen_partitions,
    end_with,
    lags_of,
    split,
    tell_failures,
)
from quorumlog.cluster.output import Format, FormatOption, as_record, console, duration, print_json, size, table
from quorumlog.cluster.quantities import parse_size, parse_span_ms
from quorumlog.cluster.servers import ProfileOption, ServerOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from quorumlog.client.offset_types import DescribedGroup, GroupLag, ListedGroup, TopicPartition

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Consumer groups: who holds what, lag, reset, verify."
)

FOLLOW_EVERY_MS = 2000
VERDICT_STYLES = {
    Verdict.OK: "green",
    Verdict.CATCHING_UP: "yellow",
    Verdict.FALLING_BEHIND: "bold red",
    Verdict.STALLED: "bold red",
    Verdict.STOPPED: "red",
    Verdict.UNKNOWN: "dim",
}


@app.command("list")
def list_groups(
    server: ServerOption = None, profile: ProfileOption = None, output: FormatOption = Format.TEXT
) -> None:
    """List all groups: those with members, and those that only have offsets."""

    async def ask(addresses: list[str]) -> list[ListedGroup]:
        async with GroupAdmin(addresses) as admin:
            return await admin.list()

    groups = run(ask(servers.resolve(server, profile)))
    if output is Format.JSON:
        print_json([as_record(group) for group in groups])
        return
    if not groups:
        console.print("No groups. Make one by consuming: quorumlog consume TOPIC --group NAME")
        return
    shown = table("group", "state", "members", "generation", "offsets in", right=("members", "generation"))
    for group in groups:
        numbers = (str(group.members), str(group.generation)) if group.state else ("–", "–")
        shown.add_row(group.group, group.state.lower() or "no members", *numbers, ", ".join(group.topics) or "–")
    console.print(shown)


@app.command()
def describe(
    group: GroupArgument,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show a group's members, what each holds, and its offsets in every partition."""

    async def ask(
        addresses: list[str],
    ) -> tuple[DescribedGroup | None, list[GroupLag], dict[TopicPartition, QuorumlogError]]:
        async with GroupAdmin(addresses) as admin:
            try:
                described = await admin.describe(group)
            except QuorumlogError as error:
                if error.reason is not Reason.UNKNOWN_GROUP:
                    raise
                described = None
            try:
                return described, *await lags_of(admin.offsets, [group], None, None)
            except QuorumlogError as error:
                if error.reason is not Reason.UNKNOWN_GROUP or described is None:
                    raise
                return described, [], {}

    described, lags, failed = run(ask(servers.resolve(server, profile)))
    if output is Format.JSON:
        print_json(
            {"group": group, "coordinated": as_record(described), "offsets": [as_record(lag) for lag in lags]}
        )
    else:
        _show_described(group, described)
        if lags:
            console.print(_lag_table(lags))
    end_with(failed)


@app.command()
def lag(
    group: Annotated[
        list[str] | None, typer.Argument(metavar="GROUP", help="All groups if none.", show_default=False)
    ] = None,
    topic: TopicOption = None,
    partition: PartitionOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Again and again, until Ctrl-C.")] = False,
    every: Annotated[
        int | None,
        typer.Option(parser=parse_span_ms, metavar="SPAN", help="How often with --follow; 2s.", show_default=False),
    ] = None,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show how far groups are behind, in records, bytes and time; also those whose consumers are stopped."""
    addresses = servers.resolve(server, profile)

    async def once(admin: GroupAdmin) -> tuple[list[GroupLag], dict[TopicPartition, QuorumlogError]]:
        return await lags_of(admin.offsets, group or (), topic, partition)

    async def ask() -> tuple[list[GroupLag], dict[TopicPartition, QuorumlogError]]:
        async with GroupAdmin(addresses) as admin:
            return await once(admin)

    async def watch() -> None:
        live = console.is_terminal and output is Format.TEXT
        async with GroupAdmin(addresses) as admin:
            with Live(console=console, auto_refresh=False) as view:
                while True:
                    lags, failed = await once(admin)
                    if live:
                        failures = (
                            Text(f"{where}: {error.message}", style="red") for where, error in failed.items()
                        )
                        view.update(Group(_lag_table(lags), *failures), refresh=True)
                    else:
                        _print_lags(lags, output)
                        tell_failures(failed)
                    await asyncio.sleep((every or FOLLOW_EVERY_MS) / 1000)

    if follow:
        try:
            run(watch())
        except KeyboardInterrupt:
            return
    lags, failed = run(ask())
    _print_lags(lags, output)
    end_with(failed)


@app.command()
def mark(
    group: GroupArgument,
    topic: TopicOption = None,
    partition: PartitionOption = None,
    critical: Annotated[
        bool, typer.Option("--critical/--no-critical", help="Its offsets never expire.", show_default=False)
    ] = True,
    hold: Annotated[
        int | None,
        typer.Option(
            parser=parse_size,
            metavar="SIZE",
            help="Retention keeps up to this much that the group has not processed.",
            show_default=False,
        ),
    ] = None,
    server: ServerOption = None,
    profile: ProfileOption = None,
) -> None:
    """Treat a group as critical, or no longer, in the topics given or wherever it has offsets."""

    async def change(addresses: list[str]) -> tuple[int, dict[TopicPartition, QuorumlogError]]:
        async with GroupAdmin(addresses) as admin:
            chosen, failed = await chosen_partitions(admin.offsets, group, topic, partition)
            done, refused = split(await admin.offsets.mark(group, chosen, critical=critical, hold_bytes=hold or 0))
            return len(done), failed | refused

    marked, failed = run(change(servers.resolve(server, profile)))
    held = f", holding up to {size(hold)} back" if hold else ""
    console.print(f"{group}: {'critical' if critical else 'not critical'}{held} in {_partitions(marked)}")
    end_with(failed)


@app.command()
def delete(
    group: GroupArgument,
    force: Annotated[bool, typer.Option("--force", help="Even where its offsets have an owner.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: ServerOption = None,
    profile: ProfileOption = None,
) -> None:
    """Remove a group that has no members, and its offsets and their history, for good."""
    addresses = servers.resolve(server, profile)
    if not yes:
        typer.confirm(f"Delete group {group} and all its offsets?", abort=True)

    async def remove() -> int:
        async with GroupAdmin(addresses) as admin:
            return await admin.delete(group, force=force)

    console.print(f"{group}: deleted; it had offsets in {_partitions(run(remove()))}")


for command in (
    commands_group_offsets.reset,
    commands_group_offsets.history,
    commands_group_offsets.verify,
    commands_group_offsets.resolve,
):
    app.command()(command)


def _print_lags(lags: Sequence[GroupLag], output: Format) -> None:
    if output is Format.JSON:
        print_json([as_record(each) for each in lags])
    elif lags:
        console.print(_lag_table(lags))
    else:
        console.print("No group has offsets.")


def _lag_table(lags: Sequence[GroupLag]) -> Table:
    numbers = ("committed", "end", "records", "bytes", "age")
    shown = table("group", "partition", *numbers, "verdict", "owner", right=numbers)
    for each in lags:
        shown.add_row(
            each.group,
            f"{each.topic}/{each.partition}",
            "none" if each.committed is None else f"{each.committed:,}",
            f"{each.log_end:,}",
            f"{each.records:,}",
            size(each.bytes),
            duration(each.age_ms / 1000) if each.records else "–",
            Text(str(each.verdict), style=VERDICT_STYLES[each.verdict]),
            each.owner or "–",
        )
    return shown


def _show_described(group: str, described: DescribedGroup | None) -> None:
    if described is None:
        console.print(f"{group}: no members; its consumers name their partitions themselves, or are gone\n")
        return
    at = f"node {described.coordinator_node}, partition {described.coordinator_partition}"
    console.print(
        f"{group}: {described.state.lower()}, generation {described.generation}, {described.strategy} assignment, "
        f"coordinated by {at}\n",
        soft_wrap=True,
    )
    if not described.members:
        return
    shown = table("member", "client", "holds", "is to hold", "silent", right=("silent",))
    for each in described.members:
        name = f"{each.instance} ({each.member})" if each.instance else each.member
        owned, target = (" ".join(map(str, held)) or "–" for held in (each.owned, each.target))
        moving = "–" if each.owned == each.target else target
        shown.add_row(name, each.client or "–", owned, moving, duration(each.silent_ms / 1000))
    console.print(shown)
    console.print()


def _partitions(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"
