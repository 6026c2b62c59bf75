"""Which replica's disk may be harmed, so that the last good copy of what was committed never is.

A fault that destroys what a replica had synced takes a copy away, for good: no protocol survives that on a
majority. So every seed decides beforehand, group by group, on which minority of its voters disks may rot, lie and
fail; each group another one, so that every node is somebody's bad disk. Whatever happens elsewhere, a majority of
every group then keeps what it acknowledged, and the harmed replicas can be made anew from it.

``destroy`` gives this up: every disk may be harmed, in ways that no replica can notice. Acknowledged records *must*
then be lost now and then, and a suite that does not see it is blind.

Prior art: TigerBeetle's ``ClusterFaultAtlas`` (``src/testing/storage.zig``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorumlog.sim.world import World


class FaultAtlas:
    """See the module."""

    def __init__(self, world: World, *, destroy: bool = False) -> None:
        self.destroy = destroy
        self._world = world
        self._fragile: dict[int, tuple[int, ...]] = {}
        self._harmed: dict[tuple[int, int], str] = {}

    def fragile(self, group: int, voters: tuple[int, ...]) -> tuple[int, ...]:
        """The nodes on which the group's data may be harmed, ascending: the same whenever it is asked."""
        found = self._fragile.get(group)
        if found is None:
            minority = len(voters) if self.destroy else (len(voters) - 1) // 2
            found = tuple(sorted(self._world.random(f"atlas {group}").sample(voters, minority)))
            self._fragile[group] = found
        return found

    def harm(self, node: int, group: int, how: str) -> None:
        """Notes that what the node had synced of the group may be damaged or gone from here on."""
        self._harmed.setdefault((node, group), how)

    def may_be_damaged(self, node: int, group: int) -> bool:
        """Something was done to it that no fsync protects from: it may call itself damaged."""
        return (node, group) in self._harmed

    @property
    def harmed(self) -> int:
        """How many replicas something was done to."""
        return len(self._harmed)
