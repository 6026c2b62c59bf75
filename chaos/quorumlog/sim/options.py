"""What a seed decides before its world begins: the cluster, the load, and which faults may happen how often.

A seed is drawn for a *workload*: ``log`` has producers and readers alone; ``offsets`` adds users of single
registers, who keep no rule; ``groups`` adds groups of consumers, who keep them all; ``consumers`` is one of the two
or both, as the seed decides. A seed has the same cluster and the same faults in each.

Swarm testing (Groce et al., 2012): a run with a few kinds of faults reaches states that a run with all of them at
once never sees, because one kind drowns the others. So each seed draws its own subset and rates; a quarter of the
seeds has no fault at all, since a bug that needs none is found nowhere else as easily.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from random import Random

from quorumlog.sim.schedule import NOTHING, Without

#: Every kind of fault that may be drawn (``quorumlog.sim.faults``), with how often it is, relative to the others.
FAULT_WEIGHTS = {
    "kill": 3,
    "kill leader": 4,
    "power loss": 3,
    "power loss of all": 2,
    "stop": 1,
    "rolling restart": 1,
    "pause": 2,
    "pause leader": 2,
    "long pause": 1,
    "clock jump": 1,
    "clock drift": 1,
    "isolate": 2,
    "isolate leader": 3,
    "halves": 2,
    "bridge": 1,
    "chain": 1,
    "ring": 1,
    "deaf": 1,
    "mute": 1,
    "one link": 1,
    "flapping": 1,
    "resets": 2,
    "slow link": 1,
    "narrow link": 1,
    "clients cut off": 1,
    "slow disk": 1,
    "stalled disk": 1,
    "full disk": 1,
    "failed fsync": 2,
    "read errors": 1,
    "write errors": 1,
    "lying fsync": 2,
    "bit flip": 2,
    "stale block": 1,
    "misdirected write": 1,
    "truncation": 1,
    "transfer": 1,
    "transfer storm": 1,
    "new topic": 1,
    "delete topic": 1,
}


class Workload(StrEnum):
    """What clients do; see the module."""

    LOG = "log"
    OFFSETS = "offsets"
    GROUPS = "groups"
    CONSUMERS = "consumers"


@dataclass(frozen=True, slots=True)
class Options:
    """One world's settings. Times in ms of virtual time, sizes in bytes, rates are probabilities per frame."""

    seed: int
    nodes: int = 3
    replication: int = 3
    topics: int = 1
    partitions: int = 1
    tick_ms: int = 50
    faults: tuple[str, ...] = ()
    fault_every_ms: int = 0
    """Between the beginnings of two faults, on average."""
    fault_lasts_ms: int = 0
    """At most."""
    duration_ms: int = 6000
    """Of the first phase, in which the faults happen."""
    producers: int = 2
    idempotent: bool = True
    send_every_ms: int = 25
    """Between two records of one producer, on average."""
    burst: int = 3
    """Records sent at once, at most."""
    record_bytes: int = 40
    """At most."""
    batch_bytes: int = 16 << 10
    codec: str = "NONE"
    """How producers compress batches."""
    delivery_timeout_ms: int = 4000
    read_bytes: int = 4096
    segment_bytes: int = 64 << 10
    retention_bytes: int = 0
    tail_cache_bytes: int = 1 << 20
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    slow_frames: float = 0.0
    resets: float = 0.0
    lost_answers: float = 0.0
    engine: str = "raft"
    link_bytes_per_ms: int = 0
    """Bandwidth of each link between nodes; 0: as much as one likes."""
    drift: float = 0.0
    """How far a node's clock may run fast or slow, as a share."""
    workload: Workload = Workload.LOG
    registers: int = 0
    """Groups whose offset in each partition is used without a rule."""
    owners: int = 2
    """Of each register, who take over from each other."""
    commit_every_ms: int = 60
    """Between two operations of one owner, on average."""
    offset_resets: bool = False
    exclusive: bool = False
    """Owners of registers take them over for themselves alone, with a lease."""
    audit_every_ms: int = 0
    """Between two audits of a partition's offsets, on average; 0: none."""
    groups: int = 0
    """Groups of consumers."""
    members: int = 3
    """Of each group, at most at once."""
    static_members: bool = False
    session_timeout_ms: int = 1500
    commit_interval_ms: int = 300
    process_ms: int = 20
    """That a member takes over a fetch of records, on average."""
    double: bool = False
    """Commits are confirmed by a read-back."""
    members_crash_ms: int = 0
    """Between two deaths of members, on average; 0: none."""
    coordinators: int = 0
    destroy: bool = False
    """Disks may be harmed on every node, in ways that no replica can notice: acknowledged records will be lost."""
    without: Without = NOTHING
    """What of all that the seed draws is left out."""

    @property
    def calm(self) -> bool:
        """No fault of any kind happens."""
        weather = (
            self.loss or self.duplicate or self.reorder or self.slow_frames or self.resets or self.lost_answers
        )
        return not self.faults and not weather

    @property
    def election_ms(self) -> int:
        """The longest that a follower waits for its leader (``NodeConfig.election_ticks`` is 16, drawn from one to
        two times that)."""
        return self.tick_ms * 32

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "without": self.without.told()}


