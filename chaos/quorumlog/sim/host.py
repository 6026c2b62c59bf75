"""One machine of the world: a disk that outlives everything, and now and then a process on it, which is a whole
Node.

To the node, this is the shell that the gRPC server is otherwise (``quorumlog.server.loop``): it feeds ticks,
frames, finished jobs and requests, calls ``process`` once for whatever came together, and carries out the effects.
To the faults it is what can be killed, cut from power, paused and slowed.

A job runs when its drawn time is over, all at once; if the process dies before, the job has done nothing, a part of
it, or everything but say so.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.replica import JobPriority, Node, NodeConfig
from quorumlog.sim.disk import PowerCut, SimulatedDisk
from quorumlog.sim.world import MS
from quorumlog.storage import NodeDirectory, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.replica import Frame, Job, Lane
    from quorumlog.replica.replica import Replica
    from quorumlog.sim.network import Network
    from quorumlog.sim.taps import Taps
    from quorumlog.sim.world import World

#: The wall clock when a world begins: 2026-01-01, in ms since the Unix epoch.
WORLD_BEGINS_MS = 1_767_225_600_000
#: Where a node keeps its data on its disk.
DATA = "/data"


@dataclass(slots=True)
class DiskPace:
    """How long jobs take, in µs. A fault may slow it down."""

    us_min: int = 80
    us_max: int = 600
    slow_us_max: int = 0
    """When not 0, half of all jobs take up to this long instead."""


class HostClock:
    """A machine's clock: it drifts by ``drift`` (1.0 = none), which may change, and its wall clock may jump."""

    __slots__ = ("_drift", "_offset_us", "_world", "jump_ms")

    def __init__(self, world: World, drift: float) -> None:
        self._world = world
        self._drift = drift
        self._offset_us = 0.0
        self.jump_ms = 0

    @property
    def drift(self) -> float:
        return self._drift

    def set_drift(self, drift: float) -> None:
        """From here on it runs at another pace; it neither jumps nor goes back."""
        # A nanosecond more than nothing, so that rounding does not turn the clock back.
        self._offset_us += self._world.now_us * (self._drift - drift) + 0.001
        self._drift = drift

    def now_ms(self) -> int:
        return int(self._world.now_us * self._drift + self._offset_us) // MS

    def wall_ms(self) -> int:
        return WORLD_BEGINS_MS + self.now_ms() + self.jump_ms

    def until_us(self, at_ms: int) -> int:
        """World time that passes before ``now_ms`` says ``at_ms``; 0 if it has."""
        return max(0, int((at_ms * MS - self._offset_us) / self._drift) + 1 - self._world.now_us)


class WatchedNode(Node):
    """Tells which replicas something was done to: only those can have changed, and looking at all of them after
    every round is a tenth of a simulation."""

    touched_replicas: dict[int, Replica]

    def touch(self, replica: Replica) -> None:
        self.touched_replicas[replica.group_id] = replica
        super().touch(replica)


