"""The load of consumer groups: members come, leave, are killed, hang and come back; some are static.

In the end every group must have consumed every partition, and members live until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from quorumlog.chaos.workloads.ground import partition_key
from quorumlog.chaos.workloads.member_process import MemberProcess, Orders
from quorumlog.chaos.workloads.members import Manner, Member, MemberPlan
from quorumlog.chaos.workloads.readers import ask_end
from quorumlog.chaos.workloads.register_client import Register, fetch, fetch_finally
from quorumlog.chaos.workloads.telling import Teller
from quorumlog.client import Admin, OffsetAdmin, QuorumlogError
from quorumlog.client.group_admin import COORDINATORS_TOPIC, coordinator_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from quorumlog.chaos.workloads.ground import Ground, TopicPlan
    from quorumlog.check import Event

_PROOF_MS = 2_000.0
_MANNERS = (Manner.BATCHES, Manner.EACH, Manner.WORKERS)


class _Slot:
    """Where one member runs, and after its end the next: as a task, or as a process of its own."""

    def __init__(self, ground: Ground, plan: MemberPlan, journals: Path | None, places: Places) -> None:
        self.calm = False
        self._ground = ground
        self._plan = plan
        self._journals = journals
        self._places = places
        self._member: Member | None = None
        self._task: asyncio.Task[None] | None = None
        self._process: MemberProcess | None = None

    @property
    def is_process(self) -> bool:
        return self._journals is not None

    async def start(self) -> None:
        if self._journals is None:
            if self._task is None:
                self._member = Member(self._ground, self._plan)
                self._member.calm = self.calm
                self._task = asyncio.create_task(self._member.run(), name=f"member of {self._plan.group}")
        elif self._process is None:
            plan, place = self._plan, self._places.next()
            journal = self._journals / f"member-{place}.jsonl"
            orders = Orders(
                self._ground.servers, plan.group, list(plan.topics), plan.manner, plan.instance, place, str(journal)
            )
            self._process = await MemberProcess.start(orders)
            if self.calm:
                self._process.calm()

    async def close(self) -> None:
        """It leaves in order."""
        if self._member is not None and self._task is not None:
            self._member.close()
            task, self._task = self._task, None
            await task
        process, self._process = self._process, None
        if process is not None:
            self._places.journals.append(await process.close())

    async def kill(self) -> None:
        """A process of its own is killed."""
        process, self._process = self._process, None
        if process is not None:
            self._places.journals.append(await process.kill())

    async def abandon(self) -> None:
        """Ends it at once, whatever becomes of it."""
        await self.kill()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def pause(self) -> None:
        if self._process is not None:
            self._process.pause()

    def resume(self) -> None:
        if self._process is not None:
            self._process.resume()

    def hurry(self) -> None:
        """Once nothing is to go wrong any more, the application is quick."""
        self.calm = True
        if self._member is not None:
            self._member.calm = True
        if self._process is not None:
            self._process.calm()

    def check(self) -> None:
        """Raises what a member ended with that no cluster can be blamed for."""
        if self._task is not None and self._task.done():
            self._task.result()


class Places:
    """The writers of one history beside the suite itself, and what those that have ended wrote."""

    def __init__(self) -> None:
        self.journals: list[list[Event]] = []
        self._last = 0

    def next(self) -> int:
        self._last += 1
        return self._last


class GroupLoad:
    """See the module. ``processes``: of each group's members so many are processes of their own."""

    def __init__(
        self,
        ground: Ground,
        topics: Sequence[TopicPlan],
        groups: Sequence[str],
        *,
        members: int,
        processes: int,
        churn_s: float,
    ) -> None:
        self._ground = ground
        self._churn_s = churn_s
        self._topics = list(topics)
        self._groups = list(groups)
        self._directory = Path(tempfile.mkdtemp(prefix="quorumlog-members-")) if processes else None
        self._places = Places()
        self._registers = [
            Register(ground, group, topic.name, partition)
            for group in groups
            for topic in topics
            for partition in range(topic.partitions)
        ]
        self._slots = [
            self._slot(group, number, own_process=number >= members - processes)
            for group in groups
            for number in range(members)
        ]
        self._targets: dict[str, int] = {}
        self._churning: asyncio.Task[None] | None = None

    def _slot(self, group: str, number: int, *, own_process: bool) -> _Slot:
        # Every other member is static: its partitions wait for it when it comes back.
        instance = f"static-{number}" if number % 2 else ""
        plan = MemberPlan(
            group, tuple(topic.name for topic in self._topics), _MANNERS[number % len(_MANNERS)], instance
        )
        return _Slot(self._ground, plan, self._directory if own_process else None, self._places)

    # --- the load

    def begin(self) -> None:
        self._churning = self._ground.begin(self._churn(), "comings and goings of members")

    async def _churn(self) -> None:
        ground, random = self._ground, self._ground.random
        for slot in self._slots:
            await slot.start()
        while not await ground.pause(random.expovariate(1.0 / self._churn_s)):
            slot = random.choice(self._slots)
            slot.check()
            if slot.calm:
                return
            await self._strike(slot)

    async def _strike(self, slot: _Slot) -> None:
        """Something happens to one member; afterwards it is there again."""
        ground, random = self._ground, self._ground.random
        fate = random.choice(("close", "kill", "kill", "pause")) if slot.is_process else "close"
        if fate == "pause":
            slot.pause()
            await ground.pause(random.uniform(0.1, 5.0))
            slot.resume()
            return
        await (slot.kill() if fate == "kill" else slot.close())
        await ground.pause(random.uniform(0.0, 1.5))
        await slot.start()

    async def _calm_down(self) -> None:
        """From here on members live: those that are gone come back, and nobody goes."""
        for slot in self._slots:
            slot.hurry()
            slot.resume()
            await slot.start()

    # --- the proof

    async def prove(self, served: Collection[str]) -> str:
        """Every group has consumed these partitions to where they ended when this was first asked."""
        await self._calm_down()
        for slot in self._slots:
            slot.check()
        groups = await self._coordinated(served)
        ground = self._ground
        async with (
            Admin(ground.servers, timeout_ms=_PROOF_MS) as admin,
            OffsetAdmin(ground.servers, timeout_ms=_PROOF_MS) as offsets,
        ):
            found = await asyncio.gather(
                *(
                    self._drained(register, admin, offsets)
                    for register in self._registers
                    if register.group in groups and partition_key(*register.partition) in served
                )
            )
        return "; ".join(filter(None, found))

    async def _coordinated(self, served: Collection[str]) -> set[str]:
        """The groups whose coordinators have a majority."""
        async with Admin(self._ground.servers, timeout_ms=_PROOF_MS) as admin:
            with contextlib.suppress(QuorumlogError):
                count = len((await admin.describe_topic(COORDINATORS_TOPIC)).partitions)
                return {
                    group
                    for group in self._groups
                    if partition_key(COORDINATORS_TOPIC, coordinator_of(group, count)) in served
                }
        return {*self._groups}

    async def _drained(self, register: Register, admin: Admin, offsets: OffsetAdmin) -> str:
        target = self._targets.get(register.key)
        if target is None:
            target = await ask_end(self._ground, admin, *register.partition)
            if target is None:
                return f"the end of {register.partition} was not told"
            self._targets[register.key] = target
        found = await fetch(register, Teller(self._ground, register.key), offsets)
        if isinstance(found, QuorumlogError):
            return f"the offset of {register.key} was not told ({found.reason.name})"
        reached = found.stored.offset if found.stored is not None else 0
        return "" if reached >= target else f"{register.key} has been consumed to {reached} of {target}"

    # --- the end

    async def finish(self) -> None:
        """Members go in order, what those of their own processes wrote is taken in, and fresh clients fetch."""
        self._ground.mark("members_stop")
        for slot in self._slots:
            slot.resume()
        await asyncio.gather(*(slot.close() for slot in self._slots))
        journals, self._places.journals = self._places.journals, []
        self._ground.recorder.absorb(journals)
        await fetch_finally(self._registers)

    async def close(self) -> None:
        await asyncio.gather(*(slot.abandon() for slot in self._slots))
        if self._directory is not None:
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    def least(self) -> dict[str, int]:
        registers = len(self._registers)
        return {"process": registers, "commit": registers, "acquire": registers, "final_fetch": registers}
