"""The program as a user meets it: three real nodes, real processes, real signals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from quorumlog.client import Admin
from quorumlog.cluster import layout
from quorumlog.cluster.launcher import LocalCluster, NodeFailed
from quorumlog.cluster.throwaway import base_port, planned_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from quorumlog.cluster.cli import main; main()"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running cluster's directory; whatever a test did to it, nothing of it runs afterwards."""
    directory = tmp_path_factory.mktemp("cluster") / "data"
    up(directory)
    yield directory
    kill_all(directory)


def quorumlog(*arguments: str, given: bytes = b"", servers: str = "") -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"QUORUMLOG_SERVERS": servers}
    return subprocess.run(
        [*COMMAND, *arguments], input=given, capture_output=True, check=False, timeout=60, env=environment
    )


def up(directory: Path) -> subprocess.CompletedProcess[bytes]:
    done = quorumlog("up", "--detach", "--data", str(directory), "--base-port", str(base_port()))
    assert done.returncode == 0, done.stderr.decode()
    return done


def kill_all(directory: Path) -> None:
    cluster = LocalCluster.open(directory)
    for node_id in cluster.node_ids:
        cluster.kill(node_id)


def on(directory: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """A command against that cluster; it must succeed."""
    done = quorumlog(*arguments, given=given, servers=",".join(LocalCluster.open(directory).servers))
    assert done.returncode == 0, done.stderr.decode()
    return done


def pids(directory: Path) -> dict[int, int | None]:
    status = json.loads(quorumlog("status", "--data", str(directory), "--format", "json").stdout)
    return {node["node_id"]: node["pid"] for node in status["nodes"]}


def test_up_starts_three_nodes_that_serve_and_says_what_to_type_next(data: Path) -> None:
    status = json.loads(quorumlog("status", "--data", str(data), "--format", "json").stdout)
    assert [node["state"] for node in status["nodes"]] == ["serving"] * 3
    again = up(data).stdout.decode()
    assert "running already" in again
    assert "topic create" in again
    assert pids(data) == {node["node_id"]: node["pid"] for node in status["nodes"]}


def test_bytes_come_back_as_they_went_in(data: Path) -> None:
    on(data, "topic", "create", "bytes")
    lines = b"plain\n\n\xff\xfe no text\r\n" + b"x" * 70_000 + b"\nlast, without a newline"
    on(data, "produce", "bytes", given=lines)
    assert on(data, "consume", "bytes").stdout == lines + b"\n"


def test_a_key_stays_in_one_partition_and_in_order(data: Path) -> None:
    on(data, "topic", "create", "keys", "--partitions", "4")
    lines = "".join(f"key-{number % 10}={number}\n" for number in range(1000))
    on(data, "produce", "keys", "--key-separator", "=", given=lines.encode())
    records = [json.loads(line) for line in on(data, "consume", "keys", "--format", "json").stdout.splitlines()]
    assert sorted(int(record["value"]) for record in records) == list(range(1000))
    for key in range(10):
        own = [record for record in records if record["key"] == f"key-{key}"]
        assert len({record["partition"] for record in own}) == 1
        assert [int(record["value"]) for record in own] == list(range(key, 1000, 10))


def test_what_consume_writes_produce_takes(data: Path) -> None:
    on(data, "topic", "create", "copy")
    written = (
        b'{"value": "v", "key": null, "headers": [["h", "1"]]}\n{"value": {"base64": "/w=="}, "timestamp_ms": 7}\n'
    )
    on(data, "produce", "copy", "--format", "json", "--compression", "zstd", given=written)
    first, second = on(data, "consume", "copy", "--format", "json").stdout.splitlines()
    assert json.loads(first)["headers"] == [["h", "1"]]
    assert json.loads(second) == {
        "partition": 0,
        "offset": 1,
        "timestamp_ms": 7,
        "key": None,
        "value": {"base64": "/w=="},
    }


def test_a_reader_starts_and_ends_where_it_is_told(data: Path) -> None:
    on(data, "topic", "create", "ranges")
    on(data, "produce", "ranges", given=b"".join(b"%d\n" % number for number in range(100)))
    assert on(data, "consume", "ranges", "--start", "end-3").stdout == b"97\n98\n99\n"
    assert on(data, "consume", "ranges", "--start", "offset:50", "--max", "2").stdout == b"50\n51\n"
    assert on(data, "consume", "ranges", "--start", "latest").stdout == b""


def test_following_hands_out_what_is_written_later_and_ends_with_ctrl_c(data: Path) -> None:
    on(data, "topic", "create", "followed")
    servers = ",".join(LocalCluster.open(data).servers)
    follow = subprocess.Popen(
        [*COMMAND, "consume", "followed", "--follow", "--server", servers], stdout=subprocess.PIPE
    )
    assert follow.stdout is not None
    for line in (b"first\n", b"second\n"):
        on(data, "produce", "followed", given=line)
        assert follow.stdout.readline() == line
    follow.send_signal(signal.SIGINT)
    assert follow.wait(20) == 0
    follow.stdout.close()


def test_what_was_typed_is_acknowledged_when_the_typing_ends_with_ctrl_c(data: Path) -> None:
    on(data, "topic", "create", "typed")
    servers = ",".join(LocalCluster.open(data).servers)
    arguments = [*COMMAND, "produce", "typed", "--server", servers]
    produce = subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert produce.stdin is not None
    assert produce.stderr is not None
    produce.stdin.write(b"one\ntwo\n")
    produce.stdin.flush()
    while on(data, "consume", "typed").stdout != b"one\ntwo\n":
        pass  # ends with the test's time at the latest
    produce.send_signal(signal.SIGINT)
    assert b"2 records acknowledged" in produce.stderr.read()
    assert produce.wait(20) != 0
    produce.stdin.close()
    produce.stderr.close()


def test_listings_are_json_when_asked(data: Path) -> None:
    on(data, "topic", "create", "described", "--partitions", "2", "--retention", "7d")
    described = json.loads(on(data, "topic", "describe", "described", "--format", "json").stdout)
    assert described["config"]["retention_ms"] == 7 * 86_400_000
    assert [partition["end_offset"] for partition in described["partitions"]] == [0, 0]
    assert "described" in [
        topic["name"] for topic in json.loads(on(data, "topic", "list", "--format", "json").stdout)
    ]
    altered = json.loads(on(data, "topic", "alter", "described", "--retention", "1h", "--format", "json").stdout)
    assert altered["config"]["retention_ms"] == 3_600_000
    on(data, "topic", "delete", "described", "--yes")
    assert "described" not in on(data, "topic", "list").stdout.decode()


def test_cluster_status_shows_leaders_and_that_digests_agree(data: Path) -> None:
    on(data, "topic", "create", "watched", "--partitions", "2")
    status = json.loads(on(data, "cluster", "status", "--format", "json").stdout)
    watched = [group for group in status["groups"] if group["name"].startswith("watched/")]
    assert len(watched) == 2
    assert all(group["leader"] and group["voters"] and not group["missing"] for group in watched)
    assert not any(group["digests_agree"] is False for group in status["groups"])
    assert "watched/0" in on(data, "cluster", "status").stdout.decode()


def test_both_status_commands_count_the_same_leaders(data: Path) -> None:
    """Leadership may move between two commands: they agree once it rests."""
    on(data, "topic", "create", "counted", "--partitions", "2")
    deadline = time.monotonic() + 20
    while True:
        groups = json.loads(on(data, "cluster", "status", "--format", "json").stdout)["groups"]
        nodes = json.loads(quorumlog("status", "--data", str(data), "--format", "json").stdout)["nodes"]
        led = Counter(group["leader"] for group in groups)
        if {node["node_id"]: node["leads"] for node in nodes} == {node: led[node] for node in (1, 2, 3)}:
            return
        assert time.monotonic() < deadline, (led, nodes)


async def test_leadership_goes_where_it_is_sent(data: Path) -> None:
    on(data, "topic", "create", "moved")
    async with Admin(LocalCluster.open(data).servers) as admin:

        async def leader() -> int:
            return (await admin.describe_topic("moved")).partitions[0].leader

        target = await leader() % 3 + 1
        sent = asyncio.create_task(
            asyncio.to_thread(on, data, "cluster", "transfer", "moved", "0", "--to", str(target))
        )
        # The nodes may hand it back to the preferred leader before the command has ended: watch meanwhile.
        async with asyncio.timeout(30):
            while await leader() != target:
                pass
        await sent


@pytest.mark.parametrize(
    ("arguments", "exit_code", "complaint"),
    [
        (["topic", "create", "bad name"], 1, "name"),
        (["topic", "create", "many", "--replication-factor", "9"], 1, "9 replicas"),
        (["topic", "describe", "nothing"], 1, "no topic 'nothing'"),
        (["topic", "delete", "nothing", "--yes"], 1, "no topic 'nothing'"),
        (["produce", "nothing"], 1, "no topic 'nothing'"),
        (["produce", "nothing", "/no/such/file"], 1, "/no/such/file"),
        (["consume", "nothing"], 1, "no topic 'nothing'"),
        (["consume", "nothing", "--start", "somewhere"], 2, "no start position"),
        (["topic", "create", "t", "--retention", "7x"], 2, "not a span of time"),
        (["topic", "alter", "nothing"], 2, "nothing to change"),
        (["cluster", "transfer", "nothing", "0"], 1, "no topic 'nothing'"),
        (["topic", "list", "--server", "nonsense"], 2, "not an address"),
        (["cluster", "ping", "--server", "127.0.0.1:1"], 3, ""),
    ],
)
def test_what_cannot_be_done_says_why_in_one_line(
    data: Path, arguments: list[str], exit_code: int, complaint: str
) -> None:
    done = quorumlog(*arguments, servers=",".join(LocalCluster.open(data).servers))
    assert done.returncode == exit_code, done.stderr.decode()
    # Usage errors stand in a box that wraps.
    assert complaint in re.sub(r"[│\s]+", " ", done.stderr.decode())
    if exit_code == 1:
        assert done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


def test_a_killed_node_is_started_again_and_the_others_are_left_alone(data: Path) -> None:
    on(data, "topic", "create", "survives", "--partitions", "3")
    before = pids(data)
    LocalCluster.open(data).kill(2)
    assert pids(data) == before | {2: None}
    on(data, "produce", "survives", given=b"while one is dead\n")
    assert "2 of 3 nodes are running; starting node 2" in up(data).stdout.decode()
    after = pids(data)
    assert {node_id: after[node_id] for node_id in (1, 3)} == {node_id: before[node_id] for node_id in (1, 3)}
    assert after[2] not in {None, before[2]}
    assert on(data, "consume", "survives").stdout == b"while one is dead\n"


def test_all_nodes_killed_at_once_come_back_with_everything_acknowledged(data: Path) -> None:
    on(data, "topic", "create", "durable", "--partitions", "3")
    lines = b"".join(b"%d\n" % number for number in range(20_000))
    on(data, "produce", "durable", given=lines)
    kill_all(data)
    assert quorumlog("status", "--data", str(data)).returncode == 3
    up(data)
    assert sorted(on(data, "consume", "durable").stdout.splitlines(), key=int) == lines.splitlines()


def test_down_stops_all_in_good_order_and_says_when_there_was_nothing_to_stop(data: Path) -> None:
    processes = [node.process for node in LocalCluster.open(data).nodes]
    assert b"Stopped nodes 1, 2, 3." in quorumlog("down", "--data", str(data)).stdout
    assert not any(process.alive() for process in processes if process)
    assert b"Nothing was running." in quorumlog("down", "--data", str(data)).stdout
    up(data)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_foreground_stops_its_nodes_when_it_is_told_to_end_even_twice(
    tmp_path: Path, signum: signal.Signals
) -> None:
    arguments = ["up", "--nodes", "1", "--data", str(tmp_path), "--base-port", str(base_port() + 30)]
    foreground = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
    assert foreground.stdout is not None
    for line in foreground.stdout:
        if line == "Ctrl-C stops it.\n":
            break
    (node,) = LocalCluster.open(tmp_path).nodes
    assert node.process is not None
    assert node.process.alive()
    foreground.send_signal(signum)
    shown = ""
    while not shown.endswith("stopping …"):
        character = foreground.stdout.read(1)
        assert character, shown
        shown += character
    foreground.send_signal(signum)
    assert "stopped." in foreground.stdout.read()
    assert foreground.wait(20) == 0
    assert not node.process.alive()
    foreground.stdout.close()


def test_a_port_that_was_taken_while_the_cluster_was_down_is_a_clear_failure(tmp_path: Path) -> None:
    cluster = LocalCluster.create(tmp_path, 1, base_port() + 30)
    # create_server, because it takes the port also while connections of a test before it are in TIME_WAIT.
    with socket.create_server((layout.HOST, layout.port_of(cluster.servers[0]))):
        done = quorumlog("up", "--detach", "--data", str(tmp_path))
    assert done.returncode == 1
    assert cluster.servers[0].encode() in done.stderr
    cluster.refresh()
    assert cluster.running() == []


def test_a_node_that_cannot_start_takes_those_started_with_it_down_again(tmp_path: Path) -> None:
    cluster = LocalCluster.create(tmp_path, 3, base_port() + 30)
    config = layout.config_path(tmp_path, 3)
    config.write_text(config.read_text() + '\n[nonsense]\nkey = "value"\n')
    done = quorumlog("up", "--detach", "--data", str(tmp_path))
    assert done.returncode == 1
    assert b"node 3" in done.stderr
    assert b"nonsense" in done.stderr
    cluster.refresh()
    for node in cluster.nodes:
        assert node.process is None or node.process.wait(20)


def test_the_environment_of_the_shell_does_not_reconfigure_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORUMLOG_NODE_ID", "77")
    with planned_cluster(1) as cluster:
        cluster.start()
        cluster.wait_ready()
        assert cluster.running() == [1]


def test_waiting_for_a_node_that_dies_ends_at_once_with_its_last_words(tmp_path: Path) -> None:
    with planned_cluster(1) as cluster:
        layout.config_path(cluster.directory, 1).write_text("nonsense")
        cluster.start()
        begin = time.monotonic()
        with pytest.raises(NodeFailed, match="TOML"):
            cluster.wait_ready(timeout_s=60)
        assert time.monotonic() - begin < 30


def test_nodes_outlive_a_terminal_that_is_closed_and_are_found_again(tmp_path: Path) -> None:
    arguments = ["up", "--nodes", "1", "--data", str(tmp_path), "--base-port", str(base_port() + 30)]
    foreground = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert foreground.stdout is not None
    for line in foreground.stdout:
        if line == "Ctrl-C stops it.\n":
            break
    # All that the terminal started, as a Ctrl-C reaches it; but with a signal that nobody can turn into good order.
    os.killpg(foreground.pid, signal.SIGKILL)
    foreground.wait()
    foreground.stdout.close()
    cluster = LocalCluster.open(tmp_path)
    assert cluster.running() == [1]
    assert b"Stopped node 1." in quorumlog("down", "--data", str(tmp_path)).stdout


@pytest.mark.slow
def test_without_a_majority_a_change_ends_with_exit_code_3(data: Path) -> None:
    cluster = LocalCluster.open(data)
    servers = ",".join(cluster.servers)
    cluster.kill(1)
    cluster.kill(2)
    done = quorumlog("topic", "create", "impossible", servers=servers)
    assert done.returncode == 3, done.stderr.decode()
    assert quorumlog("cluster", "ping", servers=servers).returncode == 3
    up(data)


@pytest.mark.slow
def test_the_demonstration_loses_nothing_on_a_few_files(tmp_path: Path) -> None:
    names = []
    for number in range(20):
        (tmp_path / f"file-{number}").write_bytes(b"".join(b"%d of %d\n" % (line, number) for line in range(2000)))
        names.append(str(tmp_path / f"file-{number}"))
    command = [sys.executable, "-m", "quorumlog.cluster.demo", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("40,000 lines", "SIGKILL", "records/s", "MB/s", "unavailable", "nothing lost, nothing twice"):
        assert words in done.stdout


@pytest.mark.slow
def test_a_benchmark_prints_each_figure_beside_its_limit_and_what_it_ran_on() -> None:
    done = quorumlog("bench", "latency", "--seconds", "0.3", "--format", "json")
    assert done.returncode == 0, done.stderr.decode()
    outcome: Any = json.loads(done.stdout)
    assert {"cores", "kernel", "python", "date", "file_system"} <= outcome["machine"].keys()
    (bench,) = outcome["benches"]
    assert "each read back once" in bench["verified"]
    p50 = bench["figures"][0]
    assert p50["unit"] == "ms"
    assert p50["limits"][0]["ratio"] == pytest.approx(p50["value"] / p50["limits"][0]["value"])
