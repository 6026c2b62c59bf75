"""Consumer groups as a node serves them: which coordinator a group has, and what is refused at the door.

The coordinator of a group is the leader of partition ``crc32c(id) mod n`` of the internal topic "__groups"; a
client computes the same and finds it in the metadata, like any partition's leader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import google_crc32c

from quorumlog.machine.coordinator_commands import (
    MAX_SESSION_TIMEOUT_MS,
    MAX_TOPICS,
    MIN_SESSION_TIMEOUT_MS,
    GroupPartition,
    JoinGroup,
)
from quorumlog.machine.topics import COORDINATORS_TOPIC, internal_fault
from quorumlog.replica.failures import Failure, Reason
from quorumlog.replica.group_ids import group_fault, id_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.replica.api import Done, NodeConfig
    from quorumlog.replica.catalog import Catalog
    from quorumlog.replica.coordinator import CoordinatorService
    from quorumlog.replica.groups import Groups
    from quorumlog.replica.offset_api import (
        DescribedGroup,
        GroupDropped,
        JoinRequest,
        ListedGroup,
        MemberAssignment,
        MemberLeft,
    )

#: Of a member's description of itself.
MAX_CLIENT = 1_024


def coordinator_of(group: str, partitions: int) -> int:
    """The partition of "__groups" that coordinates ``group``."""
    return int(google_crc32c.value(group.encode())) % partitions


class ConsumerGroups:
    """The node's calls about groups; see ``quorumlog.replica.offset_api`` for what they take and give.

    ``refuse`` says why the node serves nothing, if it does not. ``timeout_ms`` 0: the configured one.
    """

    __slots__ = ("_catalog", "_config", "_groups", "_refuse")

    def __init__(
        self, config: NodeConfig, groups: Groups, catalog: Catalog, refuse: Callable[[], Failure | None]
    ) -> None:
        self._config = config
        self._groups = groups
        self._catalog = catalog
        self._refuse = refuse

    def join(self, request: JoinRequest, timeout_ms: int, done: Done[MemberAssignment]) -> None:
        """Becomes a member, or changes what a member wants. Repeating it is harmless."""
        fault = _join_fault(request)
        if fault is not None:
            done(fault)
            return
        coordinator = self._coordinator(request.group, done)
        if coordinator is None:
            return
        timeout_ms = timeout_ms or self._config.append_timeout_ms
        topics = tuple(sorted(set(request.topics)))

        def known() -> None:
            counts = tuple(self._groups.partitions_of(topic) for topic in topics)
            missing = [topic for topic, count in zip(topics, counts, strict=True) if not count]
            if missing:
                fields = {"topic": missing[0]}
                done(Failure(Reason.UNKNOWN_TOPIC, f"there is no topic {missing[0]!r}", fields=fields))
                return
            command = JoinGroup(
                request.group,
                request.member,
                request.instance,
                request.client,
                topics,
                counts,
                request.strategy,
                request.session_timeout_ms,
            )
            coordinator.join(command, timeout_ms, done)

        def confirmed(current: bool) -> None:
            if current:
                known()
            else:
                done(Failure(Reason.NO_QUORUM, "the controller cannot be asked which topics exist"))

        if all(self._groups.partitions_of(topic) for topic in topics):
            known()
        else:
            self._groups.confirm(confirmed, timeout_ms)

    def heartbeat(
        self,
        group: str,
        member: str,
        generation: int,
        owned: tuple[GroupPartition, ...],
        released: tuple[GroupPartition, ...],
        timeout_ms: int,
        done: Done[MemberAssignment],
    ) -> None:
        """Shows that the member lives; the answer comes once what it gives back has been given on."""
        coordinator = self._coordinator(group, done)
        if coordinator is not None:
            timeout_ms = timeout_ms or self._config.append_timeout_ms
            coordinator.heartbeat(group, member, generation, owned, released, timeout_ms, done)

    def leave(self, group: str, member: str, for_good: bool, timeout_ms: int, done: Done[MemberLeft]) -> None:
        """Ends the membership; a static member's only when ``for_good``."""
        coordinator = self._coordinator(group, done)
        if coordinator is not None:
            coordinator.leave(group, member, for_good, timeout_ms or self._config.append_timeout_ms, done)

    def describe(self, group: str, timeout_ms: int, done: Done[DescribedGroup]) -> None:
        """One group from within; linearizable."""
        coordinator = self._coordinator(group, done)
        if coordinator is not None:
            coordinator.describe(group, timeout_ms or self._config.append_timeout_ms, done)

    def drop(self, group: str, timeout_ms: int, done: Done[GroupDropped]) -> None:
        """Forgets a group that has no members. Its offsets are the partitions' affair."""
        coordinator = self._coordinator(group, done)
        if coordinator is not None:
            coordinator.drop(group, timeout_ms or self._config.append_timeout_ms, done)

    def list(self, timeout_ms: int, done: Done[tuple[ListedGroup, ...]]) -> None:
        """The groups that this node coordinates, by id; linearizable."""
        refusal = self._refuse()
        if refusal is not None:
            done(refusal)
            return
        led = [service for _, service in sorted(self._groups.coordinators.items()) if service.replica.leading]
        found: list[ListedGroup] = []
        failures: list[Failure] = []
        awaited = len(led)

        def listed(answer: tuple[ListedGroup, ...] | Failure) -> None:
            nonlocal awaited
            awaited -= 1
            if isinstance(answer, Failure):
                failures.append(answer)
            else:
                found.extend(answer)
            if not awaited:
                finish()

        def finish() -> None:
            done(failures[0] if failures else tuple(sorted(found, key=lambda group: group.group)))

        for service in led:
            service.list(timeout_ms or self._config.append_timeout_ms, listed)
        if not led:
            finish()

    def topics_changed(self) -> None:
        """The controller's state has changed: groups follow it."""
        for _, service in sorted(self._groups.coordinators.items()):
            service.topics_changed()

    def _coordinator(self, group: str, done: Callable[[Failure], None]) -> CoordinatorService | None:
        """The group's coordinator, if this node has a replica of it; otherwise ``done`` is told why not."""
        refusal = self._refuse() or group_fault(group)
        if refusal is not None:
            done(refusal)
            return None
        partitions = self._groups.partitions_of(COORDINATORS_TOPIC)
        if not partitions:
            done(self._no_coordinators())
            return None
        number = coordinator_of(group, partitions)
        service = self._catalog.coordinator(number)
        if service is None:
            done(self._catalog.why_absent(COORDINATORS_TOPIC, number))
        return service

    def _no_coordinators(self) -> Failure:
        if not self._config.coordinators:
            return Failure(Reason.INVALID_REQUEST, "this cluster has no coordinators", fields={"field": "group"})
        return Failure(Reason.NOT_LEADER, "this node knows of no coordinators yet")


