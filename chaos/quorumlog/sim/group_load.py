"""Groups of consumers on a whole cluster: members come, die, hang, leave and come back; and in the end every
partition must have an owner that has consumed it to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.check import EventType
from quorumlog.replica import End, Failure, OffsetFound
from quorumlog.replica.offset_api import FetchedOffset
from quorumlog.sim.asking import Asker
from quorumlog.sim.members import Member
from quorumlog.sim.register_load import FinalFetch
from quorumlog.sim.registers import Register, fetch
from quorumlog.sim.telling import Teller
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.sim.calls import Lost
    from quorumlog.sim.cluster import Cluster

_AGAIN_MS = 60
_FOR_EVER_MS = 3_600_000
#: The history's process id of whatever is not a client.
_MARKER = -2


class Slot:
    """Where one member of a group runs, and after its end the next."""

    def __init__(self, cluster: Cluster, group: str, topics: tuple[str, ...], number: int) -> None:
        self.member: Member | None = None
        self.calm = False
        self._cluster = cluster
        self._group = group
        self._topics = topics
        self._turns = cluster.shared.new_turns(f"member {number} of {group}")
        self._instance = f"static-{number}" if cluster.options.static_members else ""

    @property
    def running(self) -> bool:
        return self.member is not None and not self.member.over

    def start(self) -> None:
        """Begins a new process, unless one runs."""
        if not self.running and self._turns.present:
            self.member = Member(
                self._cluster.shared, self._group, self._topics, self._cluster.options, self._instance
            )
            self.hurry()

    def hurry(self) -> None:
        """Once nothing is to go wrong any more, the application is quick: a run waits for it to reach the end."""
        if self.calm and self.member is not None:
            self.member.process_ms = 1


class GroupLoad:
    """See the module. Nothing happens before ``begin``."""

    def __init__(self, cluster: Cluster) -> None:
        self.deaths = 0
        self.blows = 0
        """What happened to members so far, left out or not."""
        self._cluster = cluster
        self._random = cluster.world.random("members")
        self.slots: list[Slot] = []
        self._registers: list[Register] = []
        self._calm = False
        self._over = False

    def begin(self) -> None:
        cluster, options = self._cluster, self._cluster.options
        topics = tuple(sorted(cluster.topics))
        for number in range(options.groups):
            group = f"consumers-{number}"
            slots = [Slot(cluster, group, topics, member) for member in range(options.members)]
            for slot in slots:
                cluster.world.after(self._random.randrange(options.duration_ms // 2) * MS, slot.start)
            self.slots += slots
            self._registers += [
                Register(cluster.shared, group, topic, part.partition, tuple(part.replicas))
                for topic, part in cluster.partitions()
            ]
        if options.members_crash_ms and self.slots:
            self._plan_strike()

    # --- what happens to members ---

    def _plan_strike(self) -> None:
        pause_ms = self._random.expovariate(1.0 / self._cluster.options.members_crash_ms)
        self._cluster.world.after(int(pause_ms * MS) + 1, self._strike)

    def _strike(self) -> None:
        if self._calm:
            return
        self._plan_strike()
        number, self.blows = self.blows, self.blows + 1
        if number in self._cluster.options.without.blows:
            return
        world = self._cluster.world
        random = world.random(f"blow {number}")
        slot = random.choice(self.slots)
        member = slot.member
        if member is None or member.over:
            return
        fate = random.choice(("kill", "kill", "pause", "close"))
        world.trace.note(0, "member", fate)
        self.deaths += fate == "kill"
        after_us = random.randrange(20, 1500) * MS
        if fate == "kill":
            member.kill()
            world.after(after_us, self._start_again, slot)
        elif fate == "pause":
            member.pause()
            world.after(random.randrange(20, 3000) * MS, member.resume)
        else:
            member.close()
            world.after(after_us, self._start_again, slot)

    def _start_again(self, slot: Slot) -> None:
        if self._over:
            return
        if slot.running:
            # It was told to go, and has not finished yet.
            self._cluster.world.after(_AGAIN_MS * MS, self._start_again, slot)
        else:
            slot.start()

    # --- the end ---

    def stop(self) -> None:
        """From here on members live: those that hang go on, and those that are gone come back."""
        self._calm = True
        for slot in self.slots:
            slot.calm = True
            slot.hurry()
            if slot.member is not None:
                slot.member.resume()
            slot.start()

    def prove(self, served: Sequence[tuple[str, int]], nodes: Sequence[int]) -> list[Drained]:
        """Begins to look whether every group consumes these partitions to their end, and whether its coordinator
        can be expected to let it."""
        if not self._coordinated_by(nodes):
            return []
        return [Drained(register) for register in self._registers if (register.topic, register.partition) in served]

    def _coordinated_by(self, nodes: Sequence[int]) -> bool:
        """``nodes`` hold a majority of every coordinator's voters."""
        groups = self._cluster.coordinators()
        return all(2 * len(set(voters) & set(nodes)) > len(voters) for voters in groups)

    def unowned(self) -> str:
        """What is missing for every partition to have exactly one owner that works on it; "" when nothing is."""
        for register in self._registers:
            holders = [
                slot
                for slot in self.slots
                if slot.member is not None
                and slot.running
                and slot.member.group == register.group
                and slot.member.holds(register.topic, register.partition)
            ]
            if len(holders) != 1:
                return f"{register.key} has {len(holders)} owners"
        return ""

    def mark(self, moment: str) -> None:
        """Notes a moment in the history."""
        shared = self._cluster.shared
        invocation = shared.recorder.invoke(shared.now_ns, _MARKER, moment, "")
        shared.recorder.complete(shared.now_ns, invocation, EventType.OK)

    def close(self) -> None:
        """All members are told to go."""
        self._over = True
        self.mark("members_stop")
        for slot in self.slots:
            if slot.member is not None:
                slot.member.close()

    def not_closed(self) -> str:
        """ "" when every member has committed what it had, and left."""
        left = sum(slot.running for slot in self.slots)
        return f"{left} of {len(self.slots)} members do not end" if left else ""

    def finally_fetched(self) -> list[FinalFetch]:
        """Begins to fetch every group's offsets as a fresh client."""
        return [FinalFetch(register) for register in self._registers]


class Drained:
    """Looks until a group's committed offset is the partition's end; then ``finished``."""

    def __init__(self, register: Register) -> None:
        self.finished = False
        self._register = register
        self._shared = register.shared
        self._asker = Asker(register.shared)
        self._teller = Teller(register.shared, register.key)
        self._look()

    def _again(self) -> None:
        self._shared.world.after(_AGAIN_MS * MS, self._look)

    def _look(self) -> None:
        register = self._register

        def answered(result: OffsetFound | Failure | Lost, unknown: bool, node: int) -> None:
            if isinstance(result, OffsetFound):
                end = result.end_offset
                fetch(self._asker, self._teller, register, None, lambda found: self._fetched(end, found))
            else:
                self._again()

        self._asker.ask(
            register.topic,
            register.partition,
            lambda node, done: node.list_offsets(register.topic, register.partition, End(), done),
            answered,
            patience_ms=_FOR_EVER_MS,
        )

    def _fetched(self, end: int, result: FetchedOffset | Failure | Lost) -> None:
        if isinstance(result, FetchedOffset) and result.stored is not None:
            self.finished = result.stored.offset >= end
        if not self.finished:
            self._again()
