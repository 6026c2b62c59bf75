"""One scenario from its beginning to its verdict.

*Setting up*: the cluster starts, the workload makes its topics. *Safety*: load and faults together; nothing but
correctness is asked. *Liveness*: everything is healed but what is broken for good; within the place's patience all
that the healthy nodes hold must serve again. *The end*: the load stops, everything is read once more by fresh
clients, all replicas must agree, and the history is judged.

Whatever goes wrong on the way is a line of the record's ``why``; the cluster is always taken down, and the history
always kept.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from random import Random
from typing import TYPE_CHECKING, Any

from quorumlog.chaos import outcome
from quorumlog.chaos.faults import Scene
from quorumlog.chaos.faults.links import Links
from quorumlog.chaos.nemesis import Nemesis
from quorumlog.chaos.outcome import RunRecord
from quorumlog.chaos.places import PlaceKind
from quorumlog.chaos.places.place import NotPossible, describe_lacks
from quorumlog.chaos.workloads import Setting
from quorumlog.chaos.workloads.catalog import workload_named
from quorumlog.chaos.workloads.workload import patience_s
from quorumlog.check import EventType, Expectations, MalformedHistory, Recorder, Verdict, judge
from quorumlog.check.account import account
from quorumlog.check.history import write_history
from quorumlog.client import Admin, OffsetAdmin, QuorumlogError
from quorumlog.client.offset_types import Finding
from quorumlog.cluster.launcher import NodeFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from quorumlog.chaos.places import Place
    from quorumlog.chaos.scenario import Scenario
    from quorumlog.chaos.workloads import Workload
    from quorumlog.check.account import Account

#: In a run's directory: where the suite itself went wrong.
DEFECT_FILE = "defect.txt"
#: The history's process id of what the run itself notes.
MARKER = -2
#: For the load to end once it is told to, and for final reads; far above what they take.
END_TIMEOUT_S = 120.0
_LOOK_S = 0.1
#: Services that a majority must not cease to give (``quorumlog.check.availability``); a group may wait for
#: a member's session to end.
_ALWAYS_SERVED = frozenset({"append", "read", "offsets"})
#: What must have succeeded while there were faults, if the workload does it at all.
_WORK = ("send", "read", "process", "commit")
#: Findings that no fault excuses; an offset that retention overtook is not among them.
_NEVER = frozenset({Finding.REPLICAS_DISAGREE, Finding.AHEAD_OF_LOG, Finding.FINGERPRINT_MISMATCH})


class Broken(Exception):
    """The run cannot go on; the message says what did not happen."""


async def carry_out(
    scenario: Scenario, place: Place, seed: int, directory: Path, tell: Callable[[str], None]
) -> RunRecord:
    """Runs ``scenario`` in ``place`` and leaves the run in ``directory``. ``tell`` hears which phase begins.

    Never raises for what the cluster does, nor for what a fault or a workload raises: that is a line of the record.
    """
    record = RunRecord(
        scenario=scenario.name,
        summary=scenario.summary,
        place=place.kind.value,
        engine=place.engine,
        nodes=len(place.nodes),
        seed=seed,
        patience_s=patience_s(place.kind),
        began_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        utc_minus_monotonic_ns=time.time_ns() - time.monotonic_ns(),
        replay=f"quorumlog chaos run {scenario.name} --where {place.kind} --engine {place.engine} --seed {seed}",
        versions={"quorumlog": version("quorumlog"), "python": sys.version.split()[0], "grpcio": version("grpcio")},
    )
    record.skipped = describe_lacks(place, sorted(scenario.needs))
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    if not record.skipped:
        await _Run(scenario, place, seed, record, tell).carry_out(directory)
    outcome.save(directory, record)
    return record


class _Run:
    """One run under way; it fills ``record`` in."""

    def __init__(
        self, scenario: Scenario, place: Place, seed: int, record: RunRecord, tell: Callable[[str], None]
    ) -> None:
        self._scenario = scenario
        self._place = place
        self._seed = seed
        self._record = record
        self._tell = tell
        self._recorder = Recorder()
        self._expectations = Expectations()
        self._obstacles: list[str] = []
        """What kept the run from being carried through, for which the cluster is not to blame."""

    async def carry_out(self, directory: Path) -> None:
        record, began = self._record, time.monotonic()
        try:
            self._tell("starting")
            if await self._start():
                await self._on_the_cluster()
        except* (NodeFailed, QuorumlogError) as errors:
            record.why += [f"{type(error).__name__}: {error}" for error in _leaves(errors)]
        except* NotPossible as errors:
            self._obstacles += [str(error) for error in _leaves(errors)]
        except* Exception as errors:
            # A suite of an hour must not end for one run of it; but what cannot be explained is never a success.
            record.why += [f"the run broke off: {error!r}" for error in _leaves(errors)]
            await asyncio.to_thread(
                (directory / DEFECT_FILE).write_text, "".join(traceback.format_exception(errors))
            )
        finally:
            await self._leave(directory)
        self._tell("judging")
        self._recorder.close(Setting.now_ns())
        await asyncio.to_thread(self._judge)
        await asyncio.to_thread(write_history, directory / outcome.HISTORY_FILE, self._recorder.events)
        record.duration_s = round(time.monotonic() - began, 1)

    async def _start(self) -> bool:
        try:
            await self._place.start()
        except (NodeFailed, NotPossible) as error:
            self._obstacles.append(f"no cluster to run on: {error}")
            return False
        return True

    async def _leave(self, directory: Path) -> None:
        """Keeps what the nodes have said and takes the cluster down. One that stays is left as it was, or the
        record says what is still wrong with it."""
        try:
            await self._place.keep_logs(directory)
        except OSError as error:
            self._obstacles.append(f"the nodes' logs could not be kept: {error}")
        finally:
            try:
                await self._place.close()
            except NotPossible as error:
                self._record.left_harmed = str(error)
                self._obstacles.append(str(error))

    async def _on_the_cluster(self) -> None:
        scenario, place = self._scenario, self._place
        setting = Setting(
            place.servers,
            scenario.load,
            self._recorder,
            Random(f"{self._seed}/{scenario.name}/load"),
            len(place.nodes),
            remove=place.kind is PlaceKind.ATTACHED,
        )
        workload = workload_named(scenario.load.workload, setting)
        async with Admin(place.servers) as admin:
            try:
                self._tell("setting up")
                await workload.set_up()
                self._expectations = _with_faults(workload.expectations(), scenario)
                scene = Scene(
                    place,
                    admin,
                    Random(f"{self._seed}/{scenario.name}/faults"),
                    Links(place),
                    workload.topics,
                    workload.groups,
                )
                await self._under_load(workload, scene)
            finally:
                await workload.close()

    async def _under_load(self, workload: Workload, scene: Scene) -> None:
        record, place = self._record, self._place
        nemesis = Nemesis(scene, self._scenario.plan, self._recorder, Setting.now_ns)
        elected = self._elections()
        record.load_began_ns = Setting.now_ns()
        async with asyncio.TaskGroup() as tasks:
            load = tasks.create_task(workload.run())
            strikes = tasks.create_task(nemesis.run())
            try:
                self._tell("load and faults")
                await _while_alive(load, strikes, self._scenario.duration_s)
                self._tell("healing")
                await nemesis.heal()
                self._mark("healed")
                record.healed_ns = Setting.now_ns()
                record.failovers = self._elections() - elected
                self._mark("elections", {"count": record.failovers})
                served = set(place.nodes) - nemesis.out_for_good
                await self._alive(workload, served)
                record.alive_ns = Setting.now_ns()
                self._tell("final reads")
                workload.stop()
                await _in_time(load, "the load does not end")
                await _in_time(workload.finish(), "final reads do not end")
                if not any(strike.for_good for strike in self._scenario.plan):
                    await self._agree(workload)
            except (Broken, QuorumlogError) as error:
                record.why.append(str(error))
            finally:
                workload.stop()
                nemesis.end()

    async def _alive(self, workload: Workload, served: set[int]) -> None:
        loop = asyncio.get_running_loop()
        patience = self._record.patience_s
        deadline = loop.time() + patience
        missing = "nothing was answered"
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    missing = await workload.prove_alive(served)
                    if not missing:
                        return
                    await asyncio.sleep(_LOOK_S)
            except TimeoutError:
                raise Broken(f"liveness: {patience:.0f} s after healing {missing}") from None

    async def _agree(self, workload: Workload) -> None:
        """All replicas of all partitions have equal digests at an equal index, in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._record.patience_s
        async with OffsetAdmin(self._place.servers) as offsets:
            while True:
                wrong = await _disagreements(offsets, workload.topics)
                if not wrong:
                    return
                if loop.time() > deadline:
                    raise Broken(f"replicas do not agree: {'; '.join(wrong)}")
                await asyncio.sleep(_LOOK_S)

    def _elections(self) -> int:
        """How often any node has begun to lead any group."""
        return sum(self._place.said(node, "LeaderElected") for node in self._place.nodes)

    def _mark(self, moment: str, value: dict[str, int] | None = None) -> None:
        invocation = self._recorder.invoke(Setting.now_ns(), MARKER, moment, "")
        self._recorder.complete(Setting.now_ns(), invocation, EventType.OK, value)

    def _judge(self) -> None:
        record, events = self._record, self._recorder.events
        record.expectations = self._expectations.to_json()
        try:
            report = judge(events, self._expectations)
            found = account(events, int(record.patience_s * 1000))
        except MalformedHistory as error:
            record.why += [f"the history is malformed: {error}", *self._obstacles]
            return
        record.operations = found.operations
        for fault in found.faults:
            name = fault.fault.name
            record.fault_effects[name] = record.fault_effects.get(name, 0) + (fault.fault.effect or 0)
        record.found = outcome.summary(report.anomalies, record.load_began_ns)
        record.verdicts = {kind.value: verdict.value for kind, verdict in report.verdicts.items()}
        record.checks = sum(report.examined.values())
        record.why += [f"{found.kind.value}: {found.key}: {found.message}" for found in report.anomalies]
        record.why += found.complaints
        record.why += self._beyond_bounds(found)
        wrong, unknown = bool(record.why), [*self._obstacles, *report.doubts]
        record.why += [f"unknown: {why}" for why in unknown]
        record.why += [f"proves nothing: {why}" for why in report.vacuous]
        verdict = Verdict.UNKNOWN if self._obstacles else report.verdict
        record.verdict = (Verdict.FALSE if wrong else verdict).value

    def _beyond_bounds(self, found: Account) -> Iterator[str]:
        """What the scenario does not allow although no anomaly comes of it."""
        scenario, elected = self._scenario, self._record.failovers
        if scenario.elections_max is not None and elected > scenario.elections_max:
            yield f"{elected} leaders were elected; {scenario.elections_max} are allowed"
        if scenario.unserved_max_s is None:
            return
        allowed_ms = 1000 * scenario.unserved_max_s
        for fault in found.faults:
            for gap in fault.gaps:
                if gap.service in _ALWAYS_SERVED and gap.length_ms > allowed_ms:
                    yield (
                        f"{fault.fault.name}: {gap.service} of {gap.key} was not served for {gap.length_ms:.0f} ms;"
                        f" {allowed_ms:.0f} ms are allowed"
                    )


