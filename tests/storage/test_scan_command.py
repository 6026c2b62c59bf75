"""``log scan``: what it says of a sound log, of a torn one and of a damaged one, and how it exits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from storage.storage_kit import append, create, data_entry, small
from typer.testing import CliRunner

from quorumlog.storage import OsFiles
from quorumlog.storage.cli import app

if TYPE_CHECKING:
    from pathlib import Path

RUN = CliRunner()


@pytest.fixture
def log_directory(tmp_path: Path) -> Path:
    log = create(OsFiles(), small(), str(tmp_path / "replica-0"))
    append(log, 1, [data_entry(1, 1, 0, count=2), data_entry(2, 1, 2)])
    log.roll()
    append(log, 2, [data_entry(3, 2, 3)], term=2, vote=3, commit=2)
    log.close()
    return tmp_path / "replica-0"


def scan(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
    result = RUN.invoke(app, ["scan", *map(str, arguments), "--format", "json"])
    return result.exit_code, json.loads(result.stdout)


def test_a_sound_log_is_described_and_the_exit_code_is_0(log_directory: Path) -> None:
    code, (report,) = scan(log_directory, "--verify")
    assert code == 0
    sealed, active = report["segments"]
    assert (sealed["sealed"], sealed["first_index"], sealed["last_index"]) == (True, 1, 2)
    assert (active["first_offset"], active["end_offset"]) == (3, 4)
    assert active["hard_state"] == {"term": 2, "vote": 3, "commit": 2}
    assert report["damage"] == []


def test_people_get_a_table(log_directory: Path) -> None:
    result = RUN.invoke(app, ["scan", str(log_directory)])
    assert result.exit_code == 0
    assert "nothing is damaged" in result.stdout
    assert "2/3/2" in result.stdout


def test_damage_is_named_with_its_byte_and_the_exit_code_is_4(log_directory: Path) -> None:
    sealed, _ = sorted(log_directory.glob("*.segment"))
    content = bytearray(sealed.read_bytes())
    content[96 + 64 + 50] ^= 1
    sealed.write_bytes(content)
    code, (report,) = scan(log_directory, "--verify")
    assert code == 4
    (damage,) = report["damage"]
    assert damage["path"] == str(sealed)
    assert 96 <= damage["position"] <= 96 + 64 + 50


def test_a_torn_tail_is_no_damage_and_is_left_as_it_is(log_directory: Path) -> None:
    _, active = sorted(log_directory.glob("*.segment"))
    torn = active.read_bytes() + b"half a record"
    active.write_bytes(torn)
    code, (report,) = scan(log_directory)
    assert code == 0
    assert report["segments"][1]["torn_at"] == len(torn) - len(b"half a record")
    assert active.read_bytes() == torn


def test_a_path_without_a_log_exits_with_1(tmp_path: Path) -> None:
    assert RUN.invoke(app, ["scan", str(tmp_path / "nothing")]).exit_code == 1
    assert RUN.invoke(app, ["scan", str(tmp_path)]).exit_code == 1


def test_a_data_directory_shows_every_replica(tmp_path: Path) -> None:
    for group in (1, 2):
        (tmp_path / "groups" / str(group)).mkdir(parents=True)
        create(OsFiles(), small(), str(tmp_path / "groups" / str(group) / "replica-0")).close()
    code, reports = scan(tmp_path)
    assert (code, len(reports)) == (0, 2)
