"""Those who use one register during the load: owners that fight for it, watchers, operators.

A *rough* owner keeps no rule: it goes on committing after it was fenced, commits backwards and beyond the end, and
holds on without a word. A *fair* one is an application with ``quorumlog.client.Claim``, which keeps them all. Where
both use one register, each is fenced by the other again and again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.chaos.workloads.register_client import (
    CALL_TIMEOUT_MS,
    Register,
    RegisterClient,
    ask_fate,
    fetch,
    fetch_at,
    reset,
    told_rule,
)
from quorumlog.chaos.workloads.telling import Teller
from quorumlog.check.forms import told_acquired
from quorumlog.client import Claim, OutcomeUnknown, QuorumlogError
from quorumlog.client.errors import Reason
from quorumlog.client.offset_calls import Fallback, StartPolicy
from quorumlog.client.policy.commits import CommitMode, CommitSettings
from quorumlog.client.start import Earliest, FromBegin, FromEnd, Latest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.chaos.workloads.ground import Pace
    from quorumlog.client.commit_link import CommitLink
    from quorumlog.client.offset_admin import OffsetAdmin
    from quorumlog.client.offset_calls import Acquired
    from quorumlog.client.start import Start

#: How long an owner that was fenced, or gave back, leaves the register to others.
_SULK_S = 0.3
_PATIENCES_MS = (300.0, 1_500.0, 4_000.0)
_STARTS: tuple[Start, ...] = (Earliest(), Latest(), FromEnd(3), FromBegin(5))
_DISPLACED = frozenset({Reason.FENCED, Reason.NOT_OWNER})


async def own_roughly(register: Register, link: CommitLink, pace: Pace) -> None:
    """Acquires, commits, releases, and keeps no rule."""
    ground, random = register.ground, register.ground.random
    client = RegisterClient(register, link)
    position = 0
    while not ground.stopping.is_set():
        await pace.turn()
        acquired = client.acquired
        chance = random.random()
        if acquired is None or chance < 0.1:
            got = await client.acquire(random.choice(_STARTS), force=random.random() < 0.1)
            if not isinstance(got, QuorumlogError):
                position = got.start_offset
        elif chance < 0.9:
            offset = _somewhere(position, acquired, random.random(), random.randint(0, 3))
            told = await client.commit(acquired, offset, random.choice(_PATIENCES_MS))
            if not isinstance(told, QuorumlogError):
                position = offset
            elif told.reason in _DISPLACED and random.random() < 0.8:
                # One in five does not believe it, and goes on: a zombie.
                client.acquired = None
                await ground.pause(_SULK_S)
        elif chance < 0.96:
            await client.release()
            await ground.pause(_SULK_S)
        else:
            # As a process does that hangs.
            await ground.pause(random.uniform(0.5, 2.0))


def _somewhere(position: int, acquired: Acquired, chance: float, step: int) -> int:
    """Mostly a little further on; now and then back, or beyond the end."""
    if chance < 0.06:
        return max(0, position - 1 - step)
    if chance < 0.1:
        # Far beyond: the log goes on growing after the Acquire told its end.
        return acquired.log_end + 1_000_000 + step
    return max(position, min(acquired.log_end, position + step))


async def own_fairly(register: Register, link: CommitLink, pace: Pace) -> None:
    """Holds a claim until it is lost, or for a while, and commits to it in order."""
    ground, random = register.ground, register.ground.random
    teller = Teller(ground, register.key)
    while not ground.stopping.is_set():
        await pace.turn()
        claim = await _claim(register, link, teller)
        if claim is None:
            await ground.pause(_SULK_S)
            continue
        position = claim.acquired.start_offset
        while not ground.stopping.is_set() and random.random() > 0.05:
            await pace.turn()
            position = max(position, min(claim.acquired.log_end, position + random.randint(0, 5)))
            if not await _commit(register, claim, teller, position):
                break
        await _give_back(claim, teller)
        await ground.pause(_SULK_S)


async def _claim(register: Register, link: CommitLink, teller: Teller) -> Claim | None:
    random = register.ground.random
    start = random.choice(_STARTS)
    key = (register.group, *register.partition)
    policy = StartPolicy(start, on_out_of_range=Fallback.EARLIEST, on_truncated=Fallback.EARLIEST)
    settings = CommitSettings(CommitMode.MANUAL, double=random.random() < 0.3)
    invocation = teller.begin("acquire", {"start": told_rule(start), "force": False})
    try:
        claim = await Claim.acquire(link, key, policy, settings, timeout_ms=CALL_TIMEOUT_MS)
    except QuorumlogError as error:
        teller.refused(invocation, error)
        return None
    teller.end(invocation, value=told_acquired(claim.acquired))
    return claim


async def _commit(register: Register, claim: Claim, teller: Teller, offset: int) -> bool:
    """Commits once; False when the claim is of no more use."""
    token = f"c{register.ground.new_number()}"
    asked = {"offset": offset, "epoch": claim.acquired.owner_epoch, "token": token}
    invocation = teller.begin("commit", asked)
    try:
        receipt = await claim.commit(
            offset, token.encode(), timeout_ms=register.ground.random.choice(_PATIENCES_MS)
        )
    except QuorumlogError as error:
        teller.refused(invocation, error)
        # A claim whose last commit is not settled would send this token or the next one later: one of them only.
        settled = not isinstance(error, OutcomeUnknown) or await claim.flush(CALL_TIMEOUT_MS)
        return settled and claim.lost is None
    teller.end(invocation, value={"version": receipt.version, "term": receipt.term})
    register.remember(token, receipt)
    return True


async def _give_back(claim: Claim, teller: Teller) -> None:
    if claim.lost is not None:
        await claim.end()
        return
    invocation = teller.begin("release", {"epoch": claim.acquired.owner_epoch})
    await claim.close(CALL_TIMEOUT_MS)
    teller.end(invocation)


async def watch(register: Register, admin: OffsetAdmin, node_ids: Sequence[int], pace: Pace) -> None:
    """Fetches, from the leader or as of a known version from any node; asks after acknowledged commits."""
    ground, random = register.ground, register.ground.random
    teller = Teller(ground, register.key)
    while not ground.stopping.is_set():
        await pace.turn()
        chance = random.random()
        if register.receipts and chance < 0.1:
            token, receipt = random.choice(register.receipts)
            await ask_fate(teller, admin, token, receipt)
        elif register.receipts and chance < 0.4:
            version = random.choice(register.receipts[-5:])[1].version
            await fetch_at(register, teller, admin, random.choice(node_ids), version)
        else:
            await fetch(register, teller, admin)


async def operate(register: Register, admin: OffsetAdmin) -> None:
    """Resets the register now and then: back or forward, with the right expectation or a wrong one."""
    ground, random = register.ground, register.ground.random
    teller = Teller(ground, register.key)
    while not await ground.pause(random.uniform(0.5, 2.5)):
        found = await fetch(register, teller, admin)
        if isinstance(found, QuorumlogError) or found.stored is None:
            continue
        offset = random.randrange(found.stored.offset + 3)
        version = found.stored.version - (random.random() < 0.2)
        await reset(register, teller, admin, offset, max(version, 1), force=random.random() < 0.7)
