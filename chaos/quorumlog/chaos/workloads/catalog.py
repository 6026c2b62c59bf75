"""The workloads by name: what each does, and of which loads it is made.

Their topics have a replica on every node, so that a shape of partition means the same for each of them, and a
minority of the nodes is one of each; those that come and go have the usual number. Sizes that one workload knows
(``Load.settings``): ``groups``, how many groups consume; ``member_processes``, how many members of each are
processes of their own, to be killed and paused; ``churn_ms``, how often on average something happens to a member;
``brief_topics_ms``, how often a topic comes or goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.chaos.workloads.brief_topics import BriefTopics
from quorumlog.chaos.workloads.composed import ComposedWorkload
from quorumlog.chaos.workloads.ground import Ground, Pace, TopicPlan
from quorumlog.chaos.workloads.group_load import GroupLoad
from quorumlog.chaos.workloads.log_load import LogLoad
from quorumlog.chaos.workloads.producers import Sizes
from quorumlog.chaos.workloads.register_load import RegisterLoad
from quorumlog.check import Expectations

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.chaos.workloads.composed import UseOfCluster
    from quorumlog.chaos.workloads.workload import Setting, Workload

#: Where offsets are worked at full speed, the log they are about grows at this.
_SLOW_APPENDS_PER_S = 200
#: Registers with no more operations are searched for a linearization as well: the time that takes grows as they do.
_SEARCH_STEPS = 2_000

#: Small segments, so that they are sealed, checkpointed and dropped all the time.
_SEGMENT_BYTES = 256 << 10
_MAX_BATCH_BYTES = 128 << 10
#: One record in so many is large, up to the topic's limit.
_LARGE_EVERY = 60
#: So large are records where retention works, so that a segment is full after a few seconds.
_KEPT_SHORT_BYTES = 4 << 10
_CODECS = ("none", "lz4", "zstd", "gzip")

#: After healing no partition of a group may be without an owner for so long: a member that was killed is given up
#: after its session, and then the partition has to be acquired.
ORPHAN_MS = 10_000


def log(setting: Setting) -> Workload:
    """Appends and reads: idempotent producers, readers that follow, are moved, or begin afresh."""
    ground = Ground(setting)
    load = setting.load
    topic = TopicPlan(ground.unique("log"), load.partitions, setting.node_count)
    records = LogLoad(
        ground,
        [topic],
        Pace(load.operations_per_s),
        Sizes(load.record_bytes),
        [load.compression],
        producers=load.producers,
        readers=load.readers,
    )
    return ComposedWorkload(ground, [topic], [records])


def registers(setting: Setting) -> Workload:
    """Committed offsets without consumers: owners that fight, watchers, operators that reset."""
    ground = Ground(setting)
    load = setting.load
    topic = TopicPlan(ground.unique("registers"), load.partitions, setting.node_count)
    groups = [ground.unique(f"register-{number}") for number in range(load.registers)]
    # A fifth of the turns make the log grow: offsets need records to stand for.
    records = LogLoad(
        ground,
        [topic],
        Pace(load.operations_per_s / 5 or _SLOW_APPENDS_PER_S),
        Sizes(load.record_bytes),
        [load.compression],
        producers=1,
        readers=0,
    )
    offsets = RegisterLoad(ground, [topic], groups, Pace(load.operations_per_s * 4 / 5), _node_ids(setting))
    return ComposedWorkload(ground, [topic], [records, offsets], groups, Expectations(search_steps=_SEARCH_STEPS))


def groups(setting: Setting) -> Workload:
    """Consumer groups: members come, leave, are killed, hang, and come back."""
    ground = Ground(setting)
    load = setting.load
    topic = TopicPlan(ground.unique("groups"), load.partitions, setting.node_count)
    names = [ground.unique(f"group-{number}") for number in range(ground.size_of("groups", 2))]
    records = LogLoad(
        ground,
        [topic],
        Pace(load.operations_per_s),
        Sizes(load.record_bytes),
        [load.compression],
        producers=load.producers,
        readers=0,
    )
    members = GroupLoad(
        ground,
        [topic],
        names,
        members=load.members,
        processes=ground.size_of("member_processes", 1),
        churn_s=ground.size_of("churn_ms", 2_000) / 1000,
    )
    return ComposedWorkload(ground, [topic], [records, members], names, Expectations(orphan_ms=ORPHAN_MS))


def mixed(setting: Setting) -> Workload:
    """All of these over the same topics, with codecs, large records and retention at work; topics come and go."""
    ground = Ground(setting)
    load = setting.load
    pace = load.operations_per_s
    main = TopicPlan(
        ground.unique("mixed"),
        load.partitions,
        setting.node_count,
        segment_bytes=_SEGMENT_BYTES,
        max_batch_bytes=_MAX_BATCH_BYTES,
    )
    kept_short = TopicPlan(
        ground.unique("kept-short"),
        1,
        setting.node_count,
        segment_bytes=_SEGMENT_BYTES,
        retention_bytes=2 * _SEGMENT_BYTES,
        max_batch_bytes=_MAX_BATCH_BYTES,
    )
    brief = TopicPlan(ground.unique("brief"), 1)
    register_groups = [ground.unique(f"register-{number}") for number in range(min(load.registers, 2))]
    consumer_groups = [ground.unique(f"group-{number}") for number in range(ground.size_of("groups", 1))]
    sizes = Sizes(load.record_bytes, _MAX_BATCH_BYTES, _LARGE_EVERY)
    loads: list[UseOfCluster] = [
        LogLoad(
            ground,
            [main],
            Pace(pace * 0.5),
            sizes,
            [load.compression] if load.compression != "none" else _CODECS,
            producers=load.producers,
            readers=load.readers,
        ),
        LogLoad(
            ground,
            [kept_short],
            Pace(pace * 0.15 or _SLOW_APPENDS_PER_S),
            Sizes(_KEPT_SHORT_BYTES),
            ["none"],
            producers=1,
            readers=1,
        ),
        RegisterLoad(ground, [main], register_groups, Pace(pace * 0.35), _node_ids(setting)),
        GroupLoad(
            ground,
            [main, kept_short],
            consumer_groups,
            members=load.members,
            processes=ground.size_of("member_processes", 0),
            churn_s=ground.size_of("churn_ms", 2_000) / 1000,
        ),
        BriefTopics(ground, brief, ground.size_of("brief_topics_ms", 1_500) / 1000),
    ]
    expectations = Expectations(
        orphan_ms=ORPHAN_MS, search_steps=_SEARCH_STEPS, retention=frozenset(kept_short.partition_keys())
    )
    return ComposedWorkload(ground, [main, kept_short], loads, [*register_groups, *consumer_groups], expectations)


def _node_ids(setting: Setting) -> range:
    return range(1, setting.node_count + 1)


WORKLOADS: dict[str, Callable[[Setting], Workload]] = {
    "log": log,
    "registers": registers,
    "groups": groups,
    "mixed": mixed,
}


def workload_named(name: str, setting: Setting) -> Workload:
    """A workload in its setting. Raises KeyError for a name that is none of ``WORKLOADS``."""
    return WORKLOADS[name](setting)
