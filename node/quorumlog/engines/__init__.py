"""What replicates a group's log: the narrow seam (``seam``), our own Raft behind it (``own``), and PySyncObj
(``pysyncobj``).

The seam lies where the core of our own Raft lies: below the replica, which owns the log on disk, the state machine
and the order of things, and above whoever decides what is committed. So everything above it, readers, checkpoints,
state machines, services, is the same code over both engines, and a comparison of the two compares the engines.
"""

from quorumlog.engines.own import OwnRaft
from quorumlog.engines.pysyncobj.engine import PySyncObjEngine
from quorumlog.engines.seam import ENGINE_NAMES, Core, CoreSettings, Engine, EngineMessage, Lack, UnsupportedChange

_ENGINES: dict[str, Engine] = {engine.name: engine for engine in (OwnRaft(), PySyncObjEngine())}


def engine_named(name: str) -> Engine:
    """The engine of that name. Raises ValueError for any other."""
    try:
        return _ENGINES[name]
    except KeyError:
        raise ValueError(f"no engine is called {name!r}; there are {', '.join(ENGINE_NAMES)}") from None


__all__ = [
    "ENGINE_NAMES",
    "Core",
    "CoreSettings",
    "Engine",
    "EngineMessage",
    "Lack",
    "OwnRaft",
    "PySyncObjEngine",
    "UnsupportedChange",
    "engine_named",
]
