"""Prometheus metrics over HTTP.

Nearly everything is read from the node when somebody asks, so the hot path pays for two histograms and a few
counters and nothing else. A scrape runs in the HTTP server's thread, the node lives in the event loop's: the
collector has the loop take one description and formats it in its own thread.

Labels: ``topic`` and ``partition`` (the controller has topic ``""``), ``peer`` and ``lane``, ``event``, ``reason``,
``result``: nothing that grows with traffic or clients, but for the consumer groups of ``group_metrics``, which are
bounded there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from quorumlog.replica.api import JobPriority, NodeDescription, ReplicaDescription
from quorumlog.server.group_metrics import GroupMetrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

    from quorumlog.server.commits import CommitMeter
    from quorumlog.server.errors import Errors
    from quorumlog.server.exchange import Exchange
    from quorumlog.server.log import LogService
    from quorumlog.server.logs import EventLog
    from quorumlog.server.loop import NodeLoop
    from quorumlog.server.peers import Links

_SCRAPE_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the numbers come from."""

    node_loop: NodeLoop
    links: Links
    exchange: Exchange
    log_service: LogService
    commits: CommitMeter
    errors: Errors
    events: EventLog
    group_series: bool
    """Whether each consumer group gets series of its own."""


class NodeCollector(Collector):
    """One node's metrics, made when asked for."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._groups = GroupMetrics(sources.node_loop, sources.group_series)
        self._loop = asyncio.get_running_loop()

    def collect(self) -> Iterable[Metric]:
        """In the HTTP server's thread."""
        gathering = asyncio.run_coroutine_threadsafe(self._collect(), self._loop)
        return gathering.result(_SCRAPE_TIMEOUT_SECONDS)

    async def _collect(self) -> list[Metric]:
        groups = await self._groups.collect()
        return [*self._gather(), *groups]

    def _gather(self) -> Iterator[Metric]:
        description = self._sources.node_loop.describe()
        yield from _replicas(description.replicas)
        yield from self._node(description)
        yield from self._work()
        yield from self._commits()
        yield from self._peers(description)
        yield from self._failures()

    def _node(self, description: NodeDescription) -> Iterator[Metric]:
        replicas = description.replicas
        yield _gauge(
            "leaders", "Partitions and groups that this node leads", sum(r.role == "leader" for r in replicas)
        )
        yield _gauge("replicas", "Replicas on this node", len(replicas))
        yield _gauge(
            "replicas_damaged", "Replicas out of service for damage", sum(bool(r.damage) for r in replicas)
        )
        yield _gauge("replicas_disk_full", "Replicas that wait for disk space", sum(r.disk_full for r in replicas))
        yield _gauge("replicas_quiet", "Replicas that cost nothing now", sum(r.quiet for r in replicas))
        yield _gauge("requests_waiting", "Requests that wait for a replica", sum(r.waiting for r in replicas))
        yield _gauge("append_in_flight_bytes", "Appends accepted and not yet answered", description.in_flight_bytes)

    def _work(self) -> Iterator[Metric]:
        node_loop = self._sources.node_loop
        yield from self._sources.log_service.append_seconds.collect()
        yield from node_loop.write_seconds.collect()
        yield from node_loop.read_seconds.collect()
        yield _counter("rounds", "Times the node processed its inputs", node_loop.rounds)
        yield _counter("jobs_failed", "Disk jobs that raised an error", node_loop.jobs_failed)
        depth = GaugeMetricFamily("quorumlog_jobs", "Disk jobs waiting or running", labels=["kind"])
        for kind in JobPriority:
            depth.add_metric([kind.name.lower()], node_loop.jobs_out(kind))
        yield depth

    def _commits(self) -> Iterator[Metric]:
        meter = self._sources.commits
        meter.settle()
        yield from meter.seconds.collect()
        yield from meter.per_call.collect()
        yield from meter.per_entry.collect()
        results = CounterMetricFamily(
            "quorumlog_commits", "Offset commits by what became of them", labels=["result"]
        )
        for result, count in meter.by_result().items():
            results.add_metric([result], count)
        yield results

    def _peers(self, description: NodeDescription) -> Iterator[Metric]:
        up = GaugeMetricFamily("quorumlog_peer_up", "The peer is connected and heard", labels=["peer"])
        for link in description.links:
            up.add_metric([str(link.node_id)], link.up)
        yield up
        lost = CounterMetricFamily("quorumlog_peer_lost", "Times the peer refused connections", labels=["peer"])
        for peer, outbound in self._sources.links.peers.items():
            lost.add_metric([str(peer)], outbound.lost_count)
        yield lost
        yield from self._lanes()
        exchange = self._sources.exchange
        yield _counter("frames_received", "Frames from peers", exchange.received_frames)
        yield _counter("frames_damaged", "Frames dropped for a wrong checksum or content", exchange.bad_frames)

    def _lanes(self) -> Iterator[Metric]:
        labels = ["peer", "lane"]
        queued = GaugeMetricFamily("quorumlog_lane_queued_bytes", "Bytes waiting to be sent", labels=labels)
        frames = CounterMetricFamily("quorumlog_lane_sent_frames", "Frames sent", labels=labels)
        sent = CounterMetricFamily("quorumlog_lane_sent_bytes", "Bytes sent", labels=labels)
        dropped = CounterMetricFamily(
            "quorumlog_lane_dropped_frames", "Frames for a closed or full lane", labels=labels
        )
        resets = CounterMetricFamily(
            "quorumlog_lane_resets", "Streams closed because their queue was full", labels=labels
        )
        for peer, outbound in self._sources.links.peers.items():
            for lane, stream in outbound.lanes.items():
                values = [str(peer), lane.name.lower()]
                queued.add_metric(values, stream.queued_bytes)
                frames.add_metric(values, stream.sent_frames)
                sent.add_metric(values, stream.sent_bytes)
                dropped.add_metric(values, stream.dropped_frames)
                resets.add_metric(values, stream.resets)
        return iter((queued, frames, sent, dropped, resets))

    def _failures(self) -> Iterator[Metric]:
        failures = CounterMetricFamily("quorumlog_failures", "Requests refused or failed", labels=["reason"])
        for reason, count in self._sources.errors.counts.items():
            failures.add_metric([reason.name], count)
        yield failures
        events = CounterMetricFamily("quorumlog_events", "Elections, losses, damage and repair", labels=["event"])
        for kind, count in sorted(self._sources.events.counts.items()):
            events.add_metric([kind], count)
        yield events


