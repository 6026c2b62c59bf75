"""Consumer groups as metrics: their lag, told by each partition's leader, for stopped consumers too; their members,
told by each group's coordinator.

A series for each (group, partition) is what an alert needs and what can flood a Prometheus server: ten thousand
groups may commit to one partition. So a node gives at most ``MAX_SERIES`` of them, the farthest behind first, and
says how many it left out; the count by verdict, which is always whole, has no group in its labels. The setting
``group_metrics`` turns the series off altogether.
"""

from __future__ import annotations

import asyncio
from heapq import nlargest
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from quorumlog.replica.failures import Failure, Outcome
from quorumlog.replica.offset_api import LagVerdict
from quorumlog.server.answers import ask_each

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quorumlog.replica.api import Done
    from quorumlog.replica.node import Node
    from quorumlog.replica.offset_api import GroupLag, ListedGroup
    from quorumlog.server.answers import Request
    from quorumlog.server.loop import NodeLoop

#: Groups in partitions that one node gives series of their own.
MAX_SERIES = 1_000
#: Partitions asked at once. A group costs the node some 35 µs; between two askings it does everything else.
_ASKED_AT_ONCE = 4
#: A question waits so long for a majority, and a scrape so long for all of them; a node that has no majority shows
#: that by other means than silence.
_TIMEOUT_MS = 500
_PATIENCE_SECONDS = 2.0
_STATES = ("EMPTY", "STABLE", "REBALANCING")

_LABELS = ("group", "topic", "partition")


class GroupMetrics:
    """Asks the node when somebody asks; keeps only what makes generations a count of rebalances."""

    def __init__(self, node_loop: NodeLoop, detailed: bool) -> None:
        self._node_loop = node_loop
        self._detailed = detailed
        self._generations: dict[str, int] = {}
        self._rebalances = 0

    async def collect(self) -> list[Metric]:
        """The groups whose offsets, or members, this node leads. What cannot be asked now is left out."""
        patience = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        (groups,) = await self._ask([_list])
        metrics = [] if isinstance(groups, Failure) else list(self._members(groups))
        led = self._node_loop.input(lambda node: node.offsets.led())
        lags: list[GroupLag] = []
        answered = 0
        for first in range(0, len(led), _ASKED_AT_ONCE):
            if asyncio.get_running_loop().time() >= patience:
                break
            for answer in await self._ask([_lag_of(*where) for where in led[first : first + _ASKED_AT_ONCE]]):
                if not isinstance(answer, Failure):
                    lags += answer
                    answered += 1
        metrics += lag_metrics(lags, self._detailed)
        metrics.append(
            GaugeMetricFamily(
                "quorumlog_lag_partitions_left_out",
                "Partitions led here whose groups could not be asked about in time",
                value=len(led) - answered,
            )
        )
        return metrics

    async def _ask(self, requests: Sequence[Request]) -> list[Any]:
        return await ask_each(self._node_loop, requests, 2 * _TIMEOUT_MS / 1000, Outcome.NOT_DONE)

    def _members(self, groups: tuple[ListedGroup, ...]) -> Iterator[Metric]:
        states = GaugeMetricFamily(
            "quorumlog_consumer_groups", "Groups coordinated here, by state", labels=["state"]
        )
        for state in _STATES:
            states.add_metric([state], sum(group.state == state for group in groups))
        yield states
        yield GaugeMetricFamily(
            "quorumlog_consumer_group_members",
            "Members of the groups coordinated here",
            value=sum(group.members for group in groups),
        )
        for group in groups:
            before = self._generations.get(group.group, group.generation)
            self._rebalances += max(0, group.generation - before)  # deleted and made anew, it begins at 1
        self._generations = {group.group: group.generation for group in groups}
        yield CounterMetricFamily(
            "quorumlog_rebalances",
            "Changes of assignment in groups while they were coordinated here, counted from scrape to scrape",
            value=self._rebalances,
        )


def _list(node: Node, done: Done[tuple[ListedGroup, ...]]) -> None:
    node.consumer_groups.list(_TIMEOUT_MS, done)


def _lag_of(topic: str, partition: int) -> Request:
    return lambda node, done: node.offsets.lag(topic, partition, (), _TIMEOUT_MS, done)


def lag_metrics(lags: Sequence[GroupLag], detailed: bool) -> Iterator[Metric]:
    """What ``lags`` come to; with series for each group only if ``detailed``."""
    yield _verdicts(lags)
    shown = nlargest(MAX_SERIES, lags, key=lambda lag: lag.records) if detailed else []
    if detailed:
        yield GaugeMetricFamily(
            "quorumlog_group_series_left_out",
            "Groups in partitions led here that have no lag series because there are too many",
            value=len(lags) - len(shown),
        )
        yield from _series(shown)


def _verdicts(lags: Sequence[GroupLag]) -> Metric:
    counts = dict.fromkeys(LagVerdict, 0)
    for lag in lags:
        counts[lag.verdict] += 1
    family = GaugeMetricFamily(
        "quorumlog_group_partitions", "Groups in partitions led here, by verdict on their lag", labels=["verdict"]
    )
    for verdict, count in counts.items():
        family.add_metric([verdict.name], count)
    return family


def _series(lags: Sequence[GroupLag]) -> Iterator[Metric]:
    committed = _family("committed_offset", "The stored offset; absent where nothing is stored")
    records = _family("lag_records", "Records to process: end minus committed")
    size = _family("lag_bytes", "Bytes of the batches that hold the records to process")
    seconds = _family("lag_seconds", "Age of the oldest record to process; 0 when there is none")
    verdict = _family("lag_verdict", "1 for the verdict on the group's lag", "verdict")
    for lag in lags:
        where = [lag.group, lag.topic, str(lag.partition)]
        if lag.committed is not None:
            committed.add_metric(where, lag.committed)
        records.add_metric(where, lag.records)
        size.add_metric(where, lag.bytes)
        seconds.add_metric(where, lag.age_ms / 1000)
        verdict.add_metric([*where, lag.verdict.name], 1)
    yield from (committed, records, size, seconds, verdict)


def _family(name: str, text: str, *more_labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"quorumlog_group_{name}", text, labels=[*_LABELS, *more_labels])
