"""What the ``group`` commands share: which partitions are meant, and how a call over several of them ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from quorumlog.client.errors import QuorumlogError, Reason, UnknownGroup
from quorumlog.client.offset_types import TopicPartition
from quorumlog.cluster.failures import CommandFailed, explain
from quorumlog.cluster.output import error_console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quorumlog.client.offset_admin import OffsetAdmin
    from quorumlog.client.offset_types import GroupLag

Answer = TypeVar("Answer")

GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="The group's id.", show_default=False)]
TopicOption = Annotated[
    list[str] | None, typer.Option("--topic", help="Only in this topic; repeatable.", show_default=False)
]
PartitionOption = Annotated[
    list[int] | None,
    typer.Option(
        "--partition", min=0, help="Only this partition of the one --topic; repeatable.", show_default=False
    ),
]


async def chosen_partitions(
    offsets: OffsetAdmin, group: str, topics: Sequence[str] | None, numbers: Sequence[int] | None
) -> tuple[list[TopicPartition], dict[TopicPartition, QuorumlogError]]:
    """All partitions of the topics named, or wherever the group has anything; and where that is not known.

    Raises UnknownGroup when no topic is named and the group has nothing anywhere.
    """
    if topics or numbers:
        return narrowed(await offsets.partitions(topics or ()), topics, numbers), {}
    lags, failed = await lags_of(offsets, [group], None, None)
    return [TopicPartition(each.topic, each.partition) for each in lags], failed


def narrowed(
    partitions: Sequence[TopicPartition], topics: Sequence[str] | None, numbers: Sequence[int] | None
) -> list[TopicPartition]:
    """Those of the partitions that were asked for. Raises BadParameter, and CommandFailed when a number is none."""
    if not numbers:
        return list(partitions)
    if topics is None or len(topics) != 1:
        raise typer.BadParameter("--partition needs exactly one --topic")
    chosen = [partition for partition in partitions if partition.partition in numbers]
    known = {partition.partition for partition in chosen}
    for number in numbers:
        if number not in known:
            raise CommandFailed(f"{topics[0]} has {len(partitions)} partitions; {number} is none of them")
    return chosen


async def lags_of(
    offsets: OffsetAdmin, groups: Sequence[str], topics: Sequence[str] | None, numbers: Sequence[int] | None
) -> tuple[list[GroupLag], dict[TopicPartition, QuorumlogError]]:
    """The lags asked for, by group, topic and partition; and the partitions that could not be asked.

    Raises UnknownGroup for a group named that has nothing in any partition, if all of them answered.
    """
    partitions = narrowed(await offsets.partitions(topics or ()), topics, numbers)
    answers, failed = split(await offsets.lag(groups, partitions))
    # A group that has nothing in a partition may be told by its absence or by this refusal.
    failed = {where: error for where, error in failed.items() if error.reason is not Reason.UNKNOWN_GROUP}
    lags = [each for answer in answers.values() for each in answer]
    lags.sort(key=lambda each: (each.group, each.topic, each.partition))
    missing = sorted(set(groups) - {each.group for each in lags})
    if missing and not failed:
        place = f" in {', '.join(topics)}" if topics else ""
        raise UnknownGroup(f"no group {missing[0]!r} has anything{place}", fields={"group": missing[0]})
    return lags, failed


def split(
    answers: Mapping[TopicPartition, Answer | QuorumlogError],
) -> tuple[dict[TopicPartition, Answer], dict[TopicPartition, QuorumlogError]]:
    """What was answered, and what failed."""
    failed = {where: each for where, each in answers.items() if isinstance(each, QuorumlogError)}
    return {where: each for where, each in answers.items() if not isinstance(each, QuorumlogError)}, failed


def tell_failures(failed: Mapping[TopicPartition, QuorumlogError]) -> None:
    """One line for each partition, on stderr."""
    for where, error in failed.items():
        explained = explain(error)
        assert explained is not None
        error_console.print(f"quorumlog: {where}: {explained.message}", style="red", soft_wrap=True, markup=False)


def end_with(failed: Mapping[TopicPartition, QuorumlogError]) -> None:
    """Tells the failures and ends the program as the gravest of them deserves: a refusal before no quorum, because
    it will not go away by itself. Returns when there is none."""
    if failed:
        tell_failures(failed)
        _exit(min(explained.exit_code for error in failed.values() if (explained := explain(error))))


def _exit(code: int) -> NoReturn:
    raise typer.Exit(code)
