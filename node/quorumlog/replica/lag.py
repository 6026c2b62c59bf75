"""How far groups are behind, in records, bytes and time; also of groups whose consumers are gone.

The leader tells it, from one moment of its state machine that a majority has confirmed: an end of one moment minus
an offset of another would be a lag that never was.

``records`` are counted, and ``age_ms`` is that of the very record that is due next. ``bytes`` are exact while the
records are in memory; beyond that they are the log's bytes from the index point before the record on, at most
16 KiB and one entry too many in front, and with all that is in the log beside records (heads, offset commits).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from quorumlog.replica.failures import Failure
from quorumlog.replica.lag_window import LagWindow
from quorumlog.replica.offset_api import GroupLag

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.machine.offset_group import OffsetGroup
    from quorumlog.replica.api import Done
    from quorumlog.replica.ground import Ground
    from quorumlog.replica.record_finder import FoundBatch

#: Records whose time is remembered: groups that stand still are asked about again and again.
_REMEMBERED_TIMES = 4_096
#: A record's time, and its bytes and those behind it where memory does not tell.
_Due = tuple[int, tuple[str, int] | None]


class PartitionLags:
    """One partition's, on its leader."""

    __slots__ = ("_due", "_ground", "_windows", "partition", "topic")

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._windows: dict[str, LagWindow] = {}
        self._due: OrderedDict[int, _Due] = OrderedDict()
        self.topic = ""
        self.partition = 0

    # --- samples ---

    def sample(self, now_ms: int) -> None:
        """Notes where every group stands; the node calls it every ``SAMPLE_MS`` or so while this replica leads."""
        machine = self._ground.machine
        end, windows = machine.end_offset, self._windows
        names = machine.offsets.names()
        for name in names:
            group = machine.offsets.get(name)
            if group is not None:
                window = windows.get(name)
                if window is None:
                    window = windows[name] = LagWindow()
                window.add(now_ms, self._next(group), end)
        if len(windows) > len(names):
            self._windows = {name: windows[name] for name in names}

    def forget(self) -> None:
        """Another replica leads, and its samples are not these."""
        self._windows.clear()

    def _next(self, group: OffsetGroup) -> int:
        """The next record to be processed; the log's first if nothing is stored."""
        stored = group.live
        return stored.offset if stored is not None else self._ground.machine.start_offset

    # --- answers ---

    def lag(self, names: tuple[str, ...], deadline_ms: int, done: Done[tuple[GroupLag, ...]]) -> None:
        """The groups named (those that have something here), or all, by name."""
        wait = self._ground.wait

        def answer() -> None:
            offsets = self._ground.machine.offsets
            known = [name for name in sorted(set(names)) if offsets.get(name)] if names else offsets.names()
            Measuring(self, known, done).go_on()

        wait.lead(deadline_ms, lambda: wait.confirm(deadline_ms, answer, done), done)

    def due(self, offset: int, on_disk: bool, done: Callable[[_Due | Failure | None], None]) -> None:
        """The record at ``offset``, and (``on_disk``) where in the files; None if it is gone."""
        known = self._due.get(offset)
        if known is not None and (known[1] is not None or not on_disk):
            done(known)
            return

        def found(batch: FoundBatch | Failure | None) -> None:
            if batch is None or isinstance(batch, Failure):
                done(batch)
                return
            due = (batch.time_ms(offset), batch.found_at)
            self._due[offset] = due
            if len(self._due) > _REMEMBERED_TIMES:
                self._due.popitem(last=False)
            done(due)

        finder = self._ground.finder
        (finder.find_on_disk if on_disk else finder.find)(offset, found)

    def measured(self, name: str, end: int, due: _Due | None, exact: int | None) -> GroupLag | None:
        """One group's lag. ``due``: what was found of its next record that is still there; ``exact``: the bytes
        from there on, if memory tells."""
        machine, host = self._ground.machine, self._ground.host
        group = machine.offsets.get(name)
        if group is None:
            return None
        stored = group.live
        committed = self._next(group)
        window = self._windows.get(name) or LagWindow()
        return GroupLag(
            name,
            self.topic,
            self.partition,
            stored.offset if stored is not None else None,
            machine.start_offset,
            end,
            max(end - committed, 0),
            self._bytes(due, exact),
            max(host.wall_ms() - due[0], 0) if due is not None else 0,
            window.verdict(self._ground.now_ms(), committed, end, owned=group.owned),
            group.owner,
            stored.wall_ms if stored is not None else 0,
        )

    def _bytes(self, due: _Due | None, exact: int | None) -> int:
        if exact is not None:
            return exact
        if due is None or due[1] is None:
            return 0  # retention has just removed it
        return self._ground.replica.log.bytes_from(due[1])

    def exact_bytes(self, first: int, end: int) -> int | None:
        """Bytes of the batches from ``first`` on, if they are all in memory."""
        return self._ground.replica.log.bytes_between(first, end)

    @property
    def bounds(self) -> tuple[int, int]:
        machine = self._ground.machine
        return machine.start_offset, machine.end_offset

    def next_of(self, name: str) -> int:
        """The group's next record; the log's first if nothing is stored, or no group is there."""
        group = self._ground.machine.offsets.get(name)
        return self._next(group) if group is not None else self._ground.machine.start_offset


class Measuring:
    """One answer, group by group: each may need a batch from the disk."""

    __slots__ = ("_done", "_lags", "_names", "_number", "_over", "_running", "_told")

    def __init__(self, lags: PartitionLags, names: list[str], done: Done[tuple[GroupLag, ...]]) -> None:
        self._lags = lags
        self._names = names
        self._done = done
        self._number = 0
        self._told: list[GroupLag] = []
        self._running = False
        self._over = False

    def go_on(self) -> None:
        """Measures the groups that are left, as far as memory goes; what comes from the disk calls again."""
        if self._running or self._over:
            return
        self._running = True
        names = self._names
        checked = -1
        while checked < self._number < len(names) and not self._over:
            checked = self._number
            self._measure(names[checked])
        self._running = False
        if self._number == len(names) and not self._over:
            self._over = True
            self._done(tuple(self._told))

    def _measure(self, name: str) -> None:
        lags = self._lags
        start, end = lags.bounds
        first = max(lags.next_of(name), start)
        exact = lags.exact_bytes(first, end)

        def due(found: _Due | Failure | None) -> None:
            if isinstance(found, Failure):
                self._over = True
                self._done(found)
                return
            told = lags.measured(name, end, found, exact)
            if told is not None:
                self._told.append(told)
            self._number += 1
            self.go_on()

        if first >= end:
            due(None)
        else:
            lags.due(first, exact is None, due)
