"""How long to wait before trying again: growing, bounded, and never the same for two clients.

Half of each delay is random ("equal jitter" in Brooker's "Exponential Backoff And Jitter", 2015): clients that
lost the same leader must not come back in step, and none should come back at once for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays of at most ``first_ms``, then ``factor`` times as much each time, up to ``cap_ms``."""

    first_ms: float
    factor: float
    cap_ms: float

    def delay_ms(self, failures: int, random: Random) -> float:
        """The wait after so many failures in a row (1 or more): between half the bound and the bound."""
        bound = self.first_ms
        for _ in range(failures - 1):
            bound *= self.factor
            if bound >= self.cap_ms:
                bound = self.cap_ms
                break
        return bound * (0.5 + 0.5 * random.random())


#: Looking for a leader. An election takes one or two round trips once it begins, so the first tries come quickly
#: and a new leader is found within about 20 ms of its election; the bound only grows for a cluster that stays
#: without one.
LOOKUP = Backoff(first_ms=15.0, factor=1.06, cap_ms=500.0)

#: Sending a batch again.
RESEND = Backoff(first_ms=10.0, factor=1.6, cap_ms=500.0)
