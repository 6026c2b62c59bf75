"""Runs made by hand for the tests of the report: small, whole, and with something of everything a page can show."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quorumlog.chaos import outcome
from quorumlog.chaos.outcome import RunRecord
from quorumlog.check import EventType, Recorder, judge
from quorumlog.check.history import write_history

if TYPE_CHECKING:
    from pathlib import Path

    from quorumlog.check import Event

MS = 1_000_000
#: The history's clock when it begins: monotonic time counts from a machine's start, not from the run's.
BEGAN_NS = 5_000 * MS
#: So that the first event is at this moment of UTC.
FIRST_UTC = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
OFFSET_NS = int(FIRST_UTC.timestamp()) * 1_000_000_000 - BEGAN_NS

PARTITION, REGISTER = "lines/0", "counters@lines/0"

FAULTS = (("kill the leader", 1000, 1400, {"nodes": [1]}), ("cut one way", 2000, 2600, {"pairs": [[1, 2]]}))


class Story:
    """A producer, a reader and an owner of a register over three seconds with two faults; ``lose`` is the value
    that the final read lacks, ``fork`` one that it shows at the wrong place."""

    def __init__(self, *, lose: int | None = None, fork: bool = False) -> None:
        self.recorder = Recorder()
        self._lose, self._fork = lose, fork
        self._pending: list[tuple[int, int, EventType, Any, str | None]] = []
        self._log: list[int] = []
        self._tell()

    @property
    def events(self) -> list[Event]:
        return self.recorder.events

    def _tell(self) -> None:
        process, read_to, committed, version = 1, 0, 0, 0
        self._do(0, 20, 900, "acquire", REGISTER, {"start": ["EARLIEST", 0], "force": False}, _acquired())
        for at_ms in range(40, 3000, 20):
            self._strikes(at_ms)
            value = at_ms
            if 1000 <= at_ms < 1300:
                # The leader is dead: what was sent to it just now may be there, the rest was refused.
                if at_ms < 1060:
                    self._do(
                        at_ms, 500, process, "send", PARTITION, [value], None, EventType.INFO, "lost the leader"
                    )
                    self._log.append(value)
                    process += 1
                else:
                    self._do(at_ms, 3, process, "send", PARTITION, [value], None, EventType.FAIL, "no leader")
            else:
                self._log.append(value)
                self._do(at_ms, 4 + at_ms % 7, process, "send", PARTITION, [value], len(self._log) - 1)
            if at_ms % 100 == 0 and len(self._log) > read_to + 3:
                known = self._log[read_to:-3]
                self._do(at_ms, 2, 500, "read", PARTITION, read_to, _read(read_to, known, len(self._log)))
                read_to += len(known)
            if at_ms % 200 == 0 and read_to > committed:
                committed, version = read_to, version + 1
                asked = {"offset": committed, "epoch": 1, "token": f"t{version}", "below": None}
                self._do(at_ms, 3, 900, "commit", REGISTER, asked, {"version": version + 1})
        self._settle(3200)
        self._mark(3200, "healed")
        batches = [[offset, [value]] for offset, value in enumerate(self._log) if value != self._lose]
        if self._fork:
            batches[10][1], batches[11][1] = batches[11][1], batches[10][1]
        end = len(self._log)
        self._do(3300, 30, 950, "final_read", PARTITION, 0, {"start": 0, "end": end, "batches": batches})
        stored = [committed, version + 1, f"t{version}"]
        self._do(3400, 2, 951, "final_fetch", REGISTER, None, {"stored": stored, "epoch": 1})
        self._settle(9000)

    def _strikes(self, at_ms: int) -> None:
        for name, begin_ms, end_ms, told in FAULTS:
            if at_ms == begin_ms:
                self._do(at_ms, end_ms - begin_ms, -1, "fault", name, told, {"effect": 3})

    def _do(
        self,
        at_ms: int,
        takes_ms: int,
        process: int,
        operation: str,
        key: str,
        asked: Any,
        answer: Any,
        kind: EventType = EventType.OK,
        error: str | None = None,
    ) -> None:
        self._settle(at_ms)
        invocation = self.recorder.invoke(BEGAN_NS + at_ms * MS, process, operation, key, asked)
        self._pending.append((at_ms + takes_ms, invocation, kind, answer, error))

    def _mark(self, at_ms: int, name: str) -> None:
        moment_ns = BEGAN_NS + at_ms * MS
        self.recorder.complete(moment_ns, self.recorder.invoke(moment_ns, -2, name, ""), EventType.OK)

    def _settle(self, until_ms: int) -> None:
        """Completes what has ended by then."""
        for at_ms, invocation, kind, answer, error in sorted(self._pending, key=lambda one: one[:2]):
            if at_ms <= until_ms:
                node = None if kind is not EventType.OK else 2
                self.recorder.complete(BEGAN_NS + at_ms * MS, invocation, kind, answer, error, node)
        self._pending = [one for one in self._pending if one[0] > until_ms]


def _acquired() -> dict[str, Any]:
    return {
        "epoch": 1,
        "offset": 0,
        "reason": "RULE",
        "stored": None,
        "log_start": 0,
        "log_end": 0,
        "released": True,
    }


def _read(first: int, values: list[int], end: int) -> dict[str, Any]:
    return {"start": 0, "end": end, "batches": [[first, values]] if values else []}


def keep_run(directory: Path, events: list[Event], **fields: Any) -> RunRecord:
    """A run's directory as the suite leaves it, with what the nodes said, judged."""
    directory.mkdir(parents=True, exist_ok=True)
    judged = judge(events)
    record = RunRecord(
        scenario="kill-the-leader",
        summary="Nothing acknowledged is lost when the leader is killed.",
        place="local",
        engine="raft",
        nodes=3,
        seed=7,
        verdict=judged.verdict.value,
        why=[f"{found.kind.value}: {found.key}: {found.message}" for found in judged.anomalies],
        verdicts={kind.value: verdict.value for kind, verdict in judged.verdicts.items()},
        began_utc=FIRST_UTC.isoformat(),
        utc_minus_monotonic_ns=OFFSET_NS,
        duration_s=4.2,
        load_began_ns=BEGAN_NS,
        healed_ns=BEGAN_NS + 2600 * MS,
        alive_ns=BEGAN_NS + 2900 * MS,
        operations=_operations(events),
        failovers=2,
        checks=sum(judged.examined.values()),
        replay="quorumlog chaos run kill-the-leader --where local --engine raft --seed 7",
        versions={"quorumlog": "0.1.0"},
    )
    for name, value in fields.items():
        setattr(record, name, value)
    outcome.save(directory, record)
    write_history(directory / outcome.HISTORY_FILE, events)
    (directory / "node-1.log").write_text(NODE_1, encoding="utf-8")
    (directory / "node-2.log").write_text(NODE_2, encoding="utf-8")
    return record


