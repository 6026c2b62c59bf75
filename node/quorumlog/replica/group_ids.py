"""What a consumer group, a member and an instance may be called."""

from __future__ import annotations

import re

from quorumlog.machine.offset_commands import MAX_GROUP_ID
from quorumlog.replica.failures import Failure, Reason

_ID = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


def group_fault(group: str) -> Failure | None:
    """What is wrong with a consumer group's id, if anything. Those that begin with ``__`` are the system's."""
    fault = id_fault("group", group)
    if fault is None and group.startswith("__"):
        return _invalid("group", "group ids that begin with __ are kept for internal groups")
    return fault


def id_fault(field: str, value: str) -> Failure | None:
    """What is wrong with an id of the kind ``field``, if anything."""
    if not value:
        return _invalid(field, f"the {field} id must not be empty")
    if len(value) > MAX_GROUP_ID:
        return _invalid(field, f"a {field} id has at most {MAX_GROUP_ID} characters, not {len(value)}")
    if not _ID.fullmatch(value):
        return _invalid(field, f"a {field} id consists of a-z A-Z 0-9 . _ - only")
    return None


def _invalid(field: str, why: str) -> Failure:
    return Failure(Reason.INVALID_GROUP, why, fields={"field": field})
