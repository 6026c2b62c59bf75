"""The account of a run: what became of every record and commit, what was done twice, how long nobody was served.

Where the finders ask "is anything wrong?", the account says how much of everything there was, from the history
alone: people read it, the report draws it, and a few of its sums must balance (``Account.complaints``): an owner
repeats no more than had been exposed when it took over, and after healing nobody waits longer than the bound.

Prior art: the availability plots and the accounts of lost and duplicated records in Jepsen's Kafka, Redpanda and
Bufstream reports; Kafka's consumer "records processed but not committed" as the measure of what a crash repeats.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from quorumlog.check.availability import FaultSpan, Gap, gaps_after, gaps_amid, watch
from quorumlog.check.evidence import gather
from quorumlog.check.groups import gather_groups
from quorumlog.check.history import Event, EventType, operations
from quorumlog.check.offset_evidence import gather_offsets
from quorumlog.check.repeats import GroupAccount, group_account
from quorumlog.check.series import BUCKETS, Series, series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quorumlog.check.evidence import Evidence
    from quorumlog.check.offset_evidence import OffsetEvidence


@dataclass(frozen=True, slots=True)
class RecordsAccount:
    """What became of the records of one partition; each is counted once, under its send's outcome."""

    key: str
    acknowledged: int
    unknown: int
    """Their send ended unknown, or never."""
    failed: int
    """They definitely were not appended."""
    unknown_read: int
    """Of the unknown, those that somebody read: they were appended after all."""
    read: int
    """Different values that anybody read."""
    reads: int
    """Records brought to readers, every reader's counted."""
    unseen: int
    """Acknowledged, still there, and brought to no reader (what groups process is counted apart)."""
    dropped: int
    """Acknowledged, read by nobody, and below the log's start: retention took them first."""


@dataclass(frozen=True, slots=True)
class CommitsAccount:
    """What became of the commits of one register (group and partition)."""

    key: str
    ok: int
    refused: int
    unknown: int
    unknown_seen: int
    """Of the unknown, those that are known to have taken effect: seen by a fetch, or told when asked for."""
    resets: int
    owners: int
    """Acquires that were granted."""


@dataclass(frozen=True, slots=True)
class FaultAccount:
    """One strike and what it cost. ``gaps`` are the longest stretch in which somebody waited and nobody was served,
    of each partition, register and group that had one, longest first."""

    fault: FaultSpan
    gaps: tuple[Gap, ...]

    @property
    def unavailable_ms(self) -> float:
        """The longest of its gaps; 0 if nobody noticed."""
        return self.gaps[0].length_ms if self.gaps else 0.0


@dataclass(frozen=True, slots=True)
class Account:
    """See the module. Times are the history's monotonic ns."""

    began_ns: int
    ended_ns: int
    healed_ns: int | None
    """When all faults had ended, if the history says so."""
    operations: dict[str, dict[str, int]]
    """operation -> ok, fail, info -> how many; an operation that never ended counts as info."""
    records: tuple[RecordsAccount, ...]
    commits: tuple[CommitsAccount, ...]
    groups: tuple[GroupAccount, ...]
    faults: tuple[FaultAccount, ...]
    calm_gaps: tuple[Gap, ...]
    """The longest stretch before the first fault, of each partition, register and group: what is normal here."""
    series: Series
    complaints: tuple[str, ...]
    """What does not balance, a line each; empty when all is well."""

    @property
    def totals(self) -> dict[str, int]:
        """The sums over all partitions, registers and groups, by name."""
        sums: dict[str, int] = {}
        for prefix, parts in (("records", self.records), ("commits", self.commits), ("group", self.groups)):
            for part in parts:
                for name in part.__slots__:
                    count = getattr(part, name)
                    if isinstance(count, int):
                        sums[f"{prefix} {name}"] = sums.get(f"{prefix} {name}", 0) + count
        return sums


