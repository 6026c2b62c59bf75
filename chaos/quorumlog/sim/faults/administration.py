"""What operators do while everything else happens: hand leadership over, make topics and remove them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from quorumlog.sim.faults import Fault, Undo
    from quorumlog.sim.nemesis import Nemesis


def _hand_over(nemesis: Nemesis, answers: list[object]) -> bool:
    """Asks a partition's leader to hand it to another replica; False if there is nobody to ask."""
    cluster, random = nemesis.cluster, nemesis.random
    if not cluster.topics:
        return False
    topic, partition = random.choice(cluster.partitions())
    leader = cluster.leader(partition.group_id)
    if leader is None:
        return False
    to = random.choice(partition.replicas)
    cluster.calls.call(
        cluster.shared.new_client(),
        leader,
        lambda node, done: node.transfer_leadership(topic, partition.partition, to, done),
        answers.append,
        1000,
    )
    return True


def transfer(nemesis: Nemesis) -> Undo | None:
    """Somebody asks for leadership to be handed to another node."""
    answers: list[object] = []
    return (lambda: len(answers)) if _hand_over(nemesis, answers) else None


def transfer_storm(nemesis: Nemesis) -> Undo | None:
    """Leadership is handed over again and again, before anybody has come to rest."""
    random = nemesis.random
    pause_us = random.choice((5, 20, 100)) * MS
    answers: list[object] = []
    over = False

    def again() -> None:
        if not over:
            nemesis.random = random
            _hand_over(nemesis, answers)
            nemesis.later(random.randrange(MS, pause_us), again)

    def undo() -> int:
        nonlocal over
        over = True
        return len(answers)

    again()
    return undo


def new_topic(nemesis: Nemesis) -> Undo | None:
    """A topic is made while all this goes on."""
    cluster = nemesis.cluster
    name = nemesis.new_topic_name()
    made: list[str] = []

    def exists() -> None:
        made.append(name)
        nemesis.extra_topics.append(name)

    cluster.create_topic(name, cluster.topic_config, exists)
    return lambda: len(made)


def delete_topic(nemesis: Nemesis) -> Undo | None:
    """A topic that nobody needs is removed while all this goes on; one is made first if there is none."""
    if not nemesis.extra_topics:
        return new_topic(nemesis)
    name = nemesis.extra_topics.pop(nemesis.random.randrange(len(nemesis.extra_topics)))
    gone: list[str] = []
    nemesis.cluster.delete_topic(name, lambda: gone.append(name))
    return lambda: len(gone)


FAULTS: dict[str, Fault] = {
    "transfer": transfer,
    "transfer storm": transfer_storm,
    "new topic": new_topic,
    "delete topic": delete_topic,
}
