"""What clients do while faults happen, written down as a history."""

from quorumlog.chaos.workloads.workload import Setting, Workload

__all__ = ["Setting", "Workload"]
