"""One client's calls on one register (a group's offset in a partition), each written into the history.

The parts are the real client's: its Acquire with its retries, the process's one committer with its coalescing
(``CommitLink``), Resolve, Release, OffsetAdmin. What to call when is left to ``owners`` and ``register_load``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from quorumlog.chaos.workloads.ground import partition_key
from quorumlog.chaos.workloads.telling import Teller
from quorumlog.check.forms import told_acquired, told_stored
from quorumlog.check.offset_evidence import register_key
from quorumlog.client import OffsetAdmin, QuorumlogError
from quorumlog.client.errors import OutcomeUnknown, Reason, make_error
from quorumlog.client.offset_calls import Fallback, StartPolicy, acquire, release, resolve
from quorumlog.client.offset_types import FetchedOffset, ResetOffset, TopicPartition
from quorumlog.client.policy.commits import CommitMode, CommitSettings, PartitionCommits
from quorumlog.client.policy.committer import Attempt
from quorumlog.client.policy.progress import Progress
from quorumlog.client.start import AtOffset, Earliest, FromBegin, FromEnd, Latest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.chaos.workloads.ground import Ground
    from quorumlog.client.commit_link import CommitLink
    from quorumlog.client.offset_calls import Acquired
    from quorumlog.client.offset_types import Resolution
    from quorumlog.client.receipt import Receipt
    from quorumlog.client.start import Start

CALL_TIMEOUT_MS = 3_000.0
#: Receipts remembered for asking about them later.
_RECEIPTS = 20
#: A final fetch that is not answered is begun anew by another client.
_FINAL_ATTEMPTS = 10


class Register:
    """One group's offset in one partition, and what its users share: acknowledged commits by their tokens."""

    def __init__(self, ground: Ground, group: str, topic: str, partition: int) -> None:
        self.ground = ground
        self.group = group
        self.partition = TopicPartition(topic, partition)
        self.key = register_key(group, partition_key(topic, partition))
        self.receipts: list[tuple[str, Receipt]] = []

    def remember(self, token: str, receipt: Receipt) -> None:
        self.receipts.append((token, receipt))
        del self.receipts[:-_RECEIPTS]


def told_rule(start: Start) -> list[object]:
    """How the history names a start rule."""
    match start:
        case Earliest():
            return ["EARLIEST", 0]
        case Latest():
            return ["LATEST", 0]
        case AtOffset(offset):
            return ["OFFSET", offset]
        case FromBegin(count):
            return ["FROM_BEGIN", count]
        case FromEnd(count):
            return ["FROM_END", count]
    raise ValueError(f"no register begins at {start}")


class RegisterClient:
    """See the module. It owns the register between an ``acquire`` that was granted and the next ``release``;
    nothing keeps it from committing when it does not."""

    def __init__(self, register: Register, link: CommitLink) -> None:
        self.register = register
        self.teller = Teller(register.ground, register.key)
        self.acquired: Acquired | None = None
        self._link = link
        self._key = (register.group, *register.partition)
        self._session = 0
        self._sequence = 0

    # --- ownership

    async def acquire(self, start: Start, *, force: bool = False) -> Acquired | QuorumlogError:
        """Takes the register over, in a new session unless it is owned here already."""
        if self.acquired is None:
            self._session = self._link.network.random.getrandbits(63) | 1
            self._sequence = 0
        policy = StartPolicy(start, force=force, on_out_of_range=Fallback.EARLIEST, on_truncated=Fallback.EARLIEST)
        invocation = self.teller.begin("acquire", {"start": told_rule(start), "force": force})
        try:
            acquired = await acquire(self._link.network, self._key, self._session, policy, 0, CALL_TIMEOUT_MS)
        except QuorumlogError as error:
            self.teller.refused(invocation, error)
            self.acquired = None
            return error
        self.teller.end(invocation, value=told_acquired(acquired))
        self.acquired = acquired
        return acquired

    async def release(self) -> None:
        """Gives the register back."""
        acquired, self.acquired = self.acquired, None
        if acquired is None:
            return
        epoch = acquired.owner_epoch
        settings = CommitSettings(CommitMode.MANUAL)
        commits = PartitionCommits(
            self._key, epoch, self._session, Progress(0), settings, self._link.network.random
        )
        invocation = self.teller.begin("release", {"epoch": epoch})
        try:
            await release(self._link.network, commits, CALL_TIMEOUT_MS)
        except QuorumlogError as error:
            self.teller.refused(invocation, error)
        else:
            self.teller.end(invocation)

    # --- commits

    async def commit(self, acquired: Acquired, offset: int, patience_ms: float) -> Receipt | QuorumlogError:
        """Commits once, as the owner that ``acquired`` made, and waits so long for the answer. What became of a
        commit of unknown outcome is asked at once."""
        register = self.register
        self._sequence += 1
        token = f"c{register.ground.new_number()}"
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        attempt = Attempt(
            self._key,
            offset,
            acquired.owner_epoch,
            self._session,
            self._sequence,
            None,
            token.encode(),
            lambda _: ended.set_result(None),
        )
        asked = {"offset": offset, "epoch": acquired.owner_epoch, "token": token}
        invocation = self.teller.begin("commit", asked)
        self._link.submit(attempt)
        done, _ = await asyncio.wait([ended], timeout=patience_ms / 1000)
        if not done:
            words = f"no answer within {patience_ms:.0f} ms"
            self._link.give_up(attempt, make_error(Reason.DEADLINE, words, not_done=True))
        receipt, error = attempt.receipt, attempt.error
        if receipt is not None:
            self.teller.end(invocation, value={"version": receipt.version, "term": receipt.term})
            register.remember(token, receipt)
            return receipt
        assert error is not None
        self.teller.refused(invocation, error)
        if isinstance(error, OutcomeUnknown):
            await self._ask_after(attempt, token)
        return error

    async def _ask_after(self, attempt: Attempt, token: str) -> None:
        invocation = self.teller.begin("resolve", {"token": token})
        try:
            found = await resolve(self._link.network, attempt)
        except QuorumlogError as error:
            self.teller.unanswered(invocation, error)
        else:
            self.teller.end(invocation, value=_told_fate(found))


