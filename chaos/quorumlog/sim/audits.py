"""A simulated operator who audits: every replica notes its offsets at one index of the log, and all must have noted
the same.

What an audit must never find is judged here and now: replicas that disagree, an offset beyond the end of the log, a
fingerprint that is not that of the record processed. (Checkers see what consumers were told; this sees what lies on
every replica, also where no leader has been since.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.check import EventType
from quorumlog.replica.offset_api import AuditBegun, Finding, Inspection
from quorumlog.sim.asking import Asker
from quorumlog.sim.clients import partition_key
from quorumlog.sim.telling import Teller
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from quorumlog.replica import Failure, PartitionDescription
    from quorumlog.sim.calls import Lost
    from quorumlog.sim.cluster import Cluster

#: Whatever clients do, an audit does not find these.
_NEVER = frozenset({Finding.AHEAD_OF_LOG, Finding.FINGERPRINT_MISMATCH, Finding.REPLICAS_DISAGREE})


class Auditor:
    """Audits one partition now and then."""

    def __init__(self, cluster: Cluster, topic: str, part: PartitionDescription, every_ms: int) -> None:
        self._cluster = cluster
        self._shared = cluster.shared
        self._topic = topic
        self._part = part
        self._every_ms = every_ms
        self._key = partition_key(topic, part.partition)
        self._asker = Asker(self._shared)
        self._teller = Teller(self._shared, self._key)
        self._turns = self._shared.new_turns(f"auditor of {self._key}")
        self._stopped = False
        self._asker.locator.look_up([topic])
        self._later()

    def stop(self) -> None:
        self._stopped = True

    def _later(self) -> None:
        self._shared.world.after(int(self._asker.random.expovariate(1.0 / self._every_ms) * MS) + 1, self._act)

    def _act(self) -> None:
        if self._stopped or not self._turns.present:
            return
        if not self._turns.take():
            self._later()
            return
        topic, partition = self._topic, self._part.partition
        invocation = self._teller.begin("audit")

        def answered(result: AuditBegun | Failure | Lost, unknown: bool, node: int) -> None:
            if isinstance(result, AuditBegun):
                self._inspect(invocation, result)
            else:
                self._teller.refused(invocation, result, unknown, node)
                self._later()

        self._asker.ask(
            topic, partition, lambda node, done: node.offsets.audit(topic, partition, 0, done), answered, once=True
        )

    def _inspect(self, invocation: int, begun: AuditBegun) -> None:
        """Asks every replica what it noted; one that does not answer in time is left out."""
        topic, partition, nodes = self._topic, self._part.partition, self._part.replicas
        noted: dict[int, Inspection] = {}
        unanswered = len(nodes)

        def answered(result: Inspection | Failure | Lost, unknown: bool, node: int) -> None:
            nonlocal unanswered
            unanswered -= 1
            if isinstance(result, Inspection):
                noted[node] = result
            if not unanswered:
                self._teller.end(invocation, EventType.OK, {"index": begun.index, "nodes": sorted(noted)})
                self._judge(begun.index, noted)
                self._later()

        for one in nodes:
            self._asker.ask(
                topic,
                partition,
                lambda node, done: node.offsets.inspect(topic, partition, begun.index, 0, done),
                answered,
                patience_ms=400,
                node=one,
            )

    def _judge(self, index: int, noted: dict[int, Inspection]) -> None:
        contradictions = self._cluster.contradictions
        digests = {found.digest for found in noted.values()}
        if len(digests) > 1:
            told = ", ".join(f"node {node} {found.digest.hex()[:8]}" for node, found in sorted(noted.items()))
            contradictions.append(f"{self._key}: the audit at index {index} differs: {told}")
        for node, found in sorted(noted.items()):
            contradictions += [
                f"{self._key}: node {node} finds {group.finding.name} of {group.group}: {group.explanation}"
                for group in found.groups
                if group.finding in _NEVER
            ]
        if contradictions:
            self._shared.world.halted = True
