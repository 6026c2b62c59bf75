"""A consumer's figures at one moment, and the same for Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from quorumlog.client.offset_types import TopicPartition
    from quorumlog.client.receipt import Receipt


@dataclass(frozen=True, slots=True)
class PartitionStats:
    """The watermarks of one partition (each an offset), and what follows from them.

    ``committed`` None: nothing is stored. ``end``: of the log, as last heard of. ``exposed_records`` and
    ``exposed_ms``: processed and not durable. ``ahead``: finished above an unfinished record. ``receipt``: of the
    newest durable commit of the present ownership.
    """

    delivered: int
    processed: int
    sent: int
    durable: int
    committed: int | None
    end: int
    exposed_records: int
    exposed_ms: float
    ahead: int
    commits: int
    resolved: int
    unconfirmed: int
    paused: bool
    receipt: Receipt | None

    @property
    def lag(self) -> int:
        """Records from the committed offset to the end, as last heard of."""
        return max(self.end - (self.durable if self.committed is None else self.committed), 0)


@dataclass(frozen=True, slots=True)
class ConsumerStats:
    """``fenced``: partitions lost to another owner so far. ``generation``: of the group, 0 without group
    management."""

    group: str
    member: str
    generation: int
    partitions: Mapping[TopicPartition, PartitionStats]
    fenced: int

    @property
    def exposed_records(self) -> int:
        """What a crash now would repeat."""
        return sum(each.exposed_records for each in self.partitions.values())

    @property
    def exposed_ms(self) -> float:
        """The age of the oldest of them."""
        return max((each.exposed_ms for each in self.partitions.values()), default=0.0)


_GAUGES: tuple[tuple[str, str, Callable[[PartitionStats], float]], ...] = (
    ("delivered_offset", "Everything below has been handed out", lambda each: each.delivered),
    ("processed_offset", "Everything below is processed", lambda each: each.processed),
    ("sent_offset", "Everything below has been sent to be committed", lambda each: each.sent),
    ("durable_offset", "Everything below is durably committed", lambda each: each.durable),
    ("end_offset", "The log's committed end, as last heard of", lambda each: each.end),
    ("exposed_records", "Processed and not durable", lambda each: each.exposed_records),
    ("exposed_seconds", "Age of the oldest of them", lambda each: each.exposed_ms / 1000),
    ("ahead_records", "Processed above an unfinished record", lambda each: each.ahead),
    ("commits", "Durable commits of the present ownership", lambda each: each.commits),
    ("resolved_commits", "Commits whose fate had to be asked for", lambda each: each.resolved),
    ("unconfirmed_commits", "Acknowledged, and not confirmed by reading back", lambda each: each.unconfirmed),
)


class ConsumerCollector(Collector):
    """Gauges ``quorumlog_consumer_…`` with group, topic and partition, made from ``stats()`` at each scrape."""

    def __init__(self, stats: Callable[[], ConsumerStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        stats = self._stats()
        for name, words, value in _GAUGES:
            gauge = GaugeMetricFamily(f"quorumlog_consumer_{name}", words, labels=["group", "topic", "partition"])
            for partition, each in sorted(stats.partitions.items()):
                gauge.add_metric([stats.group, partition.topic, str(partition.partition)], value(each))
            yield gauge
        fenced = GaugeMetricFamily("quorumlog_consumer_fenced", "Partitions lost to another", labels=["group"])
        fenced.add_metric([stats.group], stats.fenced)
        yield fenced


def register(stats: Callable[[], ConsumerStats], registry: CollectorRegistry) -> ConsumerCollector:
    """Have the registry ask for these figures; ``registry.unregister`` what is returned when the consumer ends."""
    collector = ConsumerCollector(stats)
    registry.register(collector)
    return collector
