"""What one directed link does to what passes, and what it has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinkCondition:
    """The default is a good link."""

    open: bool = True
    """False: nothing passes and nothing is said (a black hole); connections stay as they are."""
    reject: bool = False
    """New connections are refused, existing ones broken, as by a firewall that answers with RST."""
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    """Added to the latency, drawn anew for each piece, from 0 to this; TCP's order is kept."""
    bytes_per_s: int = 0
    """Bandwidth, shared by all connections of the link; 0: as much as one likes."""
    stall_rate: float = 0.0
    """Share of pieces that wait for a retransmission, and all behind them on their connection: what loss looks like
    above TCP."""
    stall_ms: float = 200.0
    """How long such a piece waits: TCP's least retransmission timeout (RFC 6298; 200 ms on Linux)."""

    @property
    def passes(self) -> bool:
        """Whether anything gets through at all."""
        return self.open and not self.reject

    @property
    def delays(self) -> bool:
        """Whether what gets through gets through later than at once."""
        return bool(self.latency_ms or self.jitter_ms or self.bytes_per_s or self.stall_rate)


GOOD = LinkCondition()


@dataclass(frozen=True, slots=True)
class LinkCounts:
    """What a directed link has done so far: for seeing that a fault had an effect."""

    passed_bytes: int = 0
    held_bytes: int = 0
    """Bytes that were not let through, or were delayed by the condition."""
    refused: int = 0
    """Connections refused, where the place can see that: a relay leaves it to the kernel, which does not tell."""
    reset: int = 0
    """Connections broken."""