def _join_fault(request: JoinRequest) -> Failure | None:
    """What is wrong with a request, whatever the state of the group."""
    fault = id_fault("member", request.member)
    if fault is None and request.instance:
        fault = id_fault("instance", request.instance)
    if fault is not None:
        return fault
    if not request.topics or len(request.topics) > MAX_TOPICS:
        return _invalid("topics", f"a member wants 1 to {MAX_TOPICS} topics, not {len(request.topics)}")
    for topic in request.topics:
        internal = internal_fault(topic)
        if internal is not None:
            return Failure(Reason.INVALID_TOPIC, internal.why, fields={"topic": topic})
    if not MIN_SESSION_TIMEOUT_MS <= request.session_timeout_ms <= MAX_SESSION_TIMEOUT_MS:
        why = f"a session lasts {MIN_SESSION_TIMEOUT_MS} to {MAX_SESSION_TIMEOUT_MS} ms"
        return _invalid("session_timeout_ms", f"{why}, not {request.session_timeout_ms}")
    if len(request.client) > MAX_CLIENT:
        return _invalid("client", f"a client's description has at most {MAX_CLIENT} characters")
    return None


def _invalid(field: str, why: str) -> Failure:
    return Failure(Reason.INVALID_REQUEST, why, fields={"field": field})
