"""Histograms of durations, all with the same bounds: from a write to an idle disk to an election."""

from __future__ import annotations

from prometheus_client import Histogram

_BOUNDS_SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip


def latency(name: str, text: str) -> Histogram:
    """A histogram of seconds that belongs to its maker: ``metrics`` collects it, no global registry knows it."""
    return Histogram(f"quorumlog_{name}_seconds", text, buckets=_BOUNDS_SECONDS, registry=None)