def account(events: Sequence[Event], liveness_ms: int = 0, buckets: int = BUCKETS) -> Account:
    """The account of a whole history. ``liveness_ms``: after healing nobody may wait longer; 0: not asked.
    ``buckets`` is about how many points a series has. Raises MalformedHistory."""
    history = operations(events)
    partitions = gather(history)
    registers = gather_offsets(history)
    groups = tuple(group_account(evidence) for evidence in gather_groups(history, registers).values())
    began_ns, ended_ns = (events[0].time_ns, events[-1].time_ns) if events else (0, 0)
    healed = [operation.invoked.time_ns for operation in history if operation.invoked.operation == "healed"]
    healed_ns = healed[-1] if healed else None
    watched = watch(events)
    first_fault_ns = watched.faults[0].began_ns if watched.faults else ended_ns
    return Account(
        began_ns,
        ended_ns,
        healed_ns,
        _outcomes(events),
        tuple(_of_records(evidence) for evidence in partitions.values()),
        tuple(_of_commits(evidence) for evidence in registers.values()),
        groups,
        tuple(FaultAccount(fault, gaps_amid(watched, fault.began_ns, fault.ended_ns)) for fault in watched.faults),
        gaps_amid(watched, began_ns, first_fault_ns, aftermath_ns=0),
        series(events, buckets),
        tuple(_complaints(groups, () if healed_ns is None else gaps_after(watched, healed_ns), liveness_ms)),
    )


def to_json(found: Account) -> dict[str, Any]:
    """The numbers without the series, for programs that read them."""
    plain = asdict(found)
    del plain["series"]
    return plain | {"totals": found.totals}


def _outcomes(events: Iterable[Event]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for event in events:
        kinds = counts.get(event.operation)
        if kinds is None:
            kinds = counts[event.operation] = {"ok": 0, "fail": 0, "info": 0}
        # Unknown until somebody says otherwise: what never ends stays so.
        if event.type is EventType.INVOKE:
            kinds["info"] += 1
        elif event.type is not EventType.INFO:
            kinds["info"] -= 1
            kinds[event.type.value] += 1
    return counts


def _of_records(evidence: Evidence) -> RecordsAccount:
    seen = {value for read in evidence.all_reads for _, value in read.records}
    log_start = max((read.start for read in evidence.all_reads), default=0)
    acknowledged = unknown = failed = unknown_read = unseen = dropped = 0
    for send in evidence.sends:
        if send.offset is not None:
            acknowledged += len(send.values)
            for offset, value in enumerate(send.values, send.offset):
                if value not in seen:
                    unseen += offset >= log_start
                    dropped += offset < log_start
        elif send.operation.type is EventType.FAIL:
            failed += len(send.values)
        else:
            unknown += len(send.values)
            unknown_read += sum(value in seen for value in send.values)
    reads = sum(len(read.records) for read in evidence.all_reads)
    return RecordsAccount(
        evidence.key, acknowledged, unknown, failed, unknown_read, len(seen), reads, unseen, dropped
    )


def _of_commits(evidence: OffsetEvidence) -> CommitsAccount:
    happened = {commit.token for _, commit in evidence.effective()}
    ok = refused = unknown = unknown_seen = 0
    for commit in evidence.commits:
        if commit.version is not None:
            ok += 1
        elif commit.operation.type is EventType.FAIL:
            refused += 1
        else:
            unknown += 1
            unknown_seen += commit.token in happened
    resets = sum(reset.operation.invoked.operation == "reset" for reset in evidence.resets)
    return CommitsAccount(evidence.key, ok, refused, unknown, unknown_seen, resets, len(evidence.acquisitions))


def _complaints(groups: Iterable[GroupAccount], after: Iterable[Gap], liveness_ms: int) -> Iterable[str]:
    for group in groups:
        for owner in group.owners:
            if owner.repeated > owner.exposed:
                yield (
                    f"{group.key}: the owner of epoch {owner.epoch} repeats {owner.repeated} records, and only"
                    f" {owner.exposed} were processed and not committed when it took over"
                )
    for gap in after:
        if liveness_ms and gap.length_ms > liveness_ms:
            yield (
                f"{gap.key}: after healing nobody was served for {gap.length_ms:.0f} ms ({gap.service});"
                f" {liveness_ms} ms are allowed"
            )
