"""The load on registers: groups' committed offsets, used without consumers (``owners``); and the proof that all of
them work, by a fresh owner of each that commits and finds its commit again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from quorumlog.chaos.workloads.ground import partition_key
from quorumlog.chaos.workloads.owners import operate, own_fairly, own_roughly, watch
from quorumlog.chaos.workloads.register_client import (
    CALL_TIMEOUT_MS,
    Register,
    RegisterClient,
    fetch,
    fetch_finally,
)
from quorumlog.client import OffsetAdmin, QuorumlogError
from quorumlog.client.commit_link import CommitLink
from quorumlog.client.errors import Reason
from quorumlog.client.start import Earliest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from quorumlog.chaos.workloads.ground import Ground, Pace, TopicPlan

_PROOF_MS = 2_000.0
#: A proof that other owners push aside is begun again so often before it reports that.
_PROOF_ATTEMPTS = 10


class RegisterLoad:
    """See the module."""

    def __init__(
        self,
        ground: Ground,
        topics: Sequence[TopicPlan],
        groups: Sequence[str],
        pace: Pace,
        node_ids: Sequence[int],
    ) -> None:
        self._ground = ground
        self._pace = pace
        self._node_ids = node_ids
        self._registers = [
            Register(ground, group, topic.name, partition)
            for group in groups
            for topic in topics
            for partition in range(topic.partitions)
        ]

    def begin(self) -> None:
        self._ground.begin(self._run(), "registers")

    async def _run(self) -> None:
        ground, pace = self._ground, self._pace
        link = CommitLink.shared(ground.servers)
        try:
            async with (
                OffsetAdmin(ground.servers, timeout_ms=CALL_TIMEOUT_MS) as admin,
                asyncio.TaskGroup() as users,
            ):
                for register in self._registers:
                    users.create_task(own_roughly(register, link, pace))
                    users.create_task(own_fairly(register, link, pace))
                    users.create_task(watch(register, admin, self._node_ids, pace))
                    users.create_task(operate(register, admin))
        finally:
            await link.release()

    async def prove(self, served: Collection[str]) -> str:
        """A fresh owner of every register in these partitions has a commit accepted and finds it again."""
        link = CommitLink.shared(self._ground.servers)
        try:
            async with OffsetAdmin(self._ground.servers, timeout_ms=_PROOF_MS) as admin:
                found = await asyncio.gather(
                    *(
                        _prove(register, link, admin)
                        for register in self._registers
                        if partition_key(*register.partition) in served
                    )
                )
        finally:
            await link.release()
        return "; ".join(filter(None, found))

    async def finish(self) -> None:
        """Fresh clients fetch every register."""
        await fetch_finally(self._registers)

    async def close(self) -> None:
        """Nothing outlives the ground."""

    def least(self) -> dict[str, int]:
        registers = len(self._registers)
        return {"acquire": registers, "commit": 2 * registers, "fetch": registers, "final_fetch": registers}


async def _prove(register: Register, link: CommitLink, admin: OffsetAdmin) -> str:
    client = RegisterClient(register, link)
    error: QuorumlogError | None = None
    for _ in range(_PROOF_ATTEMPTS):
        acquired = await client.acquire(Earliest())
        if isinstance(acquired, QuorumlogError):
            error = acquired
            break
        told = await client.commit(acquired, acquired.start_offset, _PROOF_MS)
        if isinstance(told, QuorumlogError):
            error = told
            client.acquired = None
            # Somebody else has taken over meanwhile, or moved the offset: which takes a register that works.
            if error.reason in (Reason.FENCED, Reason.NOT_OWNER, Reason.OFFSET_REGRESSED):
                continue
            break
        found = await fetch(register, client.teller, admin)
        if isinstance(found, QuorumlogError):
            error = found
            break
        if found.stored is not None and found.stored.version >= told.version:
            return ""
    return f"{register.key} takes no commit ({error.reason.name if error is not None else 'it is not found again'})"
