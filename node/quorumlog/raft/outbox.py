"""What a core wants its host to do, gathered between two Readys.

There are two lists of messages because there are two promises. What goes out *at once* promises nothing that a
crash could take back: a leader's appends and heartbeats, a pre-vote's question. What is *held* waits for the write
it leans on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .types import AppendResponse

if TYPE_CHECKING:
    from .types import Message, ReadState


class Outbox:
    __slots__ = ("at_once", "dropped_reads", "held", "read_states")

    def __init__(self) -> None:
        self.at_once: list[Message] = []
        self.held: list[Message] = []
        """Leave when everything handed out up to and with their Ready is durable."""
        self.read_states: list[ReadState] = []
        self.dropped_reads: list[int] = []

    @property
    def empty(self) -> bool:
        return not (self.at_once or self.held or self.read_states or self.dropped_reads)

    def take(
        self,
    ) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[ReadState, ...], tuple[int, ...]]:
        """Everything, in the order of ``__init__``; nothing is left."""
        taken = (tuple(self.at_once), tuple(self.held), tuple(self.read_states), tuple(self.dropped_reads))
        self.at_once.clear()
        self.held.clear()
        self.read_states.clear()
        self.dropped_reads.clear()
        return taken

    def withdraw_acknowledgements(self, index: int) -> None:
        """Entries at and above ``index`` were truncated before they were ever handed to the disk: an
        acknowledgement of them that has not left either must not, or it would vouch for bytes that no disk
        holds."""
        self.held = [
            message
            for message in self.held
            if not (isinstance(message, AppendResponse) and message.success and message.index >= index)
        ]
