"""The anomalies of committed offsets: each is first said in prose, then looked for in one pass.

They judge one (group, partition) by what clients were told. Before everything stands the order of real time: A came
before B if A had returned when B was invoked. Operations whose outcome is unknown never returned, so they come
before nothing; a commit of unknown outcome that somebody saw did happen, and is then judged like any other.

Prior art: CHAOS.md §2 has the table; Porcupine and Elle check registers by search, which versions make unnecessary
(``quorumlog.check.linearizable`` does it all the same, for small histories).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.check.anomaly import Anomaly, AnomalyKind
from quorumlog.check.history import NEVER, EventType, Operation
from quorumlog.check.offset_evidence import NO_TOKEN, Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from quorumlog.check.evidence import Evidence
    from quorumlog.check.offset_evidence import OffsetEvidence


class _Known(NamedTuple):
    """At ``moment`` (an index of the history) it was known that ``value`` had been reached; ``by`` whom."""

    moment: int
    value: int
    by: Operation


class _Tide:
    """What had certainly been reached before a moment: the highest value of all that was known by then."""

    __slots__ = ("_highest", "_moments")

    def __init__(self, known: Iterable[_Known]) -> None:
        self._moments: list[int] = []
        self._highest: list[_Known] = []
        for one in sorted(known, key=lambda one: one.moment):
            if one.moment < NEVER and (not self._highest or one.value > self._highest[-1].value):
                self._moments.append(one.moment)
                self._highest.append(one)

    def before(self, operation: Operation) -> _Known | None:
        """The highest known when the operation was invoked."""
        position = bisect_left(self._moments, operation.invoked.index)
        return self._highest[position - 1] if position else None


def _versions(evidence: OffsetEvidence) -> _Tide:
    return _Tide(
        _Known(witness.operation.returned, witness.version, witness.operation) for witness in evidence.witnesses()
    )


def stale_fetch(evidence: OffsetEvidence, _: Evidence | None) -> Iterator[Anomaly]:
    """A linearizable answer has a version below one that was known before it was asked for; or an answer as of a
    version, one below that. Of a fresh client after everything, it is a *lost commit*."""
    versions = _versions(evidence)
    for sight in evidence.sights:
        if sight.stored is None:
            continue
        if sight.floor is not None:
            if sight.version < sight.floor:
                message = f"version {sight.version} where {sight.floor} or later was asked for"
                yield Anomaly.of(AnomalyKind.STALE_FETCH, evidence.key, message, sight.operation)
            continue
        before = versions.before(sight.operation)
        if before is not None and sight.version < before.value:
            kind = AnomalyKind.LOST_COMMIT if sight.final else AnomalyKind.STALE_FETCH
            message = f"version {sight.version} (offset {sight.stored.offset}) after version {before.value}"
            yield Anomaly.of(kind, evidence.key, message, before.by, sight.operation)


def spurious_none(evidence: OffsetEvidence, _: Evidence | None) -> Iterator[Anomaly]:
    """Nothing is said to be stored, or −1, after it was known that something is; or 0, after it was known that more
    is, and nobody can have set it back to there: what a state that was lost looks like."""
    versions = _versions(evidence)
    offsets = _Tide(
        _Known(witness.operation.returned, witness.offset, witness.operation) for witness in evidence.witnesses()
    )
    went_to_0 = any(not reset.offset and reset.operation.type is not EventType.FAIL for reset in evidence.resets)
    for sight in evidence.sights:
        if sight.stored is not None and sight.stored.offset >= 0:
            highest = offsets.before(sight.operation)
            linearizable = sight.floor is None and not went_to_0
            if linearizable and not sight.stored.offset and highest is not None and highest.value > 0:
                message = f"0 (version {sight.version}) after offset {highest.value}"
                yield Anomaly.of(AnomalyKind.SPURIOUS_NONE, evidence.key, message, highest.by, sight.operation)
            continue
        before = versions.before(sight.operation)
        if before is not None or sight.stored is not None:
            told = "none" if sight.stored is None else f"{sight.stored.offset}"
            message = f"{told} after version {before.value if before else 0}"
            witness = () if before is None else (before.by,)
            yield Anomaly.of(AnomalyKind.SPURIOUS_NONE, evidence.key, message, *witness, sight.operation)


def phantom_commit(evidence: OffsetEvidence, _: Evidence | None) -> Iterator[Anomaly]:
    """What is seen was never committed, or not yet when the answer came (a version of the future), or with another
    offset; or, not being a commit, it is no reset's and no Acquire's either."""
    commits = {commit.token: commit for commit in evidence.commits}
    first_attempt = min((attempt.invoked.index for attempt in evidence.attempts), default=NEVER)
    resets: dict[int, int] = {}
    for reset in evidence.resets:
        if reset.operation.type is not EventType.FAIL:
            resets.setdefault(reset.offset, reset.operation.invoked.index)
    for sight in evidence.sights:
        stored = sight.stored
        if stored is None:
            continue
        asked = sight.operation.returned
        if stored.token == NO_TOKEN:
            if min(first_attempt, resets.get(stored.offset, NEVER)) > asked:
                message = f"offset {stored.offset} of version {stored.version} was set by nobody"
                yield Anomaly.of(AnomalyKind.PHANTOM_COMMIT, evidence.key, message, sight.operation)
            continue
        commit = commits.get(stored.token)
        if commit is None:
            message = f"{stored.token!r} (offset {stored.offset}) was never committed"
            yield Anomaly.of(AnomalyKind.PHANTOM_COMMIT, evidence.key, message, sight.operation)
        elif commit.operation.invoked.index > asked:
            message = f"{stored.token!r} is seen before it was committed"
            yield Anomaly.of(AnomalyKind.PHANTOM_COMMIT, evidence.key, message, sight.operation, commit.operation)
        elif commit.offset != stored.offset:
            message = f"{stored.token!r} was committed with offset {commit.offset} and is seen with {stored.offset}"
            yield Anomaly.of(AnomalyKind.PHANTOM_COMMIT, evidence.key, message, commit.operation, sight.operation)


def aborted_commit(evidence: OffsetEvidence, _: Evidence | None) -> Iterator[Anomaly]:
    """A commit is seen that was answered with "definitely did not happen"."""
    failed = {
        commit.token: commit.operation for commit in evidence.commits if commit.operation.type is EventType.FAIL
    }
    for sight in evidence.sights:
        if sight.stored is not None and sight.stored.token in failed:
            message = f"{sight.stored.token!r} failed, yet version {sight.stored.version} has it"
            refused = failed[sight.stored.token]
            yield Anomaly.of(AnomalyKind.ABORTED_COMMIT, evidence.key, message, refused, sight.operation)


def version_fork(evidence: OffsetEvidence, _: Evidence | None) -> Iterator[Anomaly]:
    """One version has two values."""
    first: dict[int, Witness] = {}
    for witness in evidence.witnesses():
        earlier = first.setdefault(witness.version, witness)
        if (earlier.offset, earlier.token) != (witness.offset, witness.token):
            message = (
                f"version {witness.version} is offset {earlier.offset} ({earlier.token!r}) and offset"
                f" {witness.offset} ({witness.token!r})"
            )
            yield Anomaly.of(AnomalyKind.VERSION_FORK, evidence.key, message, earlier.operation, witness.operation)


def version_inversion(evidence: OffsetEvidence, _: Evidence | None) -> Iterator[Anomaly]:
    """A commit or reset got a version that is not above one known before it was invoked: the order of versions
    contradicts that of real time."""
    versions = _versions(evidence)
    for version, operation in [
        *((commit.version, commit.operation) for commit in evidence.commits),
        *((reset.version, reset.operation) for reset in evidence.resets),
    ]:
        before = versions.before(operation)
        if version is not None and before is not None and version <= before.value:
            message = f"version {version} is given out after version {before.value} was known"
            yield Anomaly.of(AnomalyKind.VERSION_INVERSION, evidence.key, message, before.by, operation)


def double_commit(evidence: OffsetEvidence, _: Evidence | None) -> Iterator[Anomaly]:
    """One commit stands at two versions: sent twice, it took effect twice."""
    first: dict[str, Witness] = {}
    for witness in evidence.witnesses():
        if witness.token == NO_TOKEN:
            continue
        earlier = first.setdefault(witness.token, witness)
        if earlier.version != witness.version:
            message = f"{witness.token!r} has versions {earlier.version} and {witness.version}"
            yield Anomaly.of(AnomalyKind.DOUBLE_COMMIT, evidence.key, message, earlier.operation, witness.operation)


def regress(evidence: OffsetEvidence, _: Evidence | None) -> Iterator[Anomaly]:
    """In the order of versions the offset goes back, and the later one is a commit: going back is for resets.

    A reset whose version nobody was told, to where the later commit is or below, excuses it: it may stand between
    the two.
    """
    timeline = {witness.version: witness for witness in evidence.witnesses()}
    unknown = [
        reset.offset
        for reset in evidence.resets
        if reset.version is None and (reset.operation.type is not EventType.FAIL or not reset.offset)
    ]
    excused = min(unknown, default=NEVER)
    earlier: Witness | None = None
    for witness in (timeline[version] for version in sorted(timeline)):
        went_back = earlier is not None and witness.offset < earlier.offset
        if earlier is not None and went_back and witness.token != NO_TOKEN and witness.offset < excused:
            message = (
                f"offset {earlier.offset} of version {earlier.version} is followed by {witness.offset} of version"
                f" {witness.version}"
            )
            yield Anomaly.of(AnomalyKind.REGRESS, evidence.key, message, earlier.operation, witness.operation)
        earlier = witness


def zombie_commit(evidence: OffsetEvidence, _: Evidence | None) -> Iterator[Anomaly]:
    """A commit under an owner epoch took effect although a later epoch had been given out: it was known when the
    commit was invoked, or a commit of the later epoch has a lower version."""
    epochs = _Tide(
        [
            *(_Known(sight.operation.returned, sight.epoch, sight.operation) for sight in evidence.sights),
            *(
                _Known(commit.operation.returned, commit.epoch, commit.operation)
                for commit in evidence.commits
                if commit.version is not None
            ),
        ]
    )
    highest: tuple[int, Operation] | None = None
    for version, commit in evidence.effective():
        before = epochs.before(commit.operation)
        if before is not None and before.value > commit.epoch:
            message = f"{commit.token!r} of epoch {commit.epoch} took effect after epoch {before.value} was known"
            yield Anomaly.of(AnomalyKind.ZOMBIE_COMMIT, evidence.key, message, before.by, commit.operation)
        elif highest is not None and highest[0] > commit.epoch:
            message = (
                f"{commit.token!r} of epoch {commit.epoch} has version {version}, above a commit of epoch"
                f" {highest[0]}"
            )
            yield Anomaly.of(AnomalyKind.ZOMBIE_COMMIT, evidence.key, message, highest[1], commit.operation)
        if highest is None or commit.epoch > highest[0]:
            highest = (commit.epoch, commit.operation)


def beyond_log(evidence: OffsetEvidence, records: Evidence | None) -> Iterator[Anomaly]:
    """An offset was committed, and a linearizable end asked for afterwards lies below it; or the record that its
    committer had processed last is another one now."""
    known = _Tide(
        _Known(witness.operation.returned, witness.offset, witness.operation) for witness in evidence.witnesses()
    )
    ends = [(acquired.operation, acquired.log_end) for acquired in evidence.acquisitions]
    if records is not None:
        ends += [(end, end.completed.value) for end in records.ends if end.completed]
        ends += [(view[0].operation, view[-1].end) for view in records.complete_finals()]
    for operation, end in ends:
        before = known.before(operation)
        if before is not None and before.value > end:
            message = f"offset {before.value} is committed, and the log ends at {end}"
            yield Anomaly.of(AnomalyKind.BEYOND_LOG, evidence.key, message, before.by, operation)
    if records is None:
        return
    there = records.latest_claims()
    for _, commit in evidence.effective():
        claim = there.get(commit.offset - 1)
        if claim is not None and commit.below is not None and claim.value != commit.below:
            message = f"{commit.below!r} was processed at offset {claim.offset}, where {claim.value!r} is now"
            yield Anomaly.of(AnomalyKind.BEYOND_LOG, evidence.key, message, commit.operation, claim.operation)


def wrong_fate(evidence: OffsetEvidence, _: Evidence | None) -> Iterator[Anomaly]:
    """What was told of a commit afterwards is not what became of it: "never happened" of one that was acknowledged
    or is seen; a version of one that was refused or never made; "present" of one known to be superseded."""
    happened = {commit.token: (version, commit) for version, commit in evidence.effective()}
    commits = {commit.token: commit for commit in evidence.commits}
    versions = _versions(evidence)
    for fate in evidence.fates:
        commit = commits.get(fate.token)
        if commit is None or (fate.version and commit.operation.type is EventType.FAIL):
            message = f"{fate.token!r} is {fate.fate}, but was {'never made' if commit is None else 'refused'}"
            witness = () if commit is None else (commit.operation,)
            yield Anomaly.of(AnomalyKind.WRONG_FATE, evidence.key, message, *witness, fate.operation)
        elif not fate.version and fate.token in happened:
            message = f"{fate.token!r} never happened, but has version {happened[fate.token][0]}"
            yield Anomaly.of(AnomalyKind.WRONG_FATE, evidence.key, message, commit.operation, fate.operation)
        elif fate.fate == "PRESENT":
            before = versions.before(fate.operation)
            if before is not None and before.value > fate.version:
                message = f"{fate.token!r} of version {fate.version} is present, after version {before.value}"
                yield Anomaly.of(AnomalyKind.WRONG_FATE, evidence.key, message, before.by, fate.operation)


#: Every anomaly of offsets with its finder; ``stale_fetch`` tells lost commits as well. The second argument is what
#: is known of the partition's records, None if nothing is.
OFFSET_FINDERS: dict[AnomalyKind, Callable[[OffsetEvidence, Evidence | None], Iterator[Anomaly]]] = {
    AnomalyKind.STALE_FETCH: stale_fetch,
    AnomalyKind.SPURIOUS_NONE: spurious_none,
    AnomalyKind.PHANTOM_COMMIT: phantom_commit,
    AnomalyKind.ABORTED_COMMIT: aborted_commit,
    AnomalyKind.VERSION_FORK: version_fork,
    AnomalyKind.VERSION_INVERSION: version_inversion,
    AnomalyKind.DOUBLE_COMMIT: double_commit,
    AnomalyKind.REGRESS: regress,
    AnomalyKind.ZOMBIE_COMMIT: zombie_commit,
    AnomalyKind.BEYOND_LOG: beyond_log,
    AnomalyKind.WRONG_FATE: wrong_fate,
}

#: Found by the finder of another anomaly.
FOUND_BESIDE = {AnomalyKind.LOST_COMMIT: AnomalyKind.STALE_FETCH}
