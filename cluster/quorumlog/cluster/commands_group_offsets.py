"""``quorumlog group``: reset, history, verify, resolve: what is stored, what was, and whether it is right."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from quorumlog.client.errors import QuorumlogError
from quorumlog.client.offset_admin import OffsetAdmin
from quorumlog.client.offset_types import Fate, Finding, Restore, TopicPartition, ToVersion
from quorumlog.client.receipt import InvalidReceipt, Receipt, parse_receipt
from quorumlog.client.start import InvalidStart, Start, parse_start
from quorumlog.cluster import servers
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.failures import FOUND_SOMETHING, UNREACHABLE
from quorumlog.cluster.group_choice import (
    GroupArgument,
    PartitionOption,
    TopicOption,
    chosen_partitions,
    end_with,
    narrowed,
    split,
    tell_failures,
)
from quorumlog.cluster.output import Format, FormatOption, as_record, console, error_console, print_json, table
from quorumlog.cluster.servers import ProfileOption, ServerOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from quorumlog.client.offset_types import Change, ResetOffset, Resolution, StoredOffset
    from quorumlog.client.verification import PartitionFindings


def reset(
    group: GroupArgument,
    topic: TopicOption = None,
    partition: PartitionOption = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC", help="earliest, latest, offset:N, begin+K, end-K, time:T, age:D.", show_default=False
        ),
    ] = None,
    to_version: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="The offset stored at this version (see history).", show_default=False
        ),
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="The expired offset, while its tombstone lasts.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; it stands in the history.", show_default=False)] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also under an owner, which is fenced by it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Move a group's offsets, forward or back: in the topics given, or wherever it has offsets.

    What would be done is found out and shown first; then it is done only where nothing has changed meanwhile.
    """
    target = _target(to, to_version, restore)
    if not reason.strip() and not dry_run:
        raise typer.BadParameter("say why: --reason TEXT")
    why = reason.strip() or "dry run"
    addresses = servers.resolve(server, profile)
    asking = not (yes or dry_run)

    async def change() -> dict[TopicPartition, QuorumlogError]:
        async with OffsetAdmin(addresses) as offsets:
            chosen, failed = await chosen_partitions(offsets, group, topic, partition)
            planned, refused = split(
                await offsets.reset(group, chosen, target, reason=why, force=force, dry_run=True)
            )
            failed |= refused
            done = planned
            if asking and planned:
                error_console.print(_reset_table(planned))
                tell_failures(failed)
                typer.confirm(f"Reset {group} in {len(planned)} of {len(chosen)} partitions?", abort=True, err=True)
            if not dry_run:
                # 0 would mean "whatever it is": where nothing was stored there is no version to hold it to.
                expected = {where: each.before.version for where, each in planned.items() if each.before}
                done, refused = split(
                    await offsets.reset(
                        group, list(planned), target, reason=why, expected_versions=expected, force=force
                    )
                )
                failed |= refused
            _print_reset(done, dry_run, output)
            return failed

    end_with(run(change()))