class Host:
    """See the module. ``life`` is 0 while no process runs; each process gets a number of its own."""

    def __init__(
        self, world: World, network: Network, taps: Taps, config: NodeConfig, drift: float, disk: SimulatedDisk
    ) -> None:
        self.node_id = config.node_id
        self.disk = disk
        self.pace = DiskPace()
        self.clock = HostClock(world, drift)
        self.life = 0
        self.paused = False
        self.silent = False
        """Dead without a word: the machine has no power, so that nobody is told that its connections are gone."""
        self.stalled = False
        """The disk finishes nothing: what was begun waits in ``_stuck``."""
        self.slow_jobs = 0
        """Jobs that a slow disk was slow with."""
        self.node: WatchedNode | None = None
        self._config = config
        self._world = world
        self._network = network
        self._taps = taps
        self._random = world.sliced_random(f"host {config.node_id}")
        self._lives = 0
        self._backlog: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self._running: dict[int, Job] = {}
        self._stuck: list[tuple[int, int]] = []
        self._jobs_begun = 0
        self._round_planned = False
        self._wake_ms: int | None = None
        network.attach(self.node_id, self)

    # --- life and death ---

    def start(self) -> None:
        """Starts a process on whatever the disk holds."""
        self._lives += 1
        self.life = self._lives
        self.silent = False
        self._world.trace.note(self.node_id, "starts", self.life)
        try:
            directory = NodeDirectory.open(self.disk, DATA, self._config.cluster_id, self.node_id)
            self.node = WatchedNode(self._config, directory, self.clock, self._random, self._taps.listener(self))
            self.node.touched_replicas = {}
            self.node.start()
        except StorageError as error:
            self._taps.crashed(self, f"cannot start: {error}")
            return
        except OSError as error:
            # The disk does not let it start: the process ends, loudly, and whoever runs it tries again.
            self._die(f"cannot start: {error}", silently=False)
            self._world.after(200 * MS, self._start_again, self._lives)
            return
        self._taps.started(self)
        self._network.started(self.node_id)
        self._world.after(self._random.randrange(self._config.tick_ms * MS), self._tick, self.life)
        self._plan_round()

    def _start_again(self, lives: int) -> None:
        if not self.life and self._lives == lives:
            self.start()

    def kill(self) -> None:
        """kill -9: the process is gone, what it wrote stays in the page cache, its connections are reset."""
        self._die("is killed", silently=False)

    def power_off(self) -> list[str]:
        """The machine loses power: what was not synced is lost or torn, and nobody is told. Returns the paths of
        which something may be lost although an fsync had promised it."""
        self._die("loses power", silently=True)
        betrayed = self.disk.betrayed()
        self.disk.crash(pages=self._random.random() < 0.5)
        return betrayed

    def _die(self, how: str, *, silently: bool) -> None:
        if self.life:
            self._world.trace.note(self.node_id, how)
            self._cut_jobs()
        self.disk.crash(keep_all=True)
        self.life = 0
        self.silent = silently
        self.node = None
        self.paused = False
        self._backlog.clear()
        self._round_planned = False
        self._wake_ms = None
        self._taps.stopped(self)
        self._network.stopped(self.node_id, silently=silently)

    def _cut_jobs(self) -> None:
        """Jobs under way had got somewhere when the process died: some nowhere, some to their end, one to its
        middle."""
        random = self._random
        jobs, self._running = list(self._running.values()), {}
        random.shuffle(jobs)
        for job in jobs[random.randint(0, len(jobs)) :]:
            try:
                if job is jobs[-1] and random.random() < 0.7:
                    self.disk.cut_after(random.randint(1, 4))
                job.run()
            except (PowerCut, OSError, StorageError) as error:
                self._world.trace.note(self.node_id, "job cut", job.group_id, type(error).__name__)

    def fill_disk(self, room: int | None) -> None:
        """Leaves ``room`` bytes free on the disk; None: as many as anybody could want."""
        self.disk.capacity = 1 << 40 if room is None else self.disk.used + room

    def pause(self) -> None:
        """SIGSTOP: everything that arrives waits."""
        self._world.trace.note(self.node_id, "is paused")
        self.paused = True

    def resume(self) -> None:
        """SIGCONT: everything that waited arrives at once."""
        if not self.paused:
            return
        self._world.trace.note(self.node_id, "goes on")
        self.paused = False
        backlog, self._backlog = self._backlog, []
        for action, arguments in backlog:
            self._feed(action, *arguments)

    def replicas(self) -> list[tuple[int, Replica]]:
        """(group, replica) of everything this process runs: the simulator looks where nobody else may."""
        return [] if self.node is None else list(self.node._replicas.items())

    def touched(self) -> list[Replica]:
        """The replicas in service to which something was done since this was last asked."""
        node = self.node
        if node is None or not node.touched_replicas:
            return []
        touched, node.touched_replicas = node.touched_replicas, {}
        running = node._replicas
        return [replica for group, replica in touched.items() if running.get(group) is replica]

    def replica(self, group: int) -> Replica | None:
        return None if self.node is None else self.node._replicas.get(group)

    # --- inputs ---

    def receive(self, frame: Frame) -> None:
        """A frame has come in from the network."""
        self._world.trace.note(
            self.node_id, "hears", frame.sender, frame.lane, frame.session, frame.sequence, len(frame.messages)
        )
        if self.node is not None:
            self._feed(self.node.receive, frame)

    def link_up(self, peer: int, lane: Lane) -> None:
        if self.node is not None:
            self._feed(self.node.link_up, peer, lane)

    def link_down(self, peer: int, lane: Lane) -> None:
        if self.node is not None:
            self._feed(self.node.link_down, peer, lane)

    def peer_lost(self, peer: int) -> None:
        if self.node is not None:
            self._feed(self.node.peer_lost, peer)

    def request(self, action: Callable[[Node], object]) -> None:
        """A client's request has arrived at this process."""
        if self.node is not None:
            self._feed(action, self.node)

    def _feed(self, action: Callable[..., object], *arguments: object) -> None:
        if self.paused:
            self._backlog.append((action, arguments))
            return
        self._guard(action, *arguments)
        self._plan_round()

    @property
    def waiting(self) -> int:
        """Inputs that wait for a paused process to go on."""
        return len(self._backlog)

    def _guard(self, action: Callable[..., object], *arguments: object) -> object:
        """Nothing a node is fed may make it raise: the server would crash, and it would be a bug."""
        try:
            return action(*arguments)
        except Exception:
            self._taps.crashed(self, traceback.format_exc(limit=-6))
            return None

    def _tick(self, life: int) -> None:
        if life != self.life or self.node is None:
            return
        self._world.after(self.clock.until_us(self.clock.now_ms() + self._config.tick_ms), self._tick, life)
        if not self.paused:
            self._feed(self.node.tick)

    # --- the round ---

    def _plan_round(self) -> None:
        """Has ``process`` called soon, once for everything that comes in until then."""
        if not self._round_planned:
            self._round_planned = True
            self._world.after(20 + int(self._random.random() * 180), self._round, self.life)

    def _round(self, life: int) -> None:
        if life != self.life or self.node is None:
            return
        self._round_planned = False
        if self.paused:
            self._backlog.append((_nothing, ()))
            return
        try:
            effects = self.node.process()
        except Exception:
            self._taps.crashed(self, traceback.format_exc(limit=-6))
            return
        self._taps.looked(self, effects.frames)
        send = self._network.send
        for frame in effects.frames:
            send(frame)
        for job in effects.jobs:
            self._begin(job)
        wake_ms = effects.wake_at_ms
        if wake_ms is not None and (self._wake_ms is None or wake_ms < self._wake_ms):
            self._wake_ms = wake_ms
            self._world.after(self.clock.until_us(wake_ms), self._wake, life, wake_ms)

    def _wake(self, life: int, wake_ms: int) -> None:
        if life == self.life and wake_ms == self._wake_ms:
            self._wake_ms = None
            self._feed(_nothing)

    # --- jobs ---

    def _begin(self, job: Job) -> None:
        self._jobs_begun += 1
        self._running[self._jobs_begun] = job
        self._world.after(self._duration(job), self._finish, self.life, self._jobs_begun)

    def _duration(self, job: Job) -> int:
        pace = self.pace
        if pace.slow_us_max and self._random.random() < 0.5:
            self.slow_jobs += 1
            return self._random.randrange(pace.us_min, pace.slow_us_max)
        duration = self._random.randrange(pace.us_min, pace.us_max)
        return duration * 3 if job.priority is JobPriority.MAINTENANCE else duration

    def stall_disk(self) -> None:
        """From here on no job ends."""
        self.stalled = True

    def unstall_disk(self) -> int:
        """The disk works again; how many jobs it had held up."""
        self.stalled = False
        stuck, self._stuck = self._stuck, []
        for life, number in stuck:
            self._finish(life, number)
        return len(stuck)

    def _finish(self, life: int, number: int) -> None:
        if life != self.life or self.node is None:
            return
        if self.stalled:
            self._stuck.append((life, number))
            return
        job = self._running.pop(number)
        try:
            job.run()
        except (OSError, StorageError) as error:
            self._world.trace.note(self.node_id, "job failed", job.group_id, type(error).__name__)
            self._feed(self.node.job_failed, job, error)
        else:
            self._feed(self.node.job_done, job)


def _nothing() -> None:
    pass
