"""The judge of ``make demo-offsets``, and the journals that are its witnesses."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from quorumlog.cluster.demo_offsets.account import settle
from quorumlog.cluster.demo_offsets.journal import JournalWriter, Line, read_journal

if TYPE_CHECKING:
    from pathlib import Path

LOG = {0: [100, 101, 102, 103]}


def lines(text: str) -> list[Line]:
    """``A 0 0; P 0 0; …``: a processed record's CRC is the log's."""
    made = []
    for part in text.split(";"):
        what, *numbers = part.split()
        values = tuple(map(int, numbers))
        made.append(Line(what, (*values, 100 + values[1]) if what == "P" else values))
    return made


ALL_DONE = "A 0 0; P 0 0; P 0 1; D 0 2 11; P 0 2; P 0 3; D 0 4 12; R 0; E"


def test_everything_processed_once_has_no_complaints() -> None:
    account = settle(LOG, [lines(ALL_DONE)])
    assert (account.records, account.processed, account.repeats, account.commits) == (4, 4, 0, 2)
    assert account.complaints == []


def test_a_record_that_nobody_processed_is_missed() -> None:
    account = settle(LOG, [lines("A 0 0; P 0 0; P 0 1; P 0 3; D 0 4 11; E")])
    assert account.complaints == ["1 records never processed (partition/offset 0/2)"]


def test_a_repeat_is_explained_by_a_kill_that_had_exposed_the_record() -> None:
    killed = lines("A 0 0; P 0 0; P 0 1; D 0 1 11; P 0 2")
    successor = lines("A 0 1; P 0 1; P 0 2; P 0 3; D 0 4 12; E")
    account = settle(LOG, [killed, successor])
    assert (account.repeats, account.exposed_by_kills, account.complaints) == (2, 2, [])


def test_a_repeat_of_what_was_durable_is_not_explained() -> None:
    killed = lines("A 0 0; P 0 0; P 0 1; D 0 2 11; P 0 2")
    successor = lines("A 0 1; P 0 1; P 0 2; P 0 3; D 0 4 12; E")
    account = settle(LOG, [killed, successor])
    assert account.complaints == [
        "1 records processed again without a kill that explains it (partition/offset 0/1)"
    ]


def test_one_kill_explains_one_repeat_and_not_two() -> None:
    killed = lines("A 0 0; P 0 0")
    account = settle({0: [100]}, [killed, lines("A 0 0; P 0 0; D 0 1 11; R 0; E"), lines("A 0 0; P 0 0; E")])
    assert len(account.complaints) == 1
    assert settle({0: [100]}, [killed, killed, lines("A 0 0; P 0 0; D 0 1 11; R 0; E")]).complaints == []


def test_who_gave_the_partition_back_or_ended_by_himself_explains_nothing() -> None:
    for ending in ("R 0", "E"):
        graceful = lines(f"A 0 0; P 0 0; {ending}")
        account = settle({0: [100]}, [graceful, lines("A 0 0; P 0 0; D 0 1 11; E")])
        assert len(account.complaints) == 1, ending


def test_a_partition_lost_otherwise_explains_what_was_exposed_and_is_told_apart() -> None:
    paused = lines("A 0 0; P 0 0; L 0; E")
    account = settle({0: [100]}, [paused, lines("A 0 0; P 0 0; D 0 1 11; E")])
    assert (account.exposed_by_kills, account.exposed_by_losses, account.complaints) == (0, 1, [])


def test_another_value_than_the_logs_is_a_complaint() -> None:
    account = settle({0: [7]}, [lines("A 0 0; P 0 0; D 0 1 11; E")])
    assert account.complaints == ["1 records processed with a value that is not in the log (partition/offset 0/0)"]


def test_a_commit_that_goes_back_is_found_across_consumers() -> None:
    first = lines("A 0 0; P 0 0; P 0 1; P 0 2; P 0 3; D 0 4 11; R 0; E")
    second = lines("A 0 3; D 0 3 12; E")
    assert settle(LOG, [second, first]).complaints == [
        "partition 0 went back from 4 (version 11) to 3 (version 12)"
    ]


def test_one_version_with_two_offsets_is_found() -> None:
    first = lines("A 0 0; P 0 0; P 0 1; P 0 2; P 0 3; D 0 4 11; E")
    second = lines("A 0 3; D 0 3 11; E")
    assert settle(LOG, [first, second]).complaints == ["version 11 of partition 0 is committed with offsets [3, 4]"]


def test_a_journal_reads_back_and_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with JournalWriter(path) as journal:
        journal.assigned(3, 40)
        journal.processed(3, 40, b"line")
        journal.durable(3, 41, 1207)
        journal.released(3)
        journal.lost(4)
        journal.ended()
    whole = [
        Line("A", (3, 40)),
        Line("P", (3, 40, zlib.crc32(b"line"))),
        Line("D", (3, 41, 1207)),
        Line("R", (3,)),
        Line("L", (4,)),
        Line("E", ()),
    ]
    assert read_journal(path) == whole
    path.write_bytes(path.read_bytes() + b"P 3 41 99")
    assert read_journal(path) == whole
    assert read_journal(tmp_path / "none") == []
