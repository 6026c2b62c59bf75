"""What a coordinator's state machine refuses, as what a caller is told."""

from __future__ import annotations

from quorumlog.machine.coordinator_commands import (
    GroupFull,
    GroupHasMembers,
    OtherStrategy,
    UnknownConsumerGroup,
    UnknownMember,
)
from quorumlog.replica.failures import Failure, Outcome, Reason


def refused(result: object) -> Failure:
    """The failure that a refusal of the state machine comes to; a Failure is one already."""
    match result:
        case Failure():
            return result
        case UnknownMember(group, member):
            fields = {"group": group, "member": member}
            return Failure(Reason.UNKNOWN_MEMBER, f"group {group!r} has no member {member!r}", fields=fields)
        case UnknownConsumerGroup(group):
            return Failure(Reason.UNKNOWN_GROUP, f"there is no group {group!r}", fields={"group": group})
        case OtherStrategy(asked, strategy):
            why = f"the group's members use {strategy.name}, not {asked.name}"
            return Failure(Reason.INVALID_GROUP, why, fields={"field": "strategy", "strategy": strategy.name})
        case GroupFull(limit):
            return Failure(Reason.GROUP_FULL, f"no more than {limit} are allowed", fields={"limit": str(limit)})
        case GroupHasMembers(members):
            why = f"the group has {members} members"
            return Failure(Reason.GROUP_ACTIVE, why, fields={"members": str(members)})
        case _:
            return Failure(Reason.INTERNAL, f"unexpected result {result!r}", Outcome.UNKNOWN)