def _leaves(errors: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    """The errors themselves, of however many task groups within one another."""
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _with_faults(expectations: Expectations, scenario: Scenario) -> Expectations:
    """What the workload must have shown; every fault of the plan must have had an effect, and have met work."""
    return replace(
        expectations,
        effects=(*expectations.effects, *scenario.faults),
        failovers=int(scenario.failover),
        amid={name: 1 for name in _WORK if name in expectations.ok} if scenario.plan and scenario.serves else {},
    )


async def _while_alive(load: asyncio.Task[None], strikes: asyncio.Task[None], seconds: float) -> None:
    """Lets both go on for so long. Raises what a task raised, or Broken when the load ended by itself."""
    await asyncio.wait([load, strikes], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    if load.done() and not load.exception():
        raise Broken("the load ended before its time")


async def _in_time(work: Awaitable[None], complaint: str) -> None:
    try:
        async with asyncio.timeout(END_TIMEOUT_S):
            await work
    except TimeoutError:
        raise Broken(f"{complaint} within {END_TIMEOUT_S:.0f} s") from None


async def _disagreements(offsets: OffsetAdmin, topics: list[str]) -> list[str]:
    """What is wrong with replicas of these topics just now; empty when all agree and all could be asked."""
    findings = await offsets.verify(await offsets.partitions(topics))
    wrong = []
    for each in findings:
        wrong += [f"{each.topic}/{each.partition}: node {node}: {why}" for node, why in each.missing.items()]
        wrong += [
            f"{each.topic}/{each.partition}: {one.finding}: {one.explanation}"
            for one in each.groups
            if one.finding in _NEVER
        ]
    return wrong