def history(
    group: GroupArgument,
    topic: Annotated[str, typer.Option("--topic", help="In which topic.", show_default=False)],
    partition: Annotated[int, typer.Option("--partition", min=0, help="In which partition.")] = 0,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show what happened to a group's offset in one partition: commits, owners, resets, with who, when and why."""

    async def ask(addresses: list[str]) -> tuple[tuple[Change, ...], int]:
        async with OffsetAdmin(addresses) as offsets:
            told = await offsets.history(group, TopicPartition(topic, partition))
            return told.changes, told.forgotten_version

    changes, forgotten = run(ask(servers.resolve(server, profile)))
    if output is Format.JSON:
        print_json({"changes": [as_record(each) for each in changes], "forgotten_version": forgotten})
        return
    if forgotten:
        console.print(f"(commits up to version {forgotten} are no longer remembered)", style="dim")
    numbers = ("version", "offset", "epoch", "node")
    # "right" also keeps a column from being wrapped, which a time must not be.
    shown = table("when", "what", *numbers, "who", "why", right=("when", *numbers))
    for each in changes:
        shown.add_row(
            moment(each.wall_ms),
            str(each.kind),
            str(each.version),
            "none" if each.offset is None else f"{each.offset:,}",
            str(each.owner_epoch),
            str(each.node_id),
            each.owner or "–",
            each.reason or "–",
        )
    console.print(shown)


def verify(
    topic: TopicOption = None,
    partition: PartitionOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Show the groups that are in order too.")] = False,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Compare the offsets of all replicas with each other and with their logs.

    Exits with 4 when anything is wrong, with 3 when nothing was found wrong but not every replica could be asked.
    """

    async def ask(addresses: list[str]) -> list[PartitionFindings]:
        async with OffsetAdmin(addresses) as offsets:
            return await offsets.verify(narrowed(await offsets.partitions(topic or ()), topic, partition))

    findings = run(ask(servers.resolve(server, profile)))
    if output is Format.JSON:
        print_json([_findings_record(each) for each in findings])
    else:
        _show_findings(findings, everything)
    if any(each.wrong for each in findings):
        raise typer.Exit(FOUND_SOMETHING)
    if not all(each.complete for each in findings):
        raise typer.Exit(UNREACHABLE)


def resolve(
    receipt: Annotated[
        str,
        typer.Argument(metavar="RECEIPT", help="GROUP/TOPIC/PARTITION@VERSION:TERM:OFFSET", show_default=False),
    ],
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Say what became of a commit: present, superseded, or (exit code 4: a receipt promises otherwise) never
    happened."""
    try:
        known = parse_receipt(receipt)
    except InvalidReceipt as error:
        raise typer.BadParameter(str(error)) from None

    async def ask(addresses: list[str]) -> Resolution:
        async with OffsetAdmin(addresses) as offsets:
            return await offsets.resolve(known)

    resolution = run(ask(servers.resolve(server, profile)))
    if output is Format.JSON:
        print_json(as_record(resolution))
    else:
        console.print(_fate_line(known, resolution), soft_wrap=True, markup=False)
    if resolution.fate is Fate.NEVER_HAPPENED:
        raise typer.Exit(FOUND_SOMETHING)


def moment(wall_ms: int) -> str:
    """A time for people, in their own zone, to the second."""
    return f"{datetime.fromtimestamp(wall_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def _target(to: str | None, to_version: int | None, restore: bool) -> Start | ToVersion | Restore:
    if (to is not None) + (to_version is not None) + restore != 1:
        raise typer.BadParameter("say where to: one of --to SPEC, --to-version N, --restore")
    if to_version is not None:
        return ToVersion(to_version)
    if to is None:
        return Restore()
    try:
        return parse_start(to)
    except InvalidStart as error:
        raise typer.BadParameter(str(error)) from None


def _print_reset(done: Mapping[TopicPartition, ResetOffset], dry_run: bool, output: Format) -> None:
    if output is Format.JSON:
        print_json([{**where._asdict(), **as_record(each), "dry_run": dry_run} for where, each in done.items()])
    elif done:
        console.print(_reset_table(done))
        console.print("Nothing has been changed: this was a dry run." if dry_run else "Done.")


def _reset_table(resets: Mapping[TopicPartition, ResetOffset]) -> Table:
    numbers = ("before", "after", "moves", "log start", "log end")
    shown = table("partition", *numbers, right=numbers)
    for where, each in resets.items():
        after = each.stored.offset
        before = "none" if each.before is None else f"{each.before.offset:,}"
        moves = "–" if each.before is None else f"{after - each.before.offset:+,}"
        shown.add_row(str(where), before, f"{after:,}", moves, f"{each.log_start:,}", f"{each.log_end:,}")
    return shown


def _fate_line(receipt: Receipt, resolution: Resolution) -> str:
    stored = resolution.stored
    now = "nothing is stored now" if stored is None else f"stored now: {_stored(stored)}"
    return f"{receipt}: {str(resolution.fate).replace('-', ' ')}; {now}"


def _stored(stored: StoredOffset) -> str:
    return f"{stored.offset} of version {stored.version}, set {moment(stored.wall_ms)}"


def _findings_record(findings: PartitionFindings) -> dict[str, object]:
    record: dict[str, object] = as_record(findings)
    groups = zip(findings.groups, record["groups"], strict=True)  # type: ignore[call-overload]
    record["groups"] = [{**shown, "wrong": group.wrong} for group, shown in groups]
    return {**record, "wrong": findings.wrong, "complete": findings.complete}


def _show_findings(findings: Sequence[PartitionFindings], everything: bool) -> None:
    shown = table("partition", "group", "finding", "why")
    checked = 0
    for each in findings:
        for found in each.groups:
            checked += 1
            if everything or found.finding is not Finding.OK:
                style = "bold red" if found.wrong else "green" if found.finding is Finding.OK else "yellow"
                where = f"{each.topic}/{each.partition}"
                shown.add_row(
                    where, found.group or "(all)", Text(str(found.finding), style=style), found.explanation
                )
    if shown.row_count:
        console.print(shown)
    wrong = sum(found.wrong for each in findings for found in each.groups)
    compared = sum(each.complete for each in findings)
    verdict = f"[bold red]{wrong} wrong[/]" if wrong else "[bold green]nothing wrong[/]"
    console.print(
        f"{checked:,} offsets in {len(findings):,} partitions, {compared:,} of them compared on every replica: "
        f"{verdict}",
        soft_wrap=True,
    )
    for each in findings:
        for node_id, why in each.missing.items():
            who = f"node {node_id}" if node_id else "its leader"
            line = f"quorumlog: {each.topic}/{each.partition}: {who} was not compared: {why}"
            error_console.print(line, style="yellow", soft_wrap=True, markup=False)
