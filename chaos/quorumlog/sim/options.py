"""What a seed decides before its world begins: the cluster, the load, and which faults may happen how often.

Swarm testing (Groce et al., 2012): a run with a few kinds of faults reaches states that a run with all of them at
once never sees, because one kind drowns the others. So each seed draws its own subset and rates; a quarter of the
seeds has no fault at all, since a bug that needs none is found nowhere else as easily.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from random import Random

#: Every kind of fault the nemesis knows (``quorumlog.sim.faults``), with how often it is drawn, relative to the
#: others.
FAULT_WEIGHTS = {
    "kill": 3,
    "kill leader": 4,
    "power loss": 3,
    "power loss of all": 2,
    "stop": 1,
    "pause": 2,
    "pause leader": 2,
    "isolate": 2,
    "isolate leader": 3,
    "halves": 2,
    "bridge": 1,
    "ring": 1,
    "deaf": 1,
    "mute": 1,
    "one link": 1,
    "resets": 2,
    "slow disk": 1,
    "full disk": 1,
    "failed fsync": 2,
    "transfer": 2,
    "new topic": 1,
    "clients cut off": 1,
    "clock jump": 1,
}


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
    drift: float = 0.0
    """How far a node's clock may run fast or slow, as a share."""

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
        return asdict(self)


def draw(seed: int) -> Options:
    """The options of ``seed``."""
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
