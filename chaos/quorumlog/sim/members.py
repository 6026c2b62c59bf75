"""Simulated members of consumer groups: the real client's membership, commit and progress policies
(``quorumlog.client.policy``) over simulated connections.

A ``Member`` is one process: it joins, gives signs of life, and sends the commits of all its partitions; what it
does with one partition stands in ``holdings``. It can be paused, and killed without a word. Everything told,
processed and committed goes into the history.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import google_crc32c

from quorumlog.check import EventType
from quorumlog.client.errors import QuorumlogError, Reason
from quorumlog.client.offset_types import TopicPartition
from quorumlog.client.policy.backoff import LOOKUP
from quorumlog.client.policy.committer import Committer
from quorumlog.client.policy.membership import Answer, Heartbeat, Join, Leave, Membership
from quorumlog.client.receipt import Receipt
from quorumlog.machine.coordinator_commands import Strategy
from quorumlog.machine.offset_commands import CommitItem, Fingerprint
from quorumlog.machine.topics import COORDINATORS_TOPIC
from quorumlog.replica import Failure
from quorumlog.replica.offset_api import CommittedOffset, JoinRequest, MemberAssignment, MemberLeft
from quorumlog.sim.asking import Asker
from quorumlog.sim.calls import Lost
from quorumlog.sim.clients import CALL_TIMEOUT_MS, client_error, node_at, partition_key
from quorumlog.sim.holdings import Holding
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.client.policy.committer import Attempt, CommitCall
    from quorumlog.replica import Node
    from quorumlog.sim.clients import Shared
    from quorumlog.sim.options import Options

_CALL_FAILED = (Failure, Lost)


class Member:
    """See the module. ``over``: the process has ended, by itself or not."""

    def __init__(
        self, shared: Shared, group: str, topics: tuple[str, ...], options: Options, instance: str
    ) -> None:
        self.shared = shared
        self.group = group
        self.options = options
        self.over = False
        self.process_ms = options.process_ms
        """That the application takes over what it is handed, on average."""
        self.asker = Asker(shared, self.gate)
        self.committer = Committer(self.asker.locator.router, self.asker.random, timeout_ms=4000.0)
        self.membership = Membership(
            group,
            topics,
            self.asker.random,
            instance=instance,
            client="sim",
            session_timeout_ms=options.session_timeout_ms,
        )
        self.holdings: dict[TopicPartition, Holding] = {}
        self._paused = False
        self._backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._process = shared.new_process()
        self._told: tuple[int, tuple[TopicPartition, ...]] | None = None
        self._giving_back: dict[TopicPartition, tuple[Holding, int]] = {}
        self._closing = False
        self._poll_planned_us: int | None = None
        self._failures = 0
        self.asker.locator.watch(lambda: self.poll_soon(0))
        self.asker.locator.look_up([COORDINATORS_TOPIC, *topics])
        self.poll_soon(0)

    def holds(self, topic: str, partition: int) -> bool:
        """It has the partition in hand."""
        return TopicPartition(topic, partition) in self.holdings

    # --- life ---

    def gate(self, action: Callable[..., None], *arguments: Any) -> None:
        """Everything that happens in this process goes through here."""
        if self.over:
            return
        if self._paused:
            self._backlog.append((action, arguments))
        else:
            action(*arguments)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        """Goes on as if nothing had been."""
        self._paused = False
        backlog, self._backlog = self._backlog, []
        for action, arguments in backlog:
            self.gate(action, *arguments)

    def kill(self) -> None:
        """The process is gone; what was under way has an unknown outcome."""
        self.over = True
        for holding in self.holdings.values():
            holding.die()
        for holding, invocation in self._giving_back.values():
            holding.teller.end(invocation, EventType.INFO)
        self.holdings.clear()
        self._giving_back.clear()

    def close(self) -> None:
        """Finishes what is in hand, commits it, gives everything back and leaves; then ``over``."""
        self.gate(self._close)

    def _close(self) -> None:
        self._closing = True
        for holding in self.holdings.values():
            holding.stop()
        self.poll_soon(0)

    # --- what to do next ---

    def poll_soon(self, delay_us: int) -> None:
        """Has everything looked at in ``delay_us`` at the latest."""
        at_us = self.shared.world.now_us + delay_us
        if self._poll_planned_us is None or at_us < self._poll_planned_us:
            self._poll_planned_us = at_us
            self.shared.world.after(delay_us, self.gate, self._poll, at_us)

    def _poll(self, planned_us: int) -> None:
        if planned_us != self._poll_planned_us:
            return
        self._poll_planned_us = None
        now_ms = self.shared.now_ms
        for holding in list(self.holdings.values()):
            holding.poll(now_ms)
        if self._closing and not self.holdings:
            self.membership.leave(for_good=False)
        call = self.membership.poll(now_ms)
        if call is not None:
            self._call_coordinator(call)
        if self._closing and self.membership.over:
            self.over = True
            return
        work = self.committer.poll(now_ms)
        for commit in work.calls:
            self._send_commits(commit)
        if work.unrouted or work.doubtful:
            self.asker.locator.look_up(sorted({*work.unrouted, *work.doubtful}))
        wakes = [work.wake_at_ms, self.membership.wake_at_ms()]
        wakes += [holding.wake_at_ms() for holding in self.holdings.values()]
        soonest = min((wake for wake in wakes if wake is not None), default=None)
        if soonest is not None:
            self.poll_soon(max(1, int((soonest - now_ms) * MS) + 1))

    # --- the coordinator ---

    def _call_coordinator(self, call: Join | Heartbeat | Leave) -> None:
        router = self.asker.locator.router
        topic = router.topic(COORDINATORS_TOPIC)
        address = None
        partition = 0
        if topic is not None and topic.partitions:
            partition = google_crc32c.value(self.group.encode()) % len(topic.partitions)
            address = router.leader(COORDINATORS_TOPIC, partition)
        if address is None:
            self._not_answered(call, Lost(False))
            return
        request, timeout_ms = self._request(call), CALL_TIMEOUT_MS
        asked = address

        def answered(result: MemberAssignment | MemberLeft | Failure | Lost) -> None:
            if isinstance(result, _CALL_FAILED):
                if isinstance(result, Lost):
                    self.asker.locator.lost(asked)
                else:
                    router.refused(COORDINATORS_TOPIC, partition, asked, client_error(result).leader)
                self._not_answered(call, result)
                return
            self._failures = 0
            self.asker.locator.answered()
            if isinstance(result, MemberLeft):
                self.membership.left()
            else:
                self._assigned(call, result)
            self.poll_soon(0)

        self.shared.calls.call(
            self.asker.client,
            node_at(address),
            request,
            lambda result: self.gate(answered, result),
            timeout_ms,
        )

    def _request(self, call: Join | Heartbeat | Leave) -> Callable[[Node, Callable[[Any], None]], object]:
        if isinstance(call, Join):
            join = JoinRequest(
                call.group,
                call.member,
                call.instance,
                call.client,
                call.topics,
                Strategy(int(call.strategy)),
                call.session_timeout_ms,
            )
            return lambda node, done: node.consumer_groups.join(join, 0, done)
        if isinstance(call, Heartbeat):
            owned = tuple((each.topic, each.partition) for each in call.owned)
            released = tuple((each.topic, each.partition) for each in call.released)
            return lambda node, done: node.consumer_groups.heartbeat(
                call.group, call.member, call.generation, owned, released, 0, done
            )
        return lambda node, done: node.consumer_groups.leave(call.group, call.member, call.for_good, 0, done)

    def _not_answered(self, call: Join | Heartbeat | Leave, result: Failure | Lost) -> None:
        self._failures += 1
        self.asker.locator.look_up([COORDINATORS_TOPIC])
        error = client_error(result)
        lost = self.membership.failed(error, self.shared.now_ms)
        if error.reason in (Reason.UNKNOWN_MEMBER, Reason.UNKNOWN_GROUP):
            for partition in lost:
                holding = self.holdings.get(partition)
                if holding is not None:
                    holding.lose()
            for holding, invocation in self._giving_back.values():
                holding.teller.end(invocation, EventType.FAIL, error=error.reason.name)
            self._giving_back.clear()
            self.membership.dropped()
        if self.membership.error is not None:
            # Another process has come under this one's instance name.
            self.kill()
            return
        self.poll_soon(int(LOOKUP.delay_ms(self._failures, self.asker.random) * MS))

    def _assigned(self, call: Join | Heartbeat | Leave, result: MemberAssignment) -> None:
        assigned = tuple(TopicPartition(*each) for each in result.assigned)
        pending = tuple(TopicPartition(*each) for each in result.pending)
        told = (result.generation, assigned)
        if told != self._told:
            self._told = told
            shared = self.shared
            value = {
                "member": self.membership.member,
                "generation": result.generation,
                "partitions": [partition_key(*each) for each in assigned],
            }
            invocation = shared.recorder.invoke(shared.now_ns, self._process, "assigned", self.group, value)
            shared.recorder.complete(shared.now_ns, invocation, EventType.OK)
        change = self.membership.answered(
            Answer(result.generation, assigned, pending, result.heartbeat_interval_ms)
        )
        if isinstance(call, Heartbeat):
            for partition in call.released:
                known = self._giving_back.pop(partition, None)
                if known is not None:
                    known[0].teller.end(known[1], EventType.OK)
        for partition in change.revoked:
            holding = self.holdings.get(partition)
            if holding is not None:
                holding.stop()
            else:
                self.membership.gave_back([partition])
        for partition in change.gained:
            self.take(partition)

    def take(self, partition: TopicPartition) -> None:
        """Begins to own the partition."""
        if not self._closing:
            self.holdings[partition] = Holding(self, partition)

    def gave_back(self, holding: Holding) -> None:
        """The holding has ended in order: it goes back with the next heartbeat."""
        invocation = holding.teller.begin("give_back", {"member": holding.member_id})
        self._giving_back[holding.partition] = (holding, invocation)
        self.lost(holding)
        self.membership.gave_back([holding.partition])

    def lost(self, holding: Holding) -> None:
        """The holding has ended."""
        if self.holdings.get(holding.partition) is holding:
            del self.holdings[holding.partition]
        self.poll_soon(0)

    # --- commits ---

    def _send_commits(self, call: CommitCall) -> None:
        attempts = call.attempts

        def request(node: Node, done: Callable[[Any], None]) -> None:
            results: dict[int, CommittedOffset | Failure] = {}

            def one(place: int, result: CommittedOffset | Failure) -> None:
                results[place] = result
                if len(results) == len(attempts):
                    done([results[place] for place in range(len(attempts))])

            for place, attempt in enumerate(attempts):
                node.offsets.commit(
                    attempt.topic,
                    attempt.partition,
                    _item(attempt),
                    call.timeout_ms,
                    partial(one, place),
                )

        def answered(results: list[CommittedOffset | Failure] | Lost) -> None:
            now_ms = self.shared.now_ms
            if isinstance(results, Lost):
                self.asker.locator.lost(call.address)
                self.committer.broken(call.address, call.correlation, client_error(results), now_ms)
            else:
                told = [_result(attempt, result) for attempt, result in zip(attempts, results, strict=True)]
                self.committer.answered(call.address, call.correlation, told, now_ms)
            self.poll_soon(0)

        self.shared.calls.call(
            self.asker.client,
            node_at(call.address),
            request,
            lambda result: self.gate(answered, result),
            call.timeout_ms + 500,
        )


def _item(attempt: Attempt) -> CommitItem:
    fingerprint = attempt.fingerprint
    return CommitItem(
        attempt.group,
        attempt.offset,
        attempt.owner_epoch,
        attempt.session,
        attempt.sequence,
        None if fingerprint is None else Fingerprint(*fingerprint),
        attempt.metadata,
    )


def _result(attempt: Attempt, result: CommittedOffset | Failure) -> Receipt | QuorumlogError:
    if isinstance(result, Failure):
        return client_error(result)
    attempt.duplicate = result.duplicate
    return Receipt(attempt.group, attempt.topic, attempt.partition, result.offset, result.version, result.term)
