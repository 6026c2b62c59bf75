"""Commits: the call of which there are the most, on its way in and out.

All commits of a call are given to the node in one go, so that they join one round and, partition by partition, one
Raft entry. Consumers send thousands a second in calls of hundreds, so everything here is counted in tenths of a
microsecond: plain loops, messages filled in place (one that is made and then copied into its parent costs three
times as much), one future a call.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import Histogram

from quorumlog.machine.offset_commands import CommitItem, Fingerprint
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.server.answers import Answers
from quorumlog.server.latency import latency
from quorumlog.server.offset_messages import invalid
from quorumlog.v1 import offsets_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.replica.node import Node
    from quorumlog.replica.offset_api import CommittedOffset
    from quorumlog.server.calls import Context, Shell

#: A Raft entry with commits: topic, partition, version.
Entry = tuple[str, int, int]

#: Entries that are counted before they are settled, if nobody asks for metrics.
_OPEN_ENTRIES = 4_096
_BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class CommitMeter:
    """What ``metrics`` says about commits."""

    def __init__(self) -> None:
        self.seconds = latency("commit", "From the arrival of a call's commits to the answer to the last of them")
        self.per_call = Histogram(
            "quorumlog_commits_per_call", "Commits that came in one call", buckets=_BATCH_BOUNDS, registry=None
        )
        self.per_entry = Histogram(
            "quorumlog_commits_per_entry",
            "Commits of all callers that shared one Raft entry",
            buckets=_BATCH_BOUNDS,
            registry=None,
        )
        self.committed = 0
        self.duplicates = 0
        self.failed: dict[Reason, int] = {}
        self._open: dict[Entry, int] = {}
        self._settling: dict[Entry, int] = {}

    def count(self, entry: Entry, commits: int) -> None:
        """So many commits of one call were in ``entry``; other calls may yet tell of more."""
        counts = self._settling if entry in self._settling else self._open
        counts[entry] = counts.get(entry, 0) + commits
        if len(self._open) > _OPEN_ENTRIES:
            self.settle()

    def settle(self) -> None:
        """Observes what was first told of before the last time: an entry is whole once all its calls are answered,
        and those that share one are answered within moments of each other."""
        for commits in self._settling.values():
            self.per_entry.observe(commits)
        self._settling, self._open = self._open, {}

    def by_result(self) -> dict[str, int]:
        """How many commits ended how."""
        counts = {"committed": self.committed, "duplicate": self.duplicates}
        for reason, count in sorted(self.failed.items()):
            counts[reason.name.lower()] = count
        return counts


async def serve_commits(
    shell: Shell, request: pb.CommitRequest, context: Context, meter: CommitMeter
) -> pb.CommitResponse:
    """The whole life of one Commit call."""
    began = time.perf_counter()
    commits = request.commits
    await shell.bound(context, len(commits))
    timeout_ms = shell.timeout_ms(context, request.timeout_ms)
    answers: Answers[CommittedOffset] = Answers(len(commits))
    items = _items(commits, answers)

    def give(node: Node) -> None:
        commit = node.offsets.commit
        taker = answers.taker
        for place, topic, partition, item in items:
            commit(topic, partition, item, timeout_ms, taker(place))

    shell.node_loop.input(give)
    # An item that is late has been given to the node and may yet be committed.
    results = await answers.all(shell.last_word(context), Outcome.UNKNOWN)
    response = _response(shell, commits, results, meter)
    meter.per_call.observe(len(results))
    meter.seconds.observe(time.perf_counter() - began)
    return response


def _items(
    commits: Sequence[pb.Commit], answers: Answers[CommittedOffset]
) -> list[tuple[int, str, int, CommitItem]]:
    """What to give to the node: (place, topic, partition, item).

    A second commit of one (group, partition) is refused: nobody could say which of the two a caller meant to last.
    """
    items = []
    seen = set()
    for place, commit in enumerate(commits):
        group, topic, partition = key = (commit.group, commit.topic, commit.partition)
        if key in seen:
            answers.take(place, invalid("commits", f"a second commit of group {group!r} in {topic}/{partition}"))
        else:
            seen.add(key)
            fingerprint = None
            if commit.HasField("fingerprint"):
                told = commit.fingerprint
                fingerprint = Fingerprint(told.term, told.crc32c)
            item = CommitItem(
                group,
                commit.offset,
                commit.owner_epoch,
                commit.session,
                commit.sequence,
                fingerprint,
                commit.metadata,
            )
            items.append((place, topic, partition, item))
    return items


def _response(
    shell: Shell, commits: Sequence[pb.Commit], results: list[CommittedOffset | Failure], meter: CommitMeter
) -> pb.CommitResponse:
    response = pb.CommitResponse()
    add = response.results.add
    duplicates = failures = 0
    entries: dict[Entry, int] = {}
    for commit, result in zip(commits, results, strict=True):
        message = add()
        if isinstance(result, Failure):
            failures += 1
            meter.failed[result.reason] = meter.failed.get(result.reason, 0) + 1
            message.error.CopyFrom(shell.errors.message(result))
            continue
        offset, version, term, duplicate = result
        receipt = message.receipt
        receipt.group = commit.group
        receipt.topic = topic = commit.topic
        receipt.partition = partition = commit.partition
        receipt.offset = offset
        receipt.version = version
        receipt.term = term
        if duplicate:
            duplicates += 1
            message.duplicate = True
        else:
            entry = (topic, partition, version)
            entries[entry] = entries.get(entry, 0) + 1
    for entry, count in entries.items():
        meter.count(entry, count)
    meter.duplicates += duplicates
    meter.committed += len(results) - duplicates - failures
    return response
