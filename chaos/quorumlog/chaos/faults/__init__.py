"""Faults: what is done to a cluster, in which place it can be, and how it is undone."""

from quorumlog.chaos.faults.fault import Fault, Scene, Struck

__all__ = ["Fault", "Scene", "Struck"]
