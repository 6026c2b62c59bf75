"""The judge: were all records processed, is every repeat explained by a kill, did any commit go back?

Pure; its witnesses are the consumers' journals and the log itself, as read back at the end.

A repeat is *explained* when a consumer that was killed (or had lost the partition) had processed that very record
and had not learned that its commit was durable. Each such consumer explains one repeat of each record that it had
exposed, no more: so a record processed three times needs two of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from quorumlog.cluster.demo_offsets.journal import Line

SHOWN = 3

Place = tuple[int, int]
"""(partition, offset)."""


@dataclass(slots=True)
class Account:
    """What the journals come to. ``complaints`` is empty if every promise was kept."""

    records: int = 0
    processed: int = 0
    repeats: int = 0
    #: Records that consumers had processed without knowing them committed when they were killed; when they lost a
    #: partition otherwise.
    exposed_by_kills: int = 0
    exposed_by_losses: int = 0
    commits: int = 0
    complaints: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Told:
    """One journal, read through."""

    processed: list[Place] = field(default_factory=list)
    killed_exposed: list[Place] = field(default_factory=list)
    lost_exposed: list[Place] = field(default_factory=list)


def settle(log: Mapping[int, Sequence[int]], journals: Iterable[Sequence[Line]]) -> Account:
    """The account. ``log``: by partition, the CRC32 of every record's value in order, from offset 0."""
    account = Account(records=sum(map(len, log.values())))
    counts: Counter[Place] = Counter()
    excuses: Counter[Place] = Counter()
    commits: dict[tuple[int, int], set[int]] = {}
    strangers: list[Place] = []
    for journal in journals:
        told = _read(journal, log, strangers, commits)
        counts.update(told.processed)
        excuses.update(told.killed_exposed)
        excuses.update(told.lost_exposed)
        account.exposed_by_kills += len(told.killed_exposed)
        account.exposed_by_losses += len(told.lost_exposed)
    account.processed = counts.total()
    account.repeats = account.processed - len(counts)
    account.commits = len(commits)
    everything = ((partition, offset) for partition in sorted(log) for offset in range(len(log[partition])))
    skipped = [place for place in everything if place not in counts]
    unexplained = sorted(place for place, count in counts.items() if count - 1 > excuses[place])
    for offenders, what in (
        (skipped, "never processed"),
        (unexplained, "processed again without a kill that explains it"),
        (strangers, "processed with a value that is not in the log"),
    ):
        if offenders:
            account.complaints.append(f"{len(offenders):,} records {what} ({_first(offenders)})")
    account.complaints.extend(_regressions(commits))
    return account


def _read(
    journal: Sequence[Line],
    log: Mapping[int, Sequence[int]],
    strangers: list[Place],
    commits: dict[tuple[int, int], set[int]],
) -> _Told:
    told = _Told()
    #: By partition: the records processed and not known to be committed.
    exposed: dict[int, list[int]] = {}
    ended = False
    for what, numbers in journal:
        match what:
            case "A":
                exposed[numbers[0]] = []
            case "P":
                partition, offset, crc32 = numbers
                told.processed.append((partition, offset))
                exposed.setdefault(partition, []).append(offset)
                values = log.get(partition, ())
                if offset >= len(values) or values[offset] != crc32:
                    strangers.append((partition, offset))
            case "D":
                partition, offset, version = numbers
                commits.setdefault((partition, version), set()).add(offset)
                exposed[partition] = [each for each in exposed.get(partition, ()) if each >= offset]
            case "R":
                # Given back after the last commit: whatever it still exposed is nobody's excuse.
                exposed.pop(numbers[0], None)
            case "L":
                told.lost_exposed += [(numbers[0], each) for each in exposed.pop(numbers[0], ())]
            case "E":
                ended = True
    if not ended:
        told.killed_exposed = [(partition, each) for partition, own in exposed.items() for each in own]
    return told


def _regressions(commits: Mapping[tuple[int, int], set[int]]) -> list[str]:
    """Complaints about commits that went back, or of which one version has two offsets."""
    complaints = [
        f"version {version} of partition {partition} is committed with offsets {sorted(offsets)}"
        for (partition, version), offsets in sorted(commits.items())
        if len(offsets) > 1
    ]
    for (earlier, before), (later, after) in pairwise(sorted(commits.items())):
        if earlier[0] == later[0] and max(after) < max(before):
            complaints.append(
                f"partition {later[0]} went back from {max(before)} (version {earlier[1]}) to {max(after)} "
                f"(version {later[1]})"
            )
    return complaints


def _first(places: Sequence[Place]) -> str:
    shown = ", ".join(f"{partition}/{offset}" for partition, offset in places[:SHOWN])
    return f"partition/offset {shown}{', …' if len(places) > SHOWN else ''}"
