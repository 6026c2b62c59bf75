"""What stands above and below a replica: the node that holds it, and the service that stands on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from quorumlog.raft.types import Entry, Message
    from quorumlog.replica.api import Job
    from quorumlog.replica.events import Event
    from quorumlog.replica.failures import Failure
    from quorumlog.replica.replica import Replica


class Host(Protocol):
    """What a replica needs of the node that holds it."""

    def now_ms(self) -> int: ...

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch: for what is said to people and for what lasts days."""

    def send(self, group_id: int, message: Message) -> None: ...

    def reachable(self, node_id: int) -> bool:
        """The node is heard, and what is sent to it can leave."""

    def submit(self, job: Job) -> None: ...

    def touch(self, replica: Replica) -> None:
        """Have ``replica.advance`` called before the node's ``process`` returns."""

    def emit(self, event: Event) -> None: ...

    def watch(self, replica: Replica) -> None:
        """Something waits for the replica until a deadline: have its deadlines looked at until nothing does."""

    def opened(self, replica: Replica) -> None:
        """The replica is in the node's table and takes part from here on."""

    def quarantine(self, replica: Replica, why: str) -> None:
        """The replica can no longer be trusted: take it out of service at once."""


class Service(Protocol):
    """What stands on a replica: a partition, a coordinator or the controller."""

    @property
    def start_offset(self) -> int:
        """Records below it are not wanted any more."""

    @property
    def waiting(self) -> int:
        """Requests that wait for something."""

    def flush(self) -> None:
        """The replica is about to take what its core has ready: proposes what has gathered in this round."""

    def tick(self, now_ms: int) -> None:
        """Ends what has waited too long."""

    def close(self, failure: Failure) -> None:
        """The replica goes out of service: what waits is told so."""

    def applied(self, entry: Entry, result: object) -> None:
        """``entry`` was applied; ``result`` is the state machine's answer."""

    def advanced(self) -> None:
        """A run of entries has been applied."""

    def leading(self) -> None:
        """This replica leads and may serve: everything in its log at its election has been applied."""

    def deposed(self) -> None:
        """It did, and does not any more: whatever waits has an unknown outcome."""
