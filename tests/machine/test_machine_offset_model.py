"""Any history of offset commands: the machine answers as the plain model does, a replica restored on the way goes
on exactly like one that was not, and what is said to be final stays true."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import NamedTuple
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from machine.logs import Log
from machine.offset_kit import NODE, PRINT
from machine.offset_model import Answer, OffsetModel, told

from quorumlog.machine import PartitionMachine, encode_partition_command, offset_memory
from quorumlog.machine.offset_commands import (
    Acquire,
    Audit,
    CommitItem,
    Commits,
    Expire,
    Forget,
    Mark,
    OffsetCommand,
    Release,
    Reset,
    Settle,
)
from quorumlog.machine.offset_results import FateForgotten, FateKnown
from quorumlog.raft.types import EntryKind

GROUPS = ("a", "b", "c")
LIMIT = 2
#: Few, so that a short history forgets.
REMEMBERED = 3


class Step(NamedTuple):
    """One wish; its numbers are read against what the model knows, so that most of them make sense."""

    kind: str
    group: int
    session: int
    near: int
    other: int


KINDS = ["commit"] * 12 + ["repeat", "repeat", "both"] * 2 + ["acquire"] * 4 + ["release", "settle", "settle"]
KINDS += ["reset", "reset", "force", "pin", "restore", "expire", "mark", "audit"]
KINDS += ["forget", "append", "append", "retain", "wait", "wait", "checkpoint", "checkpoint"]
STEPS = st.lists(
    st.builds(Step, st.sampled_from(KINDS), *(st.integers(0, 5) for _ in range(4))), min_size=1, max_size=120
)


class Trial:
    """Two replicas, of which the second is replaced by its own snapshot now and then, and the model."""

    def __init__(self) -> None:
        self.log = Log(term=4)
        self.whole = PartitionMachine(max_groups=LIMIT)
        self.other = PartitionMachine(max_groups=LIMIT)
        self.model = OffsetModel(LIMIT)
        self.wall_ms = 1_000
        #: Of each epoch of each group, the last sequence that was used.
        self.sequences: dict[tuple[str, int], int] = {}
        self.sent: list[CommitItem] = []
        self.never: set[tuple[str, int, int, int]] = set()
        self.seen: Counter[str] = Counter()

    def apply(self, kind: EntryKind, data: bytes) -> object:
        entry = self.log.add(kind, data)
        results = [machine.apply(entry) for machine in (self.whole, self.other)]
        assert results[0] == results[1]
        assert self.whole.digest == self.other.digest
        return results[0]

    def run(self, step: Step) -> None:
        match step.kind:
            case "append":
                entry = self.log.data(step.near + 1)
                assert self.whole.apply(entry) == self.other.apply(entry)
                self.model.end = self.log.end_offset
            case "retain":
                self.model.start = max(self.model.start, self.model.end - 3 * step.near)
                entry = self.log.retain(self.model.start)
                assert self.whole.apply(entry) == self.other.apply(entry)
            case "wait":
                self.wall_ms += 100 * step.near
            case "checkpoint":
                snapshot = self.other.snapshot()
                assert snapshot == self.whole.snapshot()
                self.other = PartitionMachine(max_groups=LIMIT)
                self.other.restore(snapshot)
            case _:
                self.command(self.wished(step))
        self.compare()

    def wished(self, step: Step) -> OffsetCommand:
        group, wall_ms = GROUPS[step.group % 3], self.wall_ms
        # Few, so that each loses the partition and comes back, and outlives its group, many times.
        session = step.session % 3 + 1
        known = self.model.groups.get(group)
        # An epoch that nobody was given must never be: sent again later, it would be somebody's.
        epoch = max((known.epoch if known else 0) + 10_000 * (step.other == 0) - (step.other == 1), 0)
        stored = known.stored if known else None
        offset = max((stored.offset if stored else self.model.start) + step.near - 1, 0)
        kind = step.kind
        if kind in ("commit", "both") and step.near > 2 and (known is None or not known.owner):
            kind = "acquire"
        match kind:
            case "commit":
                return Commits(wall_ms, NODE, (self.fresh(group, offset, epoch, session, step),))
            case "repeat":
                earlier = self.earlier(step.near)
                now = self.model.groups.get(earlier.group) if earlier else None
                # Now and then under the epoch that is current by now: another attempt.
                if earlier and now and step.other == 5:
                    earlier = earlier._replace(owner_epoch=now.epoch)
                    self.sent.append(earlier)
                return Commits(wall_ms, NODE, (earlier,) if earlier else ())
            case "both":
                return Commits(
                    wall_ms,
                    NODE,
                    tuple(self.fresh(group, offset, epoch, session, step) for group in GROUPS),
                )
            case "acquire":
                generation, exclusive = (step.near if step.near > 3 else 5), step.other == 2
                return Acquire(wall_ms, NODE, group, f"o{session}", session, generation, exclusive, 300)
            case "release":
                return Release(wall_ms, NODE, group, session, epoch)
            case "settle":
                if step.other < 2:
                    return Settle(group, epoch, session, self.sequences.get((group, epoch), 0) + step.near - 1)
                # Of this tenure or of long ago; now and then of a session that never had the epoch.
                asked = self.earlier(step.near * (1, 4, 12, 3)[step.other - 2])
                if asked is None:
                    return Audit()
                return Settle(
                    asked.group,
                    asked.owner_epoch,
                    session if step.other == 5 else asked.session,
                    asked.sequence,
                )
            case "pin":
                return Reset(wall_ms, NODE, group, offset, 0, False, "", PRINT, pin=True, owner_epoch=epoch)
            case "restore":
                return Reset(wall_ms, NODE, group, 0, 0, step.other > 3, "", restore=True)
            case "reset" | "force":
                expected = stored.version + (step.other == 3) if stored and step.other > 2 else 0
                return Reset(wall_ms, NODE, group, offset, expected, kind == "force", "why", PRINT)
            case "expire":
                return Expire(wall_ms, NODE, group, wall_ms - 100 * step.near)
            case "mark":
                return Mark(group, step.near == 0, step.other)
            case "forget":
                return Forget(group, step.near > 3)
        return Audit()

    def fresh(self, group: str, offset: int, epoch: int, session: int, step: Step) -> CommitItem:
        known = self.model.groups.get(group)
        if known is not None and known.owner and step.other > 1:
            session = known.owner
        sequence = self.sequences[group, epoch] = self.sequences.get((group, epoch), 0) + 1
        item = CommitItem(group, offset, epoch, session, sequence, PRINT if step.near else None, b"m")
        self.sent.append(item)
        return item

    def earlier(self, back: int) -> CommitItem | None:
        """What was sent that many commits ago, or at first."""
        return self.sent[max(len(self.sent) - 1 - back, 0)] if self.sent else None

    def command(self, command: OffsetCommand) -> None:
        if isinstance(command, Settle) and command.sequence < 1:
            return
        result = self.apply(EntryKind.COMMAND, encode_partition_command(command))
        version = self.whole.applied_index
        # Nothing is settled by an answer that it is not known.
        unknown = isinstance(command, Settle) and isinstance(result, FateForgotten)
        answers: list[Answer] = [()] if unknown else self.model.apply(command, version, 4)
        results = result if type(result) is tuple else (result,)
        subjects = command.items if isinstance(command, Commits) else (command,)
        for answer, part, about in zip(answers, results, subjects, strict=True):
            self.seen[type(part).__name__] += 1
            if isinstance(part, FateForgotten):
                assert 0 < part.forgotten_version < version
                assert unknown or answer == ("Settled",) or (answer[0] == "Committed" and answer[-1])
                assert isinstance(about, CommitItem | Settle)
                assert self.model.may_be_forgotten(about.group, about.owner_epoch, about.sequence, REMEMBERED)
            else:
                assert told(part) == answer
        if isinstance(command, Settle) and told(result) == ("FateKnown", "NEVER_HAPPENED"):
            self.never.add((command.group, command.owner_epoch, command.session, command.sequence))
        # "It never will happen" has to stay true, whatever arrives later.
        assert not self.never & self.model.truth.keys()

    def compare(self) -> None:
        table = self.whole.offsets
        assert table.names() == sorted(self.model.groups)
        for name, known in self.model.groups.items():
            group = table.get(name)
            assert group is not None
            assert (group.stored, group.owner_epoch, group.tombstone) == (
                known.stored,
                known.epoch,
                known.expired_ms is not None,
            )
            assert group.owner == (f"o{known.owner}" if known.owner else "")
            newest = [move for move in known.moves if move[4]][-REMEMBERED:]
            assert [(change.version, change.offset) for change in group.memory.commits] == [
                (version, offset) for version, _, offset, *_ in newest
            ]
            for version, term, offset, *attempt in newest:
                # What is remembered is never said to be forgotten, by whichever way one asks.
                receipt = table.fate_of_receipt(name, offset, version, term)
                assert receipt == table.fate_of_attempt(name, *attempt)
                present = not group.tombstone and known.stored is not None and known.stored.version == version
                assert told(receipt) == ("FateKnown", "PRESENT" if present else "SUPERSEDED")
            for version, term, offset, *_ in known.moves:
                receipt = table.fate_of_receipt(name, offset, version, term)
                assert isinstance(receipt, FateForgotten) or told(receipt)[1] != "NEVER_HAPPENED"
        # Whatever was ever stored, in whichever tenure and life of its group, is never said not to have been.
        for (name, *attempt), version in self.model.truth.items():
            fate = table.fate_of_attempt(name, *attempt)
            if isinstance(fate, FateForgotten):
                assert self.model.may_be_forgotten(name, attempt[0], attempt[2], REMEMBERED)
            else:
                assert isinstance(fate, FateKnown)
                assert fate.commit is not None
                assert fate.commit.version == version


def play(steps: list[Step]) -> Trial:
    with (
        mock.patch.object(offset_memory, "REMEMBERED_COMMITS", REMEMBERED),
        mock.patch.object(offset_memory, "REMEMBERED_LANDMARKS", REMEMBERED),
    ):
        trial = Trial()
        trial.run(Step("append", 0, 0, 5, 0))
        for step in steps:
            trial.run(step)
        trial.run(Step("audit", 0, 0, 0, 0))
    return trial


@settings(max_examples=250, deadline=None)
@given(STEPS)
def test_the_machine_answers_as_the_model_does_and_so_does_a_replica_restored_on_the_way(
    steps: list[Step],
) -> None:
    play(steps)


def test_long_histories_meet_every_answer_there_is() -> None:
    """Hypothesis finds small histories; what needs a long one (forgetting, above all) is drawn here."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        draw = Random(seed)
        steps = [Step(draw.choice(KINDS), *(draw.randrange(6) for _ in range(4))) for _ in range(300)]
        seen.update(play(steps).seen)
    wanted = """Committed BeyondEnd Regressed Fenced NotOwner Settled FateForgotten Expired Acquired Owned
        StaleGeneration TooManyGroups Released WasReset VersionMismatch GroupActive UnknownGroup OutOfRange
        NotExpired FateKnown EpochNotGiven TombstoneMade TombstoneGone StillUsed Marked Forgotten Audited"""
    print(seen)
    assert {name: seen[name] for name in wanted.split() if seen[name] < 5} == {}
