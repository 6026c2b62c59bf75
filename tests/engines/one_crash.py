"""RAFT.md §6, first point: one leader crash while one follower lags, links ordered, no disk fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engines.held_links import HeldTrio
from replica.offset_trio import OffsetTrio

from quorumlog.replica import Appended
from quorumlog.wire.batch import decode_batch

if TYPE_CHECKING:
    from collections.abc import Callable

VALUE_BYTES = 30_000
#: Acknowledged before the trouble begins, and amid it; of these, what PySyncObj keeps.
BEFORE, APPENDS, SURVIVE = 1, 10, 4


class HeldOffsetTrio(OffsetTrio, HeldTrio):
    """Links that can be held, and committed offsets."""


class OneCrash:
    """A record and an owner who begins there; then ten appends and what ``then`` asks for, all acknowledged on the
    word of one follower; then their leader dies.

    ``then`` is given the cluster and its leader, and returns the list that receives the ``answer``.
    """

    def __init__(self, engine: str, then: Callable[[HeldOffsetTrio, int], list[Any]] = lambda *_: []) -> None:
        self.trio = trio = HeldOffsetTrio(records=BEFORE, engine=engine)
        trio.acquire()
        self.leader = leader = trio.led()
        self.quick, self.slow = (node for node in trio.ids if node != leader)
        # The slow follower hears nothing for now; the quick one's acknowledgements are on their way.
        trio.hold(leader, self.slow)
        trio.hold(self.quick, leader)
        appended = [trio.append(leader, [b"old %d " % number + bytes(VALUE_BYTES)]) for number in range(APPENDS)]
        asked = then(trio, leader)
        # Two acknowledgements arrive; what the leader says next is on its way when the others do.
        trio.hold(leader, self.quick)
        trio.let_through(self.quick, leader, 2)
        trio.let_through(self.quick, leader)
        self.acknowledged = [answer[0].base_offset for answer in appended if isinstance(answer[0], Appended)]
        self.answer = asked[0] if asked else None
        self.end_before = self._end_offset(leader)
        # One of the leader's messages still arrives; then it dies, and the other two go on.
        trio.let_through(leader, self.quick, 1)
        trio.kill(leader)
        trio.pass_time(5_000)

    @property
    def end_offset(self) -> int:
        """The end that a reader is told now."""
        return self._end_offset(self.trio.led())

    def _end_offset(self, node: int) -> int:
        return int(self.trio.read(node)[0].end_offset)

    def values_from(self, offset: int) -> list[bytes | None]:
        """What a reader is given now who goes on at ``offset``; a batch is one record here."""
        answer = self.trio.read(self.trio.led(), offset)[0]
        return [record.value for data in answer.batches for record in decode_batch(data)]