def draw(seed: int, workload: Workload = Workload.LOG) -> Options:
    """The options of ``seed`` in this workload."""
    more = Random(f"{seed}/more")
    options = replace(_draw_log(seed), codec=more.choice(("NONE", "NONE", "GZIP", "ZSTD", "LZ4")))
    if workload is Workload.LOG:
        return options
    return draw_consumers(Random(f"{seed}/consumers"), replace(options, workload=workload))


def draw_consumers(random: Random, options: Options) -> Options:
    """``options`` with what its workload adds to producers and readers."""
    kind = options.workload
    more = Random(f"{options.seed}/more of consumers")
    options = replace(options, audit_every_ms=more.choice((0, 200, 800)), exclusive=more.random() < 0.3)
    if kind is Workload.CONSUMERS:
        kind = random.choice((Workload.OFFSETS, Workload.GROUPS, Workload.GROUPS, Workload.CONSUMERS))
    # Who consumes what is the point here: records come slower, so that a run takes no longer.
    options = replace(
        options,
        producers=min(options.producers, 2),
        send_every_ms=max(options.send_every_ms, 60),
        duration_ms=min(options.duration_ms, 3500),
        topics=1,
    )
    if kind is not Workload.GROUPS:
        options = replace(
            options,
            registers=random.choice((1, 1, 2)),
            owners=random.choice((1, 2, 3)),
            commit_every_ms=random.choice((30, 60, 120)),
            offset_resets=random.random() < 0.4,
        )
    if kind is not Workload.OFFSETS:
        options = replace(
            options,
            partitions=random.choice((1, 2, 3)),
            groups=1 if random.random() < 0.8 else 2,
            members=random.choice((1, 2, 2, 3)),
            read_bytes=max(options.read_bytes, 4096),
            static_members=random.random() < 0.3,
            session_timeout_ms=random.choice((1000, 1500, 3000)),
            commit_interval_ms=random.choice((50, 300, 1000)),
            process_ms=random.choice((2, 20, 80)),
            double=random.random() < 0.25,
            members_crash_ms=0 if options.calm and random.random() < 0.5 else random.choice((500, 1500)),
            coordinators=random.choice((1, 2)),
        )
    return options


def _draw_log(seed: int) -> Options:
    random = Random(f"{seed}/options")
    # Records of a few KiB fill a segment (of 64 KiB, the least a topic may have) every few dozen of them, so that
    # rolling, checkpoints and retention happen within a short run.
    large = random.random() < 0.35
    nodes = 5 if random.random() < 0.12 else 3
    calm = Options(
        seed,
        nodes=nodes,
        replication=3 if nodes == 3 or random.random() < 0.5 else 5,
        topics=random.choice((1, 1, 2)),
        partitions=random.choice((1, 1, 2)),
        tick_ms=random.choice((20, 50, 50)),
        duration_ms=random.randrange(2000, 5000),
        producers=random.choice((1, 2, 3)),
        idempotent=random.random() < 0.85,
        send_every_ms=random.choice((30, 60, 120)),
        burst=random.choice((1, 3, 6)),
        record_bytes=6000 if large else 40,
        batch_bytes=random.choice((256, 16 << 10)),
        delivery_timeout_ms=random.choice((1500, 4000, 8000)),
        read_bytes=random.choice((1, 4096, 64 << 10)),
        retention_bytes=128 << 10 if large and random.random() < 0.6 else 0,
        tail_cache_bytes=random.choice((16 << 10, 1 << 20)),
    )
    if random.random() < 0.25:
        return calm
    names = list(FAULT_WEIGHTS)
    kinds = random.choices(names, [FAULT_WEIGHTS[name] for name in names], k=random.choice((1, 2, 3, 5)))

    def now_and_then(*rates: float) -> float:
        return random.choice(rates) if random.random() < 0.3 else 0.0

    return replace(
        calm,
        faults=tuple(dict.fromkeys(kinds)),
        fault_every_ms=random.choice((150, 400, 1000)),
        fault_lasts_ms=random.choice((150, 800, 2500)),
        loss=now_and_then(0.01, 0.1),
        duplicate=now_and_then(0.02, 0.2),
        reorder=now_and_then(0.02, 0.3),
        slow_frames=now_and_then(0.02, 0.3),
        resets=now_and_then(0.005),
        lost_answers=now_and_then(0.02, 0.1),
        drift=now_and_then(0.001, 0.05),
    )
