"""One simulated client's calls about partitions, each repeated until it has an end.

The retries are plain (the real consumer's commits have their own: ``quorumlog.client.policy.committer``); what
matters is that the outcome is told honestly: once any sending may have been carried out, a later refusal of another
sending says nothing about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.client.policy.backoff import LOOKUP
from quorumlog.replica import Failure, Outcome, Reason
from quorumlog.sim.calls import Lost
from quorumlog.sim.clients import CALL_TIMEOUT_MS, Locator, address_of, node_at
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.sim.calls import Request
    from quorumlog.sim.clients import Shared

    #: Called once with the last answer, whether a sending may have been carried out unseen, and who answered.
    Answered = Callable[[Any, bool, int], None]

#: Worth asking again: the trouble is the cluster's, not the question's.
PASSING = frozenset(
    {
        Reason.NOT_LEADER,
        Reason.NO_QUORUM,
        Reason.OVERLOADED,
        Reason.REPLICA_DAMAGED,
        Reason.SHUTTING_DOWN,
        Reason.DEADLINE,
        Reason.DISK_FULL,
        Reason.UNKNOWN_TOPIC,
        Reason.UNKNOWN_PARTITION,
    }
)


def _at_once(action: Callable[..., None], *arguments: Any) -> None:
    action(*arguments)


class Asker:
    """See the module. ``client`` is the connection's number. ``gate`` lets an action of this client happen: now,
    later (its process is paused), or never (it is dead)."""

    def __init__(self, shared: Shared, gate: Callable[..., None] = _at_once) -> None:
        self.client = shared.new_client()
        self.locator = Locator(shared, self.client)
        self.random = self.locator.random
        self._shared = shared
        self._gate = gate

    def ask(
        self,
        topic: str,
        partition: int,
        request: Request,
        answered: Answered,
        *,
        patience_ms: int = 4000,
        node: int = 0,
        once: bool = False,
    ) -> None:
        """Asks the partition's leader, or ``node``; again while that may help and ``patience_ms`` last, or ``once``
        only: for what has two effects when it is sent twice."""
        shared = self._shared
        deadline_us = shared.world.now_us + patience_ms * MS
        unknown = False
        failures = 0

        def attempt() -> None:
            address = address_of(node) if node else self.locator.router.leader(topic, partition)
            if address is None:
                again(Lost(False))
                return

            def ended(result: Any) -> None:
                nonlocal unknown
                if isinstance(result, Lost):
                    unknown = unknown or result.sent
                    self.locator.lost(address)
                    if once and unknown:
                        answered(result, unknown, 0)
                    else:
                        again(result)
                elif isinstance(result, Failure):
                    unknown = unknown or result.outcome is Outcome.UNKNOWN
                    if result.reason is Reason.NOT_LEADER and not node:
                        hint = address_of(result.leader_node) if result.leader_node else ""
                        self.locator.router.refused(topic, partition, address, hint)
                    if result.reason in PASSING and not (once and unknown):
                        again(result)
                    else:
                        answered(result, unknown, node_at(address))
                else:
                    self.locator.answered()
                    answered(result, unknown, node_at(address))

            shared.calls.call(
                self.client, node_at(address), request, lambda result: self._gate(ended, result), CALL_TIMEOUT_MS
            )

        def again(result: object) -> None:
            nonlocal failures
            failures += 1
            delay_us = int(LOOKUP.delay_ms(failures, self.locator.random) * MS)
            # Also when time is up: whoever asks next must not meet the same silent node, and so for ever.
            self.locator.look_up([topic])
            if shared.world.now_us + delay_us >= deadline_us:
                answered(result, unknown, 0)
            else:
                shared.world.after(delay_us, self._gate, attempt)

        attempt()
