"""The judge of ``group verify``: what replicas noted, compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumlog.client.offset_types import Finding, Fingerprint, InspectedGroup, Inspection, StoredOffset
from quorumlog.client.verification import PartitionFindings, compare, damage

STORED = StoredOffset(41, 1207, 3, 1_700_000_000_000, Fingerprint(3, 0xDEADBEEF), b"")
GOOD = InspectedGroup("readers", STORED, "host-1", 4, Finding.OK, "stored 41, log 0..90")


def note(node_id: int, *groups: InspectedGroup, digest: bytes = b"\x01") -> Inspection:
    return Inspection(node_id, digest, groups, 0, 90)


def test_equal_notes_of_sound_offsets_are_ok() -> None:
    (found,) = compare([note(1, GOOD), note(2, GOOD), note(3, GOOD)])
    assert (found.group, found.finding, found.wrong, found.stored) == ("readers", Finding.OK, False, STORED)


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 40},
        {"version": 1208},
        {"term": 4},
        {"wall_ms": 1_700_000_000_001},
        {"fingerprint": Fingerprint(3, 0xDEADBEEE)},
        {"fingerprint": None},
        {"metadata": b"x"},
    ],
)
def test_any_difference_in_what_is_stored_is_found_and_the_nodes_are_named(change: dict[str, object]) -> None:
    odd = replace(GOOD, stored=replace(STORED, **change))  # type: ignore[arg-type]
    (found,) = compare([note(1, GOOD), note(2, odd, digest=b"\x02"), note(3, GOOD)])
    assert found.finding is Finding.REPLICAS_DISAGREE
    assert found.wrong
    assert found.stored == STORED
    assert found.explanation.startswith("nodes 1, 3: offset 41")
    assert "; node 2: offset " in found.explanation


def test_a_difference_in_ownership_is_found() -> None:
    (found,) = compare([note(1, GOOD), note(2, GOOD), note(3, replace(GOOD, owner_epoch=3), digest=b"\x02")])
    assert found.finding is Finding.REPLICAS_DISAGREE
    assert "owner host-1 of epoch 3" in found.explanation


def test_a_group_that_one_replica_lacks_is_found() -> None:
    (found,) = compare([note(1, GOOD), note(2, digest=b"\x02"), note(3, GOOD)])
    assert found.finding is Finding.REPLICAS_DISAGREE
    assert found.explanation.endswith("node 2: nothing of this group")


def test_a_difference_that_no_group_shows_is_one_of_the_whole_partition() -> None:
    whole, readers = compare([note(1, GOOD), note(2, GOOD, digest=b"\x02"), note(3, GOOD)])
    assert (whole.group, whole.finding) == ("", Finding.REPLICAS_DISAGREE)
    assert whole.explanation == "digests differ: nodes 1, 3: 01; node 2: 02"
    assert readers.finding is Finding.OK


@pytest.mark.parametrize(
    "finding", [Finding.AHEAD_OF_LOG, Finding.EVICTED, Finding.FINGERPRINT_MISMATCH, Finding.STUCK]
)
def test_what_all_replicas_find_is_told_once(finding: Finding) -> None:
    bad = replace(GOOD, finding=finding, explanation="why")
    (found,) = compare([note(1, bad), note(2, bad), note(3, bad)])
    assert (found.finding, found.explanation, found.wrong) == (finding, "why", True)


def test_what_one_replica_finds_in_its_own_log_counts_and_names_it() -> None:
    damaged = replace(GOOD, finding=Finding.FINGERPRINT_MISMATCH, explanation="other record")
    stuck = replace(GOOD, finding=Finding.STUCK, explanation="has not moved")
    (found,) = compare([note(1, stuck), note(2, damaged), note(3, stuck)])
    assert (found.finding, found.explanation) == (Finding.FINGERPRINT_MISMATCH, "node 2: other record")


def test_an_expired_offset_is_shown_and_is_nothing_wrong() -> None:
    expired = replace(GOOD, finding=Finding.EXPIRED, explanation="expired")
    (found,) = compare([note(1, expired), note(2, expired)])
    assert found.finding is Finding.EXPIRED
    assert not found.wrong


def test_groups_come_in_order_and_each_is_judged_by_itself() -> None:
    other = replace(GOOD, group="archive", finding=Finding.EVICTED, explanation="gone")
    found = compare([note(1, GOOD, other), note(2, GOOD, other)])
    assert [(each.group, each.finding) for each in found] == [
        ("archive", Finding.EVICTED),
        ("readers", Finding.OK),
    ]


def test_a_missing_replica_makes_the_findings_incomplete_but_not_wrong() -> None:
    groups = compare([note(1, GOOD), note(2, GOOD)])
    found = PartitionFindings("t", 0, 7, groups, (1, 2), {3: "no connection"})
    assert (found.wrong, found.complete) == (False, False)


def test_a_damaged_replica_is_something_wrong_and_not_merely_missing() -> None:
    (found,) = damage([(3, "the digest differs")])
    assert found.wrong
    assert found.explanation == "node 3 is damaged and serves nothing: the digest differs"


def test_no_notes_at_all_find_nothing() -> None:
    assert compare([]) == ()
