"""``quorumlog group`` as an operator meets it, against three real nodes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from quorumlog.client import Admin, Producer
from quorumlog.client.claim import Claim
from quorumlog.client.errors import Fenced
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quorumlog.client.receipt import Receipt
    from quorumlog.cluster.launcher import LocalCluster

COMMAND = [sys.executable, "-c", "from quorumlog.cluster.cli import main; main()"]
TOPIC = "lines"
RECORDS = 100


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A topic of two partitions with 100 records each."""
    with running_cluster() as cluster:
        asyncio.run(_fill(cluster))
        yield cluster


async def _fill(cluster: LocalCluster) -> None:
    async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
        await admin.create_topic(TOPIC, partitions=2)
        for number in range(2 * RECORDS):
            await producer.send(TOPIC, b"line %d" % number, partition=number % 2)
        await producer.flush()


def quorumlog(cluster: LocalCluster, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """``quorumlog group …`` in a process of its own: gRPC does not bear one event loop after another in one."""
    environment = os.environ | {"QUORUMLOG_SERVERS": ",".join(cluster.servers), "COLUMNS": "200"}
    return subprocess.run(
        [*COMMAND, "group", *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )


def consume(cluster: LocalCluster, group: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Records of the topic on behalf of a group, without Rich's progress bars."""
    environment = os.environ | {"QUORUMLOG_SERVERS": ",".join(cluster.servers)}
    command = [*COMMAND, "consume", TOPIC, "--group", group, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


def told(cluster: LocalCluster, *arguments: str) -> Any:
    """What a command that must succeed answers as JSON."""
    done = quorumlog(cluster, *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def committed(cluster: LocalCluster, group: str, *offsets: int, partition: int = 0) -> list[Receipt]:
    """The receipts of a consumer that has committed these one after the other, and has stopped."""

    async def commit() -> list[Receipt]:
        async with await Claim.open(cluster.servers, group, TOPIC, partition) as claim:
            return [await claim.commit(offset) for offset in offsets]

    return asyncio.run(commit())


def stored(cluster: LocalCluster, group: str) -> dict[int, int]:
    return {each["partition"]: each["committed"] for each in told(cluster, "lag", group)}


def test_groups_are_listed_with_where_they_have_offsets(cluster: LocalCluster) -> None:
    committed(cluster, "listed", 10)
    groups = {each["group"]: each for each in told(cluster, "list")}
    assert groups["listed"] == {"group": "listed", "state": "", "members": 0, "generation": 0, "topics": [TOPIC]}
    assert "no members" in quorumlog(cluster, "list").stdout


def test_lag_is_told_by_partition_in_tables_and_for_programs(cluster: LocalCluster) -> None:
    committed(cluster, "slow", 10)
    committed(cluster, "slow", 100, partition=1)
    first, second = told(cluster, "lag", "slow")
    assert (first["partition"], first["committed"], first["log_end"], first["records"]) == (0, 10, 100, 90)
    assert first["verdict"] == "stopped"
    assert (second["partition"], second["records"], second["verdict"]) == (1, 0, "ok")
    shown = quorumlog(cluster, "lag", "slow", "--topic", TOPIC, "--partition", "0")
    assert shown.returncode == 0
    row = next(line for line in shown.stdout.splitlines() if "lines/0" in line)
    assert row.split()[:5] == ["slow", "lines/0", "10", "100", "90"]
    assert "lines/1" not in shown.stdout


def test_an_unknown_group_is_a_refusal_and_not_an_empty_table(cluster: LocalCluster) -> None:
    for arguments in (["lag", "nobody"], ["describe", "nobody"], ["delete", "nobody", "--yes"]):
        done = quorumlog(cluster, *arguments)
        assert done.returncode == 1, arguments
        assert "nobody" in done.stderr
        assert done.stdout == ""


def test_describe_shows_offsets_of_a_group_without_members(cluster: LocalCluster) -> None:
    committed(cluster, "alone", 40)
    described = told(cluster, "describe", "alone")
    assert described["coordinated"] is None
    assert [each["committed"] for each in described["offsets"]] == [40]
    assert "no members" in quorumlog(cluster, "describe", "alone").stdout


def test_a_reset_is_shown_first_done_then_and_undone_by_version(cluster: LocalCluster) -> None:
    (receipt,) = committed(cluster, "moved", 50)
    dry = told(cluster, "reset", "moved", "--to", "end-10", "--dry-run")
    assert [(each["before"]["offset"], each["stored"]["offset"], each["dry_run"]) for each in dry] == [
        (50, 90, True)
    ]
    assert stored(cluster, "moved") == {0: 50}

    declined = quorumlog(cluster, "reset", "moved", "--to", "end-10", "--reason", "try", given="n\n")
    assert declined.returncode == 1
    assert stored(cluster, "moved") == {0: 50}

    done = quorumlog(cluster, "reset", "moved", "--to", "begin+7", "--reason", "replay", given="y\n")
    assert done.returncode == 0, done.stderr
    assert "Done." in done.stdout
    assert stored(cluster, "moved") == {0: 7}

    changes = told(cluster, "history", "moved", "--topic", TOPIC)["changes"]
    assert (changes[-1]["kind"], changes[-1]["offset"], changes[-1]["reason"]) == ("reset", 7, "replay")
    assert "replay" in quorumlog(cluster, "history", "moved", "--topic", TOPIC).stdout
    undo = quorumlog(cluster, "reset", "moved", "--to-version", str(receipt.version), "--reason", "undo", "--yes")
    assert undo.returncode == 0, undo.stderr
    assert stored(cluster, "moved") == {0: 50}


def test_a_reset_under_an_owner_needs_force_and_fences_it(cluster: LocalCluster) -> None:
    async def own() -> None:
        async with await Claim.open(cluster.servers, "active", TOPIC, 0) as claim:
            await claim.commit(5)
            arguments = ("reset", "active", "--to", "earliest", "--reason", "again", "--yes")
            refused = await asyncio.to_thread(quorumlog, cluster, *arguments)
            assert refused.returncode == 1
            assert "lines/0" in refused.stderr
            await claim.commit(6)
            forced = await asyncio.to_thread(quorumlog, cluster, *arguments, "--force")
            assert forced.returncode == 0, forced.stderr
            with pytest.raises(Fenced):
                await claim.commit(7)

    asyncio.run(own())
    assert stored(cluster, "active") == {0: 0}


def test_a_reset_of_a_whole_topic_makes_a_group_that_was_not_there(cluster: LocalCluster) -> None:
    arguments = ("reset", "fresh", "--topic", TOPIC, "--to", "latest", "--reason", "begin now", "--yes")
    assert quorumlog(cluster, *arguments).returncode == 0
    assert stored(cluster, "fresh") == {0: 100, 1: 100}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--to", "latest"],
        ["--reason", "why"],
        ["--to", "latest", "--restore", "--reason", "why"],
        ["--to", "somewhere", "--reason", "why"],
        ["--to", "latest", "--reason", "why", "--partition", "0"],
    ],
)
def test_a_reset_that_does_not_say_what_it_means_is_bad_usage(cluster: LocalCluster, arguments: list[str]) -> None:
    assert quorumlog(cluster, "reset", "any", *arguments).returncode == 2


def test_a_reset_out_of_the_log_is_refused(cluster: LocalCluster) -> None:
    committed(cluster, "bounded", 5)
    done = quorumlog(cluster, "reset", "bounded", "--to", "offset:101", "--reason", "too far", "--yes")
    assert done.returncode == 1
    assert "lines/0" in done.stderr
    assert stored(cluster, "bounded") == {0: 5}


def test_receipts_are_resolved_by_their_text(cluster: LocalCluster) -> None:
    first, second = committed(cluster, "receipts", 1, 2)
    assert told(cluster, "resolve", str(second))["fate"] == "present"
    assert told(cluster, "resolve", str(first))["fate"] == "superseded"
    assert "superseded; stored now: 2 of version" in quorumlog(cluster, "resolve", str(first)).stdout
    forged = second._replace(version=second.version + 1000)
    done = quorumlog(cluster, "resolve", str(forged))
    assert done.returncode == 4
    assert "never happened" in done.stdout
    assert quorumlog(cluster, "resolve", "no receipt").returncode == 2


def test_verify_compares_every_replica_and_finds_nothing_wrong(cluster: LocalCluster) -> None:
    committed(cluster, "verified", 33)
    findings = told(cluster, "verify", "--topic", TOPIC)
    assert [(each["partition"], each["wrong"], each["compared"]) for each in findings] == [
        (0, False, [1, 2, 3]),
        (1, False, [1, 2, 3]),
    ]
    mine = [group for each in findings for group in each["groups"] if group["group"] == "verified"]
    assert [(each["finding"], each["stored"]["offset"]) for each in mine] == [("ok", 33)]
    assert "nothing wrong" in quorumlog(cluster, "verify").stdout


def test_a_group_is_marked_and_deleted_but_not_under_its_owner(cluster: LocalCluster) -> None:
    committed(cluster, "doomed", 9)
    marked = quorumlog(cluster, "mark", "doomed", "--critical", "--hold", "1MiB")
    assert marked.returncode == 0, marked.stderr
    assert "critical, holding up to 1.0 MiB back in 1 partition" in marked.stdout

    async def own() -> None:
        async with await Claim.open(cluster.servers, "doomed", TOPIC, 0):
            refused = await asyncio.to_thread(quorumlog, cluster, "delete", "doomed", "--yes")
            assert refused.returncode == 1

    asyncio.run(own())
    assert stored(cluster, "doomed") == {0: 9}
    assert quorumlog(cluster, "delete", "doomed", "--yes").returncode == 0
    assert quorumlog(cluster, "lag", "doomed").returncode == 1


def test_consuming_for_a_group_begins_where_the_group_left_off(cluster: LocalCluster) -> None:
    first = consume(cluster, "reader", "--partition", "0", "--max", "7")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines() == [f"line {2 * number}" for number in range(7)]
    assert stored(cluster, "reader") == {0: 7}
    second = consume(cluster, "reader", "--partition", "0", "--start", "latest", "--commit", "each", "--max", "2")
    assert second.stdout.splitlines() == ["line 14", "line 16"]
    assert stored(cluster, "reader") == {0: 9}
    forced = consume(
        cluster, "reader", "--partition", "0", "--start", "end-1", "--force-start", "--commit", "manual"
    )
    assert forced.stdout.splitlines() == ["line 198"]
    assert stored(cluster, "reader") == {0: 9}


def test_a_group_shares_the_partitions_and_reads_to_the_end_once(cluster: LocalCluster) -> None:
    everything = consume(cluster, "whole")
    assert (everything.returncode, everything.stderr) == (0, "")
    assert sorted(everything.stdout.splitlines()) == sorted(f"line {number}" for number in range(2 * RECORDS))
    assert stored(cluster, "whole") == {0: RECORDS, 1: RECORDS}
    assert consume(cluster, "whole").stdout == ""


def test_sigterm_commits_what_was_written_and_leaves_the_group(cluster: LocalCluster) -> None:
    environment = os.environ | {"QUORUMLOG_SERVERS": ",".join(cluster.servers)}
    command = [*COMMAND, "consume", TOPIC, "--group", "following", "--follow", "--commit-interval", "1h"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as consumer:
        assert consumer.stdout is not None
        lines = [consumer.stdout.readline() for _ in range(2 * RECORDS)]
        described = told(cluster, "describe", "following")["coordinated"]
        assert (described["state"], len(described["members"])) == ("STABLE", 1)
        assert [each["partition"] for each in described["members"][0]["owned"]] == [0, 1]
        consumer.terminate()
        assert consumer.wait(30) == 0
    assert len(set(lines)) == 2 * RECORDS
    assert stored(cluster, "following") == {0: RECORDS, 1: RECORDS}
    assert told(cluster, "describe", "following")["coordinated"]["state"] == "EMPTY"
    assert "following" in quorumlog(cluster, "describe", "following").stdout


@pytest.mark.parametrize("arguments", [["--force-start"], ["--commit", "each"], ["--group", "g", "--exclusive"]])
def test_options_of_a_group_are_not_ignored_silently(cluster: LocalCluster, arguments: list[str]) -> None:
    environment = os.environ | {"QUORUMLOG_SERVERS": ",".join(cluster.servers)}
    command = [*COMMAND, "consume", TOPIC, *arguments]
    assert subprocess.run(command, capture_output=True, check=False, timeout=60, env=environment).returncode == 2
