"""The demonstration itself: feed, kill, read back, compare, say so.

Exits with 0 only if every line came back once and in order, with 4 if not, with 1 or 3 if it could not be tried.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from quorumlog.client import Admin, Producer
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.demo.gaps import Gaps
from quorumlog.cluster.demo.text import Text, load
from quorumlog.cluster.failures import FOUND_SOMETHING, explain
from quorumlog.cluster.output import console, duration
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quorumlog.client import Delivery
    from quorumlog.cluster.launcher import LocalCluster

TOPIC = "demo"
PARTITIONS = 4
MEGABYTE = 1_000_000
#: So many deliveries are watched for their acknowledgement's moment: enough to see every batch.
WATCHED = 16_384


class Killed(NamedTuple):
    """The node that was killed half way, and the partitions it led at that moment."""

    node_id: int
    partitions: set[int]
    after_records: int


class Fed(NamedTuple):
    """The feeding, as the first client saw it.

    ``unavailable_s``: in the killed node's partitions; and in the others.
    """

    seconds: float
    killed: Killed
    unavailable_s: float
    others_s: float


async def feed(cluster: LocalCluster, text: Text, advance: Callable[[int], None]) -> Fed:
    """All lines in order, each awaited in the end; half way the leader of partition 0 is killed."""
    gaps = Gaps()
    half = text.line_count // 2
    watch_every = max(1, text.line_count // WATCHED)
    deliveries: list[Delivery] = []
    killed = None
    async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
        await admin.create_topic(TOPIC, partitions=PARTITIONS)
        begin = time.perf_counter()
        for key, lines in text.lines_by_key.items():
            for line in lines:
                deliveries.append(await producer.send(TOPIC, line, key))
                if len(deliveries) % watch_every == 0:
                    gaps.watch(deliveries[-1])
                if killed is None and len(deliveries) >= half:
                    killed = await kill_leader(cluster, admin, len(deliveries))
            advance(len(deliveries))
        for delivery in deliveries:
            await delivery
        seconds = time.perf_counter() - begin
    assert killed is not None
    others = set(range(PARTITIONS)) - killed.partitions
    return Fed(seconds, killed, gaps.longest_s(killed.partitions), gaps.longest_s(others))


async def kill_leader(cluster: LocalCluster, admin: Admin, after_records: int) -> Killed:
    """SIGKILL to the leader of partition 0; it stays dead."""
    topic = await admin.describe_topic(TOPIC)
    leader = topic.partitions[0].leader
    cluster.send_signal(leader, signal.SIGKILL)
    return Killed(leader, {each.partition for each in topic.partitions if each.leader == leader}, after_records)


def read_back(cluster: LocalCluster, names: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The second client."""
    command = [sys.executable, "-m", "quorumlog.cluster.demo.reading", ",".join(cluster.servers), TOPIC, *names]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def demonstrate(names: Sequence[str]) -> int:
    """The exit code."""
    text = load(names)
    size = f"{len(text.lines_by_key):,} files, {text.line_count:,} lines, {megabytes(text.byte_count)}"
    tell("input", f"{size}: {text.description}")
    with running_cluster() as cluster:
        tell(
            "cluster", f"3 nodes; a topic of {PARTITIONS} partitions, 3 replicas each; data in {cluster.directory}"
        )
        fed = feed_with_progress(cluster, text)
        tell_of_feeding(fed, text)
        with console.status("reading back"):
            reading = read_back(cluster, names)
    if reading.returncode:
        console.print(f"FAILED: {escape(reading.stderr.strip())}", style="bold red", soft_wrap=True)
        return reading.returncode
    found = json.loads(reading.stdout)
    tell(
        "read back", f"{rates(found['records'], text.byte_count, found['seconds'])}, by a second client and process"
    )
    if found["records"] != text.line_count:
        console.print(f"FAILED: {found['records']:,} records read", style="bold red")
        return FOUND_SOMETHING
    tell("compared", "every line, and the order within every file: [bold green]nothing lost, nothing twice[/]")
    return 0


def feed_with_progress(cluster: LocalCluster, text: Text) -> Fed:
    columns = (TextColumn("producing"), BarColumn(), TextColumn("{task.completed:,}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=text.line_count)
        return run(feed(cluster, text, lambda count: bar.update(task, completed=count)))


def tell_of_feeding(fed: Fed, text: Text) -> None:
    node_id, partitions, after_records = fed.killed
    led = ", ".join(map(str, sorted(partitions)))
    tell("killed", f"node {node_id}, leader of partition {led}, with SIGKILL after {after_records:,} records")
    tell("produced", f"{rates(text.line_count, text.byte_count, fed.seconds)}; each fsynced on a quorum")
    tell(
        "unavailable",
        f"{duration(fed.unavailable_s)}: the longest time between two acknowledgements in the partitions of the "
        f"killed leader (in the others {duration(fed.others_s)})",
    )


def tell(what: str, rest: str) -> None:
    console.print(f"[bold]{what:<12}[/]{rest}", soft_wrap=True)


def megabytes(byte_count: int) -> str:
    return f"{byte_count / MEGABYTE:.1f} MB"


def rates(records: int, byte_count: int, seconds: float) -> str:
    per_second = f"{records / seconds:,.0f} records/s, {byte_count / MEGABYTE / seconds:.1f} MB/s"
    return f"{records:,} records in {seconds:.1f} s: {per_second}"


def main() -> int:
    try:
        return demonstrate(sys.argv[1:])
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        console.print(f"FAILED: {escape(explained.message)}", style="bold red", soft_wrap=True)
        return explained.exit_code


if __name__ == "__main__":
    sys.exit(main())
