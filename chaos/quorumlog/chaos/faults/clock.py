"""Harm to clocks: the wall clock jumps, or every clock of a node runs fast or slow.

Elections, leases and deadlines go by the monotonic clock, which drifts and never jumps; retention and the expiry of
offsets go by the wall clock. The effect is how many nodes have confirmed the change: that nothing else comes of it
is what such a scenario is to show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.chaos.faults.fault import Scene, Struck
from quorumlog.chaos.places.place import Ability, NotPossible

if TYPE_CHECKING:
    from quorumlog.chaos.targets import Role

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class ClockTrouble:
    """The wall clocks jump by ``jump_ms`` (and back at the end), and all clocks drift by the share ``drift``."""

    role: Role
    jump_ms: int = 0
    drift: float = 0.0
    needs = frozenset({Ability.CLOCK})

    @property
    def name(self) -> str:
        parts = []
        if self.jump_ms:
            parts.append(f"clock jump {self.jump_ms / HOUR_MS:+g} h")
        if self.drift:
            parts.append(f"clock drift {self.drift:+.0%}")
        return f"{' and '.join(parts)} {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = await self.role.choose(scene)
        if not nodes:
            return None
        for node in nodes:
            await scene.place.order_clock(node, jump_ms=self.jump_ms, drift=self.drift)

        async def undo() -> int:
            back = 0
            for node in nodes:
                try:
                    await scene.place.order_clock(node, jump_ms=-self.jump_ms, drift=0.0)
                    back += 1
                except NotPossible:
                    continue  # a node that has been started since has the machine's clocks
            return back

        return Struck({"nodes": list(nodes)}, undo)


def clock_jump(role: Role, hours: float) -> ClockTrouble:
    """Forth (or, negative, back) by so many hours."""
    return ClockTrouble(role, jump_ms=int(hours * HOUR_MS))


def clock_drift(role: Role, share: float) -> ClockTrouble:
    """So much too fast (0.1: ten per cent), or, negative, too slow."""
    return ClockTrouble(role, drift=share)
