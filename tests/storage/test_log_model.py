"""The log against a plain list, through crashes: whatever happens, what was told to be durable is there again.

After a crash the log must be the acknowledged one, or that plus the first k entries of the one job that was under
way, for some k: never less, never anything else.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from storage.storage_kit import PATH, batch, create, read_all, read_batches, reopen, small

from quorumlog.raft.types import Checkpoint, Entry, EntryKind, HardState
from quorumlog.sim.disk import PowerCut, SimulatedDisk
from quorumlog.storage import CheckpointInbox, TransferKey
from quorumlog.storage.checkpoint import encode_checkpoint
from quorumlog.wire.header import parse_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.storage import PartitionLog
    from quorumlog.storage.log import Job

OPTIONS = {"segment_bytes": 2048, "cache_bytes": 3000}


class Model:
    """What the log should hold: entries above ``base``, and the hard state."""

    def __init__(self, base: int, base_term: int, entries: tuple[Entry, ...], state: HardState) -> None:
        self.base = base
        self.base_term = base_term
        self.entries = entries
        self.state = state

    @property
    def last(self) -> int:
        return self.base + len(self.entries)

    def with_entries(self, entries: Sequence[Entry], state: HardState) -> Model:
        kept = self.entries
        if entries:
            kept = kept[: entries[0].index - self.base - 1] + tuple(entries)
        return Model(self.base, self.base_term, kept, state)

    def from_index(self, base: int) -> Model:
        term = self.entries[base - self.base - 1].term if base > self.base else self.base_term
        return Model(base, term, self.entries[base - self.base :], self.state)


class LogMachine(RuleBasedStateMachine):
    """``now``: what is staged. ``durable``: what was acknowledged. ``flying``: what the job under way would add."""

    log: PartitionLog

    @initialize(seed=st.integers(0, 1 << 30))
    def begin(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.disk = SimulatedDisk(self.random)
        self.log = create(self.disk, small(**OPTIONS))
        self.number = 0
        self.now = self.durable = Model(0, 0, (), HardState())
        self.flying: tuple[list[Entry], HardState] | None = None
        self.unwritten: list[Entry] = []
        self.offset_of: dict[int, int] = {}

    # --- what a replica does ---

    def next_offset(self, index: int) -> int:
        """End offset of the entries before ``index``."""
        for entry in reversed(self.now.entries[: index - self.now.base - 1]):
            if entry.kind is EntryKind.DATA:
                return parse_header(entry.data).end_offset
        return self.base_offset

    base_offset = 0

    @rule(
        count=st.integers(0, 6),
        back=st.sampled_from([0, 0, 0, 1, 2, 4, 9, 20]),
        raise_term=st.booleans(),
        size=st.sampled_from([1, 30, 400]),
        commit=st.integers(0, 8),
    )
    def stage(self, count: int, back: int, raise_term: bool, size: int, commit: int) -> None:
        state = self.now.state
        if raise_term or back:
            state = state._replace(term=state.term + 1, vote=self.random.choice([None, 1, 2]))
        state = state._replace(term=max(state.term, 1))
        first = max(self.now.last + 1 - (back if count else 0), state.commit + 1)
        offset = self.next_offset(first)
        entries = []
        for index in range(first, first + count):
            if self.random.random() < 0.7:
                records = self.random.randint(1, 3)
                body = batch(offset, records, 1000 + index, size, bytes((self.random.randrange(256),)))
                entries.append(Entry(index, state.term, EntryKind.DATA, body))
                offset += records
            else:
                entries.append(Entry(index, state.term, EntryKind.COMMAND, self.random.randbytes(size)))
        end = first + count - 1 if count else self.now.last
        state = state._replace(commit=max(state.commit, min(end, self.now.state.commit + commit)))
        self.number += 1
        self.log.stage(self.number, state, entries)
        if entries and self.unwritten and entries[0].index <= self.unwritten[-1].index:
            self.unwritten = self.unwritten[: max(entries[0].index - self.unwritten[0].index, 0)]
        self.unwritten += entries
        self.now = self.now.with_entries(entries, state)

    def take_job(self) -> Job | None:
        job = self.log.write_job()
        if job is not None:
            self.flying = (self.unwritten, self.now.state)
            self.unwritten = []
        return job

    def acknowledge(self) -> None:
        assert self.flying is not None
        self.durable = self.durable.with_entries(*self.flying)
        self.flying = None

    @rule()
    def write(self) -> None:
        while (job := self.take_job()) is not None:
            job.run()
            self.log.on_done(job)
            self.acknowledge()
        assert self.log.durable_index == self.log.last_index

    @rule(count=st.integers(1, 3), size=st.sampled_from([1, 400]), back=st.integers(0, 3))
    def stage_while_writing(self, count: int, size: int, back: int) -> None:
        """The flush that races a truncation: what the job vouches for may be replaced before it is done."""
        job = self.take_job()
        self.stage(count, back, False, size, 0)
        if job is not None:
            job.run()
            self.log.on_done(job)
            self.acknowledge()
            assert self.log.durable_index <= self.log.last_index

    @rule()
    def roll(self) -> None:
        self.log.roll()

    @rule()
    def maintain(self) -> None:
        while (job := self.log.maintenance_job()) is not None:
            job.run()
            self.log.on_done(job)

    @rule(capacity=st.integers(0, 1500))
    def fill_the_disk(self, capacity: int) -> None:
        job = self.take_job()
        if job is None:
            return
        self.disk.capacity = self.disk.used + capacity
        try:
            job.run()
        except OSError as error:
            self.log.on_failed(job, error)
            assert self.log.full
            assert self.log.failed is None
            assert self.log.write_job() is None
        else:
            self.log.on_done(job)
            self.acknowledge()
        self.disk.capacity = 1 << 40
        if self.log.full:
            self.log.resume()
            again = self.log.write_job()
            assert again is not None
            assert again.number == job.number  # type: ignore[union-attr]
            again.run()
            self.log.on_done(again)
            self.acknowledge()

    def checkpoint_due(self) -> Checkpoint | None:
        for boundary in self.log.sealed_boundaries:
            if boundary <= self.now.state.commit:
                return Checkpoint(boundary, self.log.term(boundary), self.log.checkpoint.configuration)
        return None

    @rule(all_of_them=st.booleans())
    def checkpoint(self, all_of_them: bool) -> None:
        while (due := self.checkpoint_due()) is not None:
            job = self.log.checkpoint_job(due, b"state at %d" % due.index)
            job.run()
            self.log.on_done(job)
            if not all_of_them:
                return

    @rule(back=st.integers(0, 20))
    def retain(self, back: int) -> None:
        job = self.log.retain_job(max(self.next_offset(self.now.state.commit + 1) - back, 0))
        if job is not None:
            job.run()
            self.log.on_done(job)
            self.forget_below_start()

    def forget_below_start(self) -> None:
        base = self.log.first_index - 1
        if base > self.now.base:
            self.base_offset = self.next_offset(base + 1)
            self.now = self.now.from_index(base)
            self.durable = self.durable.from_index(base)

    @rule(ahead=st.integers(0, 10), cut=st.integers(1, 12), whole=st.booleans())
    def install(self, ahead: int, cut: int, whole: bool) -> None:
        self.write()
        index = self.now.last + ahead + 1
        state = self.now.state._replace(term=self.now.state.term + 1, vote=None)
        checkpoint = Checkpoint(index, state.term, self.log.checkpoint.configuration)
        content = b"".join(encode_checkpoint(self.log.group_id, checkpoint, b"state at %d" % index))
        inbox = CheckpointInbox(self.disk, PATH)
        chunk = inbox.chunk_job(TransferKey(state.term, index, 1), 0, content, len(content))
        assert chunk is not None
        chunk.run()
        inbox.on_done(chunk)
        assert inbox.completed is not None
        self.number += 1
        before = self.durable
        self.log.stage(self.number, state, ())
        job = self.log.install_checkpoint_job(self.number, checkpoint, inbox.completed[2])
        assert job is not None
        self.now = self.durable = Model(index, state.term, (), state._replace(commit=index))
        self.base_offset = self.base_offset + 1000
        if whole:
            job.run()
            self.log.on_done(job)
            return
        self.disk.cut_after(cut)
        with contextlib.suppress(PowerCut):
            job.run()
        self.disk.crash()
        self.log = reopen(self.disk, small(**OPTIONS))
        if self.log.first_index != index + 1:
            # The marker was not durable: the old log, untouched.
            assert self.recovered().entries == before.entries
            self.now = self.durable = before
            self.base_offset -= 1000
        assert self.log.hard_state.term >= before.state.term
        self.now = self.durable = Model(self.now.base, self.now.base_term, self.now.entries, self.log.hard_state)

    # --- what may happen to it ---

    @rule(
        cut=st.integers(1, 8),
        what=st.sampled_from(["write", "maintain", "checkpoint", "retain", "nothing"]),
        process_only=st.booleans(),
    )
    def crash(self, cut: int, what: str, process_only: bool) -> None:
        job: Job | None = None
        if what == "write":
            job = self.take_job()
        elif what == "maintain":
            job = self.log.maintenance_job()
        elif what == "checkpoint" and (due := self.checkpoint_due()) is not None:
            job = self.log.checkpoint_job(due, b"state at %d" % due.index)
        elif what == "retain":
            job = self.log.retain_job(self.next_offset(self.now.state.commit + 1))
        if job is not None:
            self.disk.cut_after(cut)
            with contextlib.suppress(PowerCut):
                job.run()
        self.disk.crash(keep_all=process_only)
        self.log = reopen(self.disk, small(**OPTIONS))
        self.check_recovered()

    @precondition(lambda self: self.flying is None)
    @rule(cut=st.integers(1, 9))
    def two_crashes(self, cut: int) -> None:
        """The process dies, and soon after it the machine: what was read in between must not be lost."""
        job = self.take_job()
        if job is not None:
            self.disk.cut_after(cut)
            with contextlib.suppress(PowerCut):
                job.run()
        self.disk.crash(keep_all=True)
        self.log = reopen(self.disk, small(**OPTIONS))
        self.check_recovered()
        self.disk.crash()
        self.log = reopen(self.disk, small(**OPTIONS))
        self.check_recovered()

    def recovered(self) -> Model:
        return Model(
            self.log.first_index - 1,
            self.log.term(self.log.first_index - 1),
            tuple(read_all(self.log)),
            self.log.hard_state,
        )

    def check_recovered(self) -> None:
        found = self.recovered()
        known_commit = self.now.state.commit
        if found.base > self.durable.base:
            self.now = self.durable.with_entries(self.durable.entries[:0], self.durable.state)
            self.base_offset = self.next_offset(found.base + 1)
            self.durable = self.durable.from_index(found.base)
        assert found.base == self.durable.base
        allowed = [self.durable.entries]
        states = {(self.durable.state.term, self.durable.state.vote)}
        if self.flying is not None:
            entries, state = self.flying
            allowed += [self.durable.with_entries(entries[:k], state).entries for k in range(1, len(entries) + 1)]
            states.add((state.term, state.vote))
        assert found.entries in allowed
        assert (found.state.term, found.state.vote) in states
        if found.entries != self.durable.entries and self.flying is not None:
            assert found.state.term == self.flying[1].term
        assert found.state.commit <= max(known_commit, found.base)
        self.now = self.durable = found
        self.flying = None
        self.unwritten = []

    # --- always ---

    @invariant()
    def shows_what_is_staged(self) -> None:
        if not hasattr(self, "log"):
            return
        log, now = self.log, self.now
        assert (log.first_index, log.last_index) == (now.base + 1, now.last)
        assert log.hard_state == now.state
        assert log.term(now.base) == now.base_term
        assert all(boundary <= now.last for boundary in log.sealed_boundaries)
        assert [log.term(entry.index) for entry in now.entries] == [entry.term for entry in now.entries]

    @rule()
    def reads_what_is_staged(self) -> None:
        if self.flying is None:
            assert tuple(read_all(self.log, 500)) == self.now.entries

    @rule(skip=st.integers(0, 30), max_bytes=st.sampled_from([1, 300, 5000]))
    def reads_batches(self, skip: int, max_bytes: int) -> None:
        end = self.next_offset(self.now.state.commit + 1)
        start = self.log.start_offset
        if start is None or start + skip >= end or self.now.last == 0:
            return
        committed = [entry.data for entry in self.now.entries if entry.kind is EntryKind.DATA]
        wanted = [data for data in committed if start + skip < parse_header(data).end_offset]
        wanted = [data for data in wanted if parse_header(data).base_offset < end]
        got = read_batches(self.log, start + skip, end, max_bytes)
        assert got
        assert got == wanted[: len(got)]
        assert len(got) == 1 or sum(map(len, got)) <= max_bytes

    @rule(back=st.integers(0, 30))
    def finds_times(self, back: int) -> None:
        if self.flying is not None:
            return
        self.write()
        end = self.next_offset(self.now.state.commit + 1)
        data = [entry.data for entry in self.now.entries if entry.kind is EntryKind.DATA]
        heads = [head for head in map(parse_header, data) if head.base_offset < end]
        target = 1000 + max(self.now.last - back, 0)
        wanted = next((head.base_offset for head in heads if head.max_timestamp >= target), None)
        job = self.log.offset_for_time(target, end)
        if job is None:
            assert wanted is None
            return
        job.run()
        assert job.base_offset == wanted


LogMachine.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLogAgainstAList = LogMachine.TestCase
