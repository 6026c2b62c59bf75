"""Replicas are processes with different hash seeds: the same log must make the same state in each of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys

from machine.logs import Controller, Log

from quorumlog.machine import (
    AlterTopic,
    ControllerMachine,
    CreateTopic,
    DeleteTopic,
    OpenProducer,
    PartitionMachine,
    TopicConfig,
)
from quorumlog.machine.offset_commands import Acquire, Audit, CommitItem, Commits


def state_after_a_long_history() -> str:
    """Digests and snapshots of both machines, after a history drawn from a fixed seed."""
    draw = random.Random(2014)
    controller = Controller(ControllerMachine(max_named_producers=5))
    log, partition = Log(), PartitionMachine(max_sessions=5, max_groups=10)
    sequences: dict[int, int] = {}
    for step in range(400):
        name = f"topic-{draw.randrange(12)}"
        config = TopicConfig(draw.randrange(1, 5), draw.randrange(4))
        match draw.randrange(4):
            case 0:
                controller(CreateTopic(name, config, tuple(draw.sample(range(1, 8), 5))))
            case 1:
                controller(DeleteTopic(name))
            case 2:
                controller(AlterTopic(name, retention_ms=step, segment_bytes=1 << 20))
            case _:
                controller(OpenProducer(f"producer-{draw.randrange(12)}"))
        producer_id, records = draw.randrange(1, 12), draw.randrange(1, 4)
        sequence = sequences.get(producer_id, 0)
        partition.apply(log.data(records, producer_id=producer_id, sequence=sequence))
        sequences[producer_id] = sequence + records
        group, session = f"group-{draw.randrange(12)}", draw.randrange(1, 4)
        partition.apply(log.command(Acquire(step, 1, group, "owner", session, 0, False, 0)))
        items = tuple(CommitItem(f"group-{each}", step, 1 + step % 3, session, step) for each in range(12))
        partition.apply(log.command(Commits(step, 1, items)))
    partition.apply(log.command(Audit()))
    machines = (controller.machine, partition)
    return "\n".join(f"{machine.digest.hex()} {machine.snapshot().hex()}" for machine in machines)


def test_the_hash_seed_of_a_process_does_not_show() -> None:
    states = set()
    for seed in ("0", "1", "4242"):
        environment = dict(os.environ, PYTHONHASHSEED=seed, PYTHONPATH=os.pathsep.join(sys.path))
        program = "import machine.test_machine_determinism as m; print(m.state_after_a_long_history())"
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        states.add(run.stdout.strip())
    assert states == {state_after_a_long_history()}
    assert len(states.pop()) > 1000