def _replicas(replicas: tuple[ReplicaDescription, ...]) -> Iterator[Metric]:
    labels = ["topic", "partition"]
    gauges = {
        name: GaugeMetricFamily(f"quorumlog_replica_{name}", text, labels=labels)
        for name, text in (
            ("leading", "1 on the node that leads"),
            ("term", "The Raft term"),
            ("commit_index", "The highest index known committed"),
            ("applied_index", "The highest index applied"),
            ("start_offset", "The log's first offset"),
            ("end_offset", "The committed end"),
            ("size_bytes", "Bytes on disk"),
        )
    }
    lag = GaugeMetricFamily(
        "quorumlog_follower_lag_entries", "Entries that a follower lacks", labels=[*labels, "follower"]
    )
    for replica in replicas:
        values = [replica.topic, str(replica.partition)]
        gauges["leading"].add_metric(values, replica.role == "leader")
        for name in ("term", "commit_index", "applied_index", "start_offset", "end_offset", "size_bytes"):
            gauges[name].add_metric(values, getattr(replica, name))
        for follower in replica.followers:
            lag.add_metric([*values, str(follower.node_id)], max(0, replica.last_index - follower.match_index))
    yield from gauges.values()
    yield lag


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"quorumlog_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"quorumlog_{name}", text, value=value)


class MetricsServer:
    """The HTTP port. Raises OSError when it cannot be bound."""

    def __init__(self, sources: Sources, host: str, port: int) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(NodeCollector(sources))
        self._server: WSGIServer
        self._thread: Thread
        self._server, self._thread = start_http_server(port, host, registry)

    def stop(self) -> None:
        """Closes the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
