"""Lag in metrics: exact, labelled, and never more series than a Prometheus server should be given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.scripted_desks import ScriptedNode, shell

from quorumlog.replica.failures import Failure, Reason
from quorumlog.replica.offset_api import GroupLag, LagVerdict, ListedGroup
from quorumlog.server.group_metrics import MAX_SERIES, GroupMetrics, lag_metrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric


def lag(group: str, records: int = 3, committed: int | None = 7, verdict: LagVerdict = LagVerdict.OK) -> GroupLag:
    return GroupLag(
        group=group,
        topic="t",
        partition=2,
        committed=committed,
        log_start=0,
        log_end=10,
        records=records,
        bytes=300,
        age_ms=1_500,
        verdict=verdict,
        owner="",
        committed_wall_ms=0,
    )


def values(metrics: list[Metric]) -> dict[tuple[str, str], float]:
    """By (metric, group or verdict)."""
    return {
        (sample.name.removeprefix("quorumlog_"), sample.labels.get("group") or sample.labels.get("verdict", "")): (
            sample.value
        )
        for metric in metrics
        for sample in metric.samples
    }


def test_each_group_has_its_lag_in_records_bytes_and_seconds() -> None:
    found = values(list(lag_metrics([lag("a"), lag("b", records=0)], detailed=True)))
    assert found["group_lag_records", "a"] == 3
    assert found["group_lag_records", "b"] == 0
    assert found["group_lag_bytes", "a"] == 300
    assert found["group_lag_seconds", "a"] == 1.5
    assert found["group_committed_offset", "a"] == 7


def test_nothing_stored_has_no_offset_rather_than_a_false_one() -> None:
    found = values(list(lag_metrics([lag("a", committed=None)], detailed=True)))
    assert ("group_committed_offset", "a") not in found
    assert found["group_lag_records", "a"] == 3


def test_the_verdict_is_a_label_and_counted_over_all() -> None:
    lags = [lag("a", verdict=LagVerdict.STOPPED), lag("b", verdict=LagVerdict.STOPPED), lag("c")]
    metrics = list(lag_metrics(lags, detailed=True))
    (verdicts,) = (metric for metric in metrics if metric.name == "quorumlog_group_lag_verdict")
    assert {(sample.labels["group"], sample.labels["verdict"]) for sample in verdicts.samples} == {
        ("a", "STOPPED"),
        ("b", "STOPPED"),
        ("c", "OK"),
    }
    found = values(metrics)
    assert (found["group_partitions", "STOPPED"], found["group_partitions", "OK"]) == (2, 1)
    assert found["group_partitions", "FALLING_BEHIND"] == 0, "a verdict that nobody has is 0, not absent"


def test_too_many_groups_leave_out_those_least_behind_and_say_so() -> None:
    lags = [lag(f"g{number}", records=number) for number in range(MAX_SERIES + 10)]
    found = values(list(lag_metrics(lags, detailed=True)))
    shown = {group for name, group in found if name == "group_lag_records"}
    assert len(shown) == MAX_SERIES
    assert "g9" not in shown
    assert f"g{MAX_SERIES + 9}" in shown
    assert found["group_series_left_out", ""] == 10
    assert found["group_partitions", "OK"] == MAX_SERIES + 10


def test_switched_off_no_group_is_named() -> None:
    metrics = list(lag_metrics([lag("a")], detailed=False))
    assert not any("group" in sample.labels for metric in metrics for sample in metric.samples)
    assert values(metrics)["group_partitions", "OK"] == 1


class Scraped:
    """A node that leads two partitions, and what a scrape says of it."""

    def __init__(self) -> None:
        node = ScriptedNode()
        self.offsets, self.groups = node.offsets, node.consumer_groups
        self.offsets.led_here = [("t", 0), ("t", 1)]
        self.offsets.answers["lag"] = (lag("a"),)
        self.groups.answers["list"] = ()
        _, self.loop = shell(node)
        node_loop: Any = self.loop
        self._metrics = GroupMetrics(node_loop, detailed=True)

    async def scrape(self) -> dict[tuple[str, str], float]:
        metrics = await self._metrics.collect()
        found = values(metrics)
        for metric in metrics:
            if metric.name == "quorumlog_consumer_groups":
                found |= {("state", sample.labels["state"]): sample.value for sample in metric.samples}
        return found


async def test_a_partition_that_cannot_be_asked_is_left_out_of_the_scrape() -> None:
    scraped = Scraped()
    gone = Failure(Reason.NO_QUORUM, "alone")
    scraped.offsets.answers["lag"] = lambda topic, partition, *rest: gone if partition else (lag("a"),)
    found = await scraped.scrape()
    assert (found["group_lag_records", "a"], found["group_partitions", "OK"]) == (3, 1)
    assert found["lag_partitions_left_out", ""] == 1


async def test_partitions_are_asked_a_few_at_a_time_and_all_of_them() -> None:
    scraped = Scraped()
    scraped.offsets.led_here = [("t", number) for number in range(11)]
    inputs = scraped.loop.inputs
    found = await scraped.scrape()
    assert [asked[2] for asked in scraped.offsets.asked] == list(range(11))
    assert (found["group_partitions", "OK"], found["lag_partitions_left_out", ""]) == (11, 0)
    assert scraped.loop.inputs - inputs == 2 + 3, (
        "one for the groups, one for what is led, three for the partitions"
    )


async def test_groups_and_members_are_told_by_their_coordinator() -> None:
    scraped = Scraped()
    scraped.groups.answers["list"] = (
        ListedGroup("a", "STABLE", 3, 7),
        ListedGroup("b", "EMPTY", 0, 9),
        ListedGroup("c", "STABLE", 2, 1),
    )
    found = await scraped.scrape()
    assert (found["state", "STABLE"], found["state", "EMPTY"], found["state", "REBALANCING"]) == (2, 1, 0)
    assert found["consumer_group_members", ""] == 5


async def test_rebalances_grow_with_generations_and_not_with_groups_that_come() -> None:
    scraped = Scraped()
    scraped.groups.answers["list"] = (ListedGroup("a", "STABLE", 3, 7),)
    assert (await scraped.scrape())["rebalances_total", ""] == 0, "those before the first scrape are not ours"
    scraped.groups.answers["list"] = (ListedGroup("a", "STABLE", 3, 9), ListedGroup("b", "STABLE", 1, 40))
    assert (await scraped.scrape())["rebalances_total", ""] == 2
    scraped.groups.answers["list"] = (ListedGroup("b", "STABLE", 1, 41),)
    assert (await scraped.scrape())["rebalances_total", ""] == 3
    scraped.groups.answers["list"] = Failure(Reason.NO_QUORUM, "alone")
    assert ("rebalances_total", "") not in await scraped.scrape()
    scraped.groups.answers["list"] = (ListedGroup("b", "STABLE", 1, 43),)
    assert (await scraped.scrape())["rebalances_total", ""] == 5, "a scrape that failed has lost nothing"


async def test_a_group_that_is_made_anew_takes_no_rebalance_back() -> None:
    scraped = Scraped()
    for generation in (7, 9, 1, 2):
        scraped.groups.answers["list"] = (ListedGroup("a", "STABLE", 3, generation),)
        found = await scraped.scrape()
    assert found["rebalances_total", ""] == 3, "a counter never falls"
