"""quorumlog's own Raft as an engine: the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.raft import Raft, RaftConfig

if TYPE_CHECKING:
    from quorumlog.engines.seam import Core, CoreSettings, Lack


class OwnRaft:
    """``quorumlog.raft`` behind the seam. Implements ``quorumlog.engines.seam.Engine``."""

    name = "raft"
    lacks: tuple[Lack, ...] = ()
    replaces_replicas = True

    def core(self, settings: CoreSettings) -> Core:
        config = RaftConfig(settings.replica, settings.election_ticks, settings.heartbeat_ticks)
        return Raft(config, settings.log, settings.applied, settings.rng)
