"""The demonstration's judge: what was read against what was fed, line by line, and by key in order."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from quorumlog.cluster.failures import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHOWN_BYTES = 60


class Comparison:
    """Takes the records read, in the order of each partition, and says at the end whether they are the input.

    A key's records all lie in one partition, so their order there must be the order of the file's lines.
    """

    def __init__(self, lines_by_key: Mapping[bytes, Sequence[bytes]]) -> None:
        self._expected = lines_by_key
        self._read: dict[bytes, list[bytes]] = {key: [] for key in lines_by_key}
        self._partitions: dict[bytes, int] = {}
        self.records = 0

    def take(self, partition: int, key: bytes | None, value: bytes | None) -> None:
        """One record read. Raises VerificationFailed for a key nobody wrote, or one found in two partitions."""
        if key not in self._read or value is None:
            raise VerificationFailed(f"a record that nobody wrote: key {key!r} in partition {partition}")
        assert key is not None
        if self._partitions.setdefault(key, partition) != partition:
            raise VerificationFailed(f"key {key!r} is in partitions {self._partitions[key]} and {partition}")
        self._read[key].append(value)
        self.records += 1

    def finish(self) -> None:
        """Raises VerificationFailed that says what is lost, there twice, or out of order."""
        complaints: list[str] = []
        lost = twice = disordered = 0
        for key, expected in self._expected.items():
            read = self._read[key]
            if read == expected:
                continue
            missing = Counter(expected) - Counter(read)
            surplus = Counter(read) - Counter(expected)
            lost += missing.total()
            twice += surplus.total()
            disordered += not missing and not surplus
            if len(complaints) < 3:
                complaints.append(self._first_difference(key, expected, read))
        if complaints:
            raise VerificationFailed(
                f"{lost:,} lines lost, {twice:,} there twice, {disordered:,} files out of order:\n  "
                + "\n  ".join(complaints)
            )

    @staticmethod
    def _first_difference(key: bytes, expected: Sequence[bytes], read: Sequence[bytes]) -> str:
        pairs = enumerate(zip(expected, read, strict=False), 1)
        number = next(
            (number for number, (left, right) in pairs if left != right), min(len(expected), len(read)) + 1
        )
        found = repr(read[number - 1][:SHOWN_BYTES]) if number <= len(read) else "nothing"
        wanted = repr(expected[number - 1][:SHOWN_BYTES]) if number <= len(expected) else "the end"
        return f"{key.decode(errors='replace')}, line {number}: read {found}, not {wanted}"