async def ask_fate(teller: Teller, admin: OffsetAdmin, token: str, receipt: Receipt) -> None:
    """What became of a commit that was acknowledged."""
    invocation = teller.begin("resolve", {"token": token})
    try:
        found = await admin.resolve(receipt)
    except QuorumlogError as error:
        teller.unanswered(invocation, error)
    else:
        teller.end(invocation, value=_told_fate(found))


def _told_fate(found: Resolution) -> dict[str, object]:
    return {"fate": found.fate.name, "version": found.receipt.version if found.receipt else 0}


async def fetch(
    register: Register, teller: Teller, admin: OffsetAdmin, *, final: bool = False
) -> FetchedOffset | QuorumlogError:
    """The stored offset through the leader, linearizably."""
    invocation = teller.begin("final_fetch" if final else "fetch")
    (found,) = (await admin.fetch(register.group, [register.partition])).values()
    _tell_fetched(teller, invocation, found)
    return found


async def fetch_at(
    register: Register, teller: Teller, admin: OffsetAdmin, node_id: int, version: int
) -> FetchedOffset | QuorumlogError:
    """The stored offset as one node has it, of this version or a later one."""
    found: FetchedOffset | QuorumlogError
    invocation = teller.begin("fetch", version, node_id)
    try:
        found = await admin.fetch_at(node_id, register.group, register.partition, version)
    except QuorumlogError as error:
        found = error
    _tell_fetched(teller, invocation, found, node_id)
    return found


async def fetch_finally(registers: Sequence[Register]) -> None:
    """A fresh client fetches each of them; one that is not answered is followed by another."""
    if not registers:
        return
    missing = list(registers)
    ground = missing[0].ground
    for _ in range(_FINAL_ATTEMPTS):
        async with OffsetAdmin(ground.servers, timeout_ms=CALL_TIMEOUT_MS) as admin:
            found = await asyncio.gather(
                *(fetch(each, Teller(ground, each.key), admin, final=True) for each in missing)
            )
        missing = [each for each, told in zip(missing, found, strict=True) if isinstance(told, QuorumlogError)]
        if not missing:
            return


def _tell_fetched(
    teller: Teller, invocation: int, found: FetchedOffset | QuorumlogError, node_id: int | None = None
) -> None:
    if isinstance(found, QuorumlogError):
        teller.unanswered(invocation, found, node_id)
    else:
        value = {"stored": told_stored(found.stored), "epoch": found.owner_epoch}
        teller.end(invocation, value=value, node=node_id)


async def reset(
    register: Register, teller: Teller, admin: OffsetAdmin, offset: int, expected_version: int, *, force: bool
) -> ResetOffset | QuorumlogError:
    """Moves the stored offset, if it still is of this version."""
    invocation = teller.begin("reset", {"offset": offset})
    told = await admin.reset(
        register.group,
        [register.partition],
        AtOffset(offset),
        reason="the chaos suite says so",
        expected_versions={register.partition: expected_version},
        force=force,
    )
    (found,) = told.values()
    if isinstance(found, QuorumlogError):
        teller.refused(invocation, found)
    else:
        teller.end(invocation, value={"version": found.stored.version})
    return found
