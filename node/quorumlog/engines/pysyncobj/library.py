"""PySyncObj itself, with its surroundings handed in: the only module that reaches into the library.

A ``SyncObj`` reads a clock and a random number generator that are global to the process, and makes its journal from
a file name inside its constructor. A node's logic may do neither (DESIGN.md §2): so four names of the module
``pysyncobj.syncobj`` are replaced, once, when this one is imported.

- ``monotonicTime``: the clock of the core whose turn it is; the real one outside of any turn;
- ``random``: likewise its generator (election time-outs; nothing else in the module draws);
- ``createJournal``: takes a ``Journal`` that is one already; a file name means what it always did;
- ``PIPE_NOTIFIER_ENABLED``: False. With ``appendEntriesUseBatch=False`` the library would open a pipe per object to
  wake a poll() that nobody sits in.

Nothing else is patched, and no private name of the library (``_SyncObj__…``) is touched. Commands are handed over
by ``_applyCommand`` and put into the log by ``_checkCommandsToApply``; both are what its own ``@replicated`` and
``_onTick`` call. A command's first byte is its type: ours are types the library does not know, which it
replicates and then passes over when it applies, without unpickling anything; the core reads applied commands
from the journal.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from pysyncobj import SyncObj, SyncObjConf, syncobj
from pysyncobj.config import FAIL_REASON
from pysyncobj.journal import FileJournal, Journal
from pysyncobj.node import Node as _LibraryNode
from pysyncobj.transport import Transport

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

__all__ = ["FAIL_REASON", "FileJournal", "Journal", "Member", "Surroundings", "SyncObj", "SyncObjConf", "Transport"]

#: Milliseconds that sending one MiB in one turn counts for on the library's clock. It pushes the whole of its log
#: at a follower that is behind, and only stops to do something else when its own clock says that it has been long
#: at it; within a turn ours stands still, so bytes must count as time or a turn would never end.
MS_PER_MIB_SENT = 100


class Surroundings:
    """One core's clock and chance, in force between ``enter`` and ``leave``. Turns do not nest."""

    __slots__ = ("_now_ms", "_sent_bytes", "_started_ms", "rng")

    def __init__(self, now_ms: Callable[[], int], rng: random.Random) -> None:
        self._now_ms = now_ms
        self._started_ms = 0
        self._sent_bytes = 0
        self.rng = rng

    def enter(self) -> None:
        self._started_ms = self._now_ms()
        self._sent_bytes = 0
        _turn.surroundings = self

    def leave(self) -> None:
        _turn.surroundings = None

    def sent(self, size: int) -> None:
        """The turn has given ``size`` bytes to the transport."""
        self._sent_bytes += size

    def now_s(self) -> float:
        # From 1: the library takes 0 for a time that is over.
        return 1.0 + (self._started_ms + (self._sent_bytes * MS_PER_MIB_SENT >> 20)) / 1000


class _Turn(threading.local):
    """Whose turn it is, per thread: a process may run several nodes in threads of their own (tests do)."""

    surroundings: Surroundings | None = None


_turn = _Turn()
_real_time: Callable[[], float] = syncobj.monotonicTime
_real_random = syncobj.random
_real_journal = syncobj.createJournal


def _monotonic_time() -> float:
    surroundings = _turn.surroundings
    return surroundings.now_s() if surroundings is not None else _real_time()


class _Random:
    """Stands for the module ``random`` in ``pysyncobj.syncobj``."""

    @staticmethod
    def random() -> float:
        surroundings = _turn.surroundings
        return surroundings.rng.random() if surroundings is not None else _real_random.random()


def _create_journal(journal: Any = None) -> Any:
    return journal if isinstance(journal, Journal) else _real_journal(journal)


syncobj.monotonicTime = _monotonic_time
syncobj.random = _Random
syncobj.createJournal = _create_journal
syncobj.PIPE_NOTIFIER_ENABLED = False


class Member(_LibraryNode):  # type: ignore[misc]  # the library has no types
    """One member of a group as the library knows it, named by its replica id.

    The library keeps its members in sets and sends in their order, which follows from their hashes: a string's
    differs from process to process, and no run could be repeated.
    """

    def __init__(self, replica: int) -> None:
        super().__init__(str(replica))
        self.replica = replica

    def __hash__(self) -> int:
        return self.replica


class _FewWords(logging.Filter):
    """Passes the 1st, 2nd, 4th, 8th … time that the library says the same thing.

    It says "truncating already-applied log entries" whenever a message that it sent twice arrives, which is all the
    time (RAFT.md §6); a log full of it would hide what matters.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        said = self._said[record.msg] = self._said.get(record.msg, 0) + 1
        return said & (said - 1) == 0


logging.getLogger("pysyncobj.syncobj").addFilter(_FewWords())
