"""The fault door: there only when asked for, for its owner only, and obeyed in full."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from quorumlog.server.config import ConfigError, load
from quorumlog.server.fault_door import CannotObey, FaultClock, FaultDoor
from quorumlog.server.loop import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

FLAGS = {
    "cluster_id": "c",
    "node_id": 1,
    "data_dir": "d",
    "nodes": "1=127.0.0.1:7401:7501:7601",
}


@pytest.fixture
def door(tmp_path: Path) -> FaultDoor:
    return FaultDoor(tmp_path / "door", tmp_path)


async def ask(path: Path, *orders: bytes) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(path)
    answers = []
    for order in orders:
        writer.write(order + b"\n")
        answers.append(json.loads(await reader.readline()))
    writer.close()
    return answers


def test_without_being_asked_for_there_is_none_and_the_environment_cannot_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load(None, FLAGS).faults is None
    assert str(load(None, {**FLAGS, "faults": "/x"}).faults) == "/x"
    monkeypatch.setenv("QUORUMLOG_FAULTS", "/x")
    with pytest.raises(ConfigError, match="command line or in the file"):
        load(None, FLAGS)


async def test_only_its_owner_may_come_in_and_a_door_of_a_killed_process_is_replaced(door: FaultDoor) -> None:
    await door.open()
    assert stat.S_IMODE(os.stat(door.path).st_mode) == 0o600
    assert (await ask(door.path, b'{"what": "counts"}'))[0]["ok"]
    again = FaultDoor(door.path, door.path.parent)
    await again.open()
    assert (await ask(door.path, b'{"what": "counts"}'))[0]["ok"]
    again.close()
    assert not door.path.exists()


async def test_a_file_that_is_no_socket_is_not_removed(door: FaultDoor) -> None:
    door.path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        await door.open()
    assert door.path.read_text() == "precious"


async def test_every_order_is_obeyed_and_nonsense_is_answered_as_such(door: FaultDoor, tmp_path: Path) -> None:
    await door.open()
    file = door.files.open(f"{tmp_path}/file", "create")
    answers = await ask(
        door.path,
        b'{"what": "fail", "operation": "write", "error": "EIO", "files": "fi*", "times": 1}',
        b'{"what": "full", "bytes": 3}',
        b"not json",
        b'{"what": "dance"}',
        b'{"what": "fail", "operation": "write"}',
        b'{"what": "slow"}',
        b"[]",
    )
    assert [answer["ok"] for answer in answers] == [True, True, False, False, False, False, False]
    with pytest.raises(OSError, match="output error"):
        file.pwritev([b"abc"], 0)
    with pytest.raises(OSError) as full:  # noqa: PT011
        file.pwritev([b"abcdef"], 0)
    assert full.value.errno == errno.ENOSPC
    (healed,) = await ask(door.path, b'{"what": "heal"}')
    assert (healed["counts"]["failed"], healed["counts"]["full"]) == (1, 1)
    file.pwritev([b"abcdef"], 0)
    door.close()


def test_standing_orders_are_obeyed_before_anything_is_read(door: FaultDoor, tmp_path: Path) -> None:
    door.obey_standing_orders()
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "door.orders").write_text(
        '{"what": "fail", "operation": "read", "error": "EIO", "files": "file"}\n'
    )
    door.obey_standing_orders()
    with pytest.raises(OSError, match="output error"):
        door.files.open(f"{tmp_path}/file", "read").pread(1, 0)
    (tmp_path / "door.orders").write_text("nonsense")
    with pytest.raises(CannotObey):
        door.obey_standing_orders()


class HandClock(SystemClock):
    """Moved by hand."""

    def __init__(self) -> None:
        self.at_ms = 1_000_000

    def now_ms(self) -> int:
        return self.at_ms

    def wall_ms(self) -> int:
        return 50_000_000 + self.at_ms


def test_the_wall_clock_jumps_both_ways_and_the_monotonic_one_never_goes_back() -> None:
    machine = HandClock()
    clock = FaultClock(machine)
    assert (clock.now_ms(), clock.wall_ms()) == (machine.now_ms(), machine.wall_ms())
    clock.order(3_600_000, 0.0)
    assert (clock.now_ms(), clock.wall_ms()) == (machine.now_ms(), machine.wall_ms() + 3_600_000)
    clock.order(-7_200_000, 0.0)
    assert (clock.now_ms(), clock.wall_ms()) == (machine.now_ms(), machine.wall_ms() - 3_600_000)


def test_clocks_that_drift_keep_what_they_gained_and_timers_go_with_them() -> None:
    machine = HandClock()
    clock = FaultClock(machine)
    clock.order(0, 0.5)
    assert clock.real_seconds(3.0) == 2.0
    machine.at_ms += 1_000
    assert clock.now_ms() - machine.now_ms() == 500
    clock.order(0, -0.5)
    assert clock.now_ms() - machine.now_ms() == 500
    machine.at_ms += 1_000
    assert clock.now_ms() - machine.now_ms() == 0
    assert clock.wall_ms() == machine.wall_ms()
    clock.order(0, 0.0)
    assert clock.real_seconds(3.0) == 3.0
    with pytest.raises(CannotObey):
        clock.order(0, -1.0)
