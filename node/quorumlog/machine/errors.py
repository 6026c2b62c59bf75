"""How a state machine fails, told apart by who must act.

Three families, never mixed:

- ``MachineInvariantViolated``: a bug, or replicas that no longer agree. The replica stops: every further entry
  would be applied on top of something that is not what the other replicas have.
- ``TooNew``: nothing is wrong but this program's age. The replica stops too, and serves again after an upgrade;
  skipping an entry one does not understand would be divergence.
- ``AppendRefused``: the producer's batch is not the one to come next. The partition is well; the client must act.

A command that is understood but may not be done (a topic that exists, too few nodes) is none of these: the refusal
is the command's *result* and is replicated like any other (``quorumlog.machine.results``).
"""

from __future__ import annotations


class MachineError(Exception):
    """Whatever a machine or its gate raises."""


class MachineInvariantViolated(MachineError):
    """The log or the machine contradicts itself: a bug, or divergence. The machine is unchanged; stop the
    replica."""


class TooNew(MachineError):
    """A newer version of quorumlog wrote this. The machine is unchanged; stop the replica until it is upgraded."""


class UnknownCommand(TooNew):
    """A log entry whose kind, command or command version this program does not know."""


class SnapshotTooNew(TooNew):
    """A snapshot in a format later than the one this program writes."""


class MalformedSnapshot(MachineError):
    """Not a snapshot of this kind of machine, or not a whole one. The checkpoint file's own checksum has already
    caught bad disks, so this is the wrong file or a bug."""


class AppendRefused(MachineError):
    """This sending of the batch had no effect and never will. Of *earlier* sendings of the same batch it says
    nothing."""

    def __init__(self, message: str, producer_id: int) -> None:
        super().__init__(message)
        self.producer_id = producer_id


class OutOfSequence(AppendRefused):
    """The batch does not begin at the producer's next sequence, and is not a repeat that is still remembered."""

    def __init__(self, producer_id: int, producer_epoch: int, expected_sequence: int, base_sequence: int) -> None:
        super().__init__(
            f"producer {producer_id} epoch {producer_epoch}: expected sequence {expected_sequence},"
            f" the batch begins at {base_sequence}",
            producer_id,
        )
        self.producer_epoch = producer_epoch
        self.expected_sequence = expected_sequence
        self.base_sequence = base_sequence

    @property
    def before_remembered(self) -> bool:
        """The batch lies before what is expected: an earlier sending of it, or of some of its records, was
        appended, but too long ago for its offset to be remembered. Otherwise it would leave a gap."""
        return self.base_sequence < self.expected_sequence


class ProducerFenced(AppendRefused):
    """A newer instance of the producer has appended, or is about to: its epoch is ``current_epoch``."""

    def __init__(self, producer_id: int, producer_epoch: int, current_epoch: int) -> None:
        super().__init__(
            f"producer {producer_id}: epoch {producer_epoch} is fenced by epoch {current_epoch}", producer_id
        )
        self.producer_epoch = producer_epoch
        self.current_epoch = current_epoch


def ensure(condition: bool, message: str) -> None:
    """Assert an invariant, also under ``python -O``. Raises MachineInvariantViolated(message).

    Where the message is costly to build, or the path is hot, write the ``if`` out instead.
    """
    if not condition:
        raise MachineInvariantViolated(message)
