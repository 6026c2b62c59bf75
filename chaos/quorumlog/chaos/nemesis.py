"""The nemesis: carries a scenario's plan out, strike by strike, and writes it into the history.

Each strike is one operation of the process ``NEMESIS``: invoked before anything is done, ``ok`` with the effect
that was observed once it is undone, ``fail`` if there was nobody to do it to. Its victims are known only when it
has chosen them, a moment after it was invoked: they are added to the invocation's value then, so that the fault's
beginning in the history is never after its first effect.

(Jepsen's nemesis is one client that does one thing at a time; here strikes overlap, for two faults at once are
where systems break.)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from quorumlog.chaos.places.place import Ability
from quorumlog.check import EventType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quorumlog.chaos.faults import Scene, Struck
    from quorumlog.chaos.scenario import Strike
    from quorumlog.check import Recorder

#: The history's process id of the nemesis.
NEMESIS = -1
#: Faults that need this end a process.
_ENDING = frozenset({Ability.KILL, Ability.STOP})
#: How long a strike waits before it looks again for somebody to do it to.
_AGAIN_S = 0.2


class Nemesis:
    """See the module. ``now_ns`` is the history's clock."""

    def __init__(self, scene: Scene, plan: Sequence[Strike], recorder: Recorder, now_ns: Callable[[], int]) -> None:
        self._scene = scene
        self._plan = plan
        self._recorder = recorder
        self._now_ns = now_ns
        self._healing = asyncio.Event()
        self._over = asyncio.Event()
        self._lasting = 0
        self._settled = asyncio.Condition()
        self.out_for_good: set[int] = set()
        """Nodes that a permanent fault has taken out."""

    async def run(self) -> None:
        """Carries out the plan; returns when all of it has been undone, that is after ``end``. Whatever a fault
        raises ends it: a nemesis that cannot do harm proves nothing."""
        async with asyncio.TaskGroup() as strikes:
            for strike in self._plan:
                strikes.create_task(self._carry_out(strike))

    async def heal(self) -> None:
        """No strike begins from here on; returns when all are undone but those that are for good."""
        self._healing.set()
        async with self._settled:
            await self._settled.wait_for(lambda: self._lasting == 0)

    def end(self) -> None:
        """Undoes the permanent ones as well."""
        self._healing.set()
        self._over.set()

    async def _carry_out(self, strike: Strike) -> None:
        began = asyncio.get_running_loop().time()
        due = strike.at_s
        while await self._still_on(began + due - asyncio.get_running_loop().time()):
            await self._once(strike)
            if not strike.every_s:
                return
            due += strike.every_s

    async def _once(self, strike: Strike) -> None:
        victims: dict[str, Any] = {}
        invocation = self._recorder.invoke(self._now_ns(), NEMESIS, "fault", strike.fault.name, victims)
        if not strike.for_good:
            self._lasting += 1
        try:
            struck = await self._strike(strike)
            if struck is None:
                self._recorder.complete(self._now_ns(), invocation, EventType.FAIL, error="nobody to do it to")
                return
            victims.update(struck.told)
            if strike.for_good:
                self.out_for_good.update(victims.get("nodes", ()))
                await self._over.wait()
            elif strike.lasts_s:
                await self._still_on(strike.lasts_s)
            effect = await struck.undo()
            self._recorder.complete(self._now_ns(), invocation, EventType.OK, {"effect": effect})
        finally:
            if not strike.for_good:
                async with self._settled:
                    self._lasting -= 1
                    self._settled.notify_all()

    async def _strike(self, strike: Strike) -> Struck | None:
        ends_nodes = bool(strike.fault.needs & _ENDING)
        while True:
            struck = None
            if not ends_nodes or self._scene.all_back():
                struck = await strike.fault.strike(self._scene)
            if struck is not None or not await self._still_on(_AGAIN_S):
                return struck

    async def _still_on(self, seconds: float) -> bool:
        """Waits so long, or until healing begins; False then."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._healing.wait()
        except TimeoutError:
            return True
        return False
