"""The term of every index, in memory, for the price of one pair per change of leader.

The core may ask for any term at any time and must not wait for a disk (``raft.types.Storage.term``); terms never
decrease along a log, so run-length coding keeps a log of a billion entries in a few numbers.
"""

from __future__ import annotations

from bisect import bisect_right

from quorumlog.raft.types import Compacted
from quorumlog.storage.errors import ensure


class TermRuns:
    """Runs of equal terms from ``base`` (the index before the log's first entry) to the end. The caller knows the
    end."""

    __slots__ = ("_firsts", "_terms")

    def __init__(self, base: int, term: int) -> None:
        self._firsts = [base]
        self._terms = [term]

    @property
    def base(self) -> int:
        return self._firsts[0]

    def term(self, index: int) -> int:
        """Raises Compacted below ``base``; ``index`` must not lie beyond the log's end."""
        firsts = self._firsts
        if index >= firsts[-1]:
            return self._terms[-1]
        if index < firsts[0]:
            raise Compacted(f"index {index} is below {firsts[0]}")
        return self._terms[bisect_right(firsts, index) - 1]

    def append(self, index: int, term: int) -> None:
        last = self._terms[-1]
        if term != last:
            ensure(term > last, f"entry {index} of term {term} after one of term {last}")
            self._firsts.append(index)
            self._terms.append(term)

    def truncate(self, index: int) -> None:
        """Forgets everything at and above ``index`` > base."""
        firsts = self._firsts
        while firsts[-1] >= index:
            firsts.pop()
            self._terms.pop()

    def drop_before(self, base: int) -> None:
        """``base`` becomes the oldest index that is known."""
        number = bisect_right(self._firsts, base) - 1
        self._firsts[: number + 1] = [base]
        del self._terms[:number]

    def runs(self, first: int, last: int) -> tuple[tuple[int, int], ...]:
        """(first index of the run, term) of the entries first..last."""
        if last < first:
            return ()
        found = [(first, self.term(first))]
        start = bisect_right(self._firsts, first)
        found += [pair for pair in zip(self._firsts[start:], self._terms[start:], strict=True) if pair[0] <= last]
        return tuple(found)
