"""Histories of an intact system made into those of a broken one: whoever judges must see the difference.

The one table of all mutators; each names what a system would have to do wrong, and the anomaly that must be found.
"""

from quorumlog.check.mutators.mutator import Mutate, Mutator
from quorumlog.check.mutators.of_groups import OF_GROUPS
from quorumlog.check.mutators.of_offsets import OF_OFFSETS
from quorumlog.check.mutators.of_records import OF_RECORDS

MUTATORS: tuple[Mutator, ...] = (*OF_RECORDS, *OF_OFFSETS, *OF_GROUPS)

__all__ = ["MUTATORS", "OF_GROUPS", "OF_OFFSETS", "OF_RECORDS", "Mutate", "Mutator"]