def _operations(events: list[Event]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for event in events:
        if event.type is not EventType.INVOKE:
            counts.setdefault(event.operation, {"ok": 0, "fail": 0, "info": 0})[event.type.value] += 1
    return counts


#: As a node writes for people: with colours, a traceback, an event of several words, and what nobody wants to read.
NODE_1 = """\
2026-03-01T11:59:58.000000Z [info     ] ready                          clients=127.0.0.1:7101 node=1
2026-03-01T12:00:00.500000Z [info     ] LeaderElected                  group_id=2 term=1
2026-03-01T12:00:00.600000Z [debug    ] CheckpointSaved                group_id=2 index=40
2026-03-01T12:00:01.500000Z [\x1b[31m\x1b[1merror    \x1b[0m] \x1b[1mReplicaDamaged\x1b[0m \
\x1b[36mgroup_id\x1b[0m=\x1b[35m2\x1b[0m \x1b[36mwhy\x1b[0m=\x1b[35m'bad checksum at 4096'\x1b[0m
Traceback (most recent call last):
  File "somewhere", line 1, in <module>
2026-03-01T12:00:02.250000Z [warning  ] peer lost: it does not accept connections any more peer=2
"""

#: The same as JSON, as containers write it.
NODE_2 = """\
{"event": "LeaderElected", "level": "info", "timestamp": "2026-03-01T12:00:01.200000Z", "group_id": 2, "term": 2}
{"event": "PeerSilent", "level": "warning", "timestamp": "2026-03-01T12:00:02.300000Z", "node_id": 1}
{"cut off in the mid
"""
