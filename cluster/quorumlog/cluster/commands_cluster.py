"""``quorumlog cluster``: the nodes and replicas as they see themselves, a health check, and moving leaders."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from quorumlog.client import Admin, QuorumlogError
from quorumlog.cluster import servers
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.failures import FOUND_SOMETHING, UNREACHABLE
from quorumlog.cluster.output import Format, FormatOption, console, duration, print_json, size, table
from quorumlog.cluster.probe import NodeProbe
from quorumlog.cluster.servers import ProfileOption, ServerOption

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quorumlog.client.types import Cluster, NodeDescription, Replica

CONTROLLER = "controller"
PING_SECONDS = 2.0

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Watch a cluster's replicas; move leaders.")


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """One Raft group, put together from what its replicas say of themselves."""

    group_id: int
    name: str
    leader: int
    term: int
    voters: tuple[int, ...]
    start_offset: int
    end_offset: int
    size_bytes: int
    #: Follower's node id -> entries its log lacks, as the leader sees it; only for a group with a leader.
    lag: dict[int, int]
    #: None: no two replicas stand at the same index, so there was nothing to compare.
    digests_agree: bool | None
    damaged: tuple[int, ...]
    #: Voters whose node did not answer.
    missing: tuple[int, ...]

    @property
    def healthy(self) -> bool:
        return bool(self.leader) and self.digests_agree is not False and not self.damaged and not self.missing


def gather(descriptions: Iterable[NodeDescription]) -> list[GroupStatus]:
    """One status per group, in order of topic and partition; the controller first."""
    by_group: dict[int, dict[int, Replica]] = {}
    for node in descriptions:
        for replica in node.replicas:
            by_group.setdefault(replica.group_id, {})[node.node_id] = replica
    groups = [_group(group_id, replicas) for group_id, replicas in by_group.items()]
    return sorted(
        groups, key=lambda group: (group.name != CONTROLLER, group.name.rpartition("/")[0], group.group_id)
    )


def _group(group_id: int, replicas: dict[int, Replica]) -> GroupStatus:
    leaders = [(replica.term, node_id) for node_id, replica in replicas.items() if replica.role == "leader"]
    # After a change of leader the old one may not know yet: the higher term counts.
    term, leader = max(leaders, default=(max(replica.term for replica in replicas.values()), 0))
    best = replicas[leader] if leader else max(replicas.values(), key=lambda replica: replica.commit_index)
    return GroupStatus(
        group_id,
        f"{best.topic}/{best.partition}" if best.topic else CONTROLLER,
        leader,
        term,
        tuple(best.voters),
        best.start_offset,
        best.end_offset,
        best.size_bytes,
        {follower.node_id: max(0, best.last_index - follower.match_index) for follower in best.followers},
        digests_agree(replicas.values()),
        tuple(sorted(node_id for node_id, replica in replicas.items() if replica.damage)),
        tuple(sorted(set(best.voters) - replicas.keys())),
    )


def digests_agree(replicas: Iterable[Replica]) -> bool | None:
    """Whether replicas that have applied the same index have the same state; None when no two can be compared."""
    by_index: dict[int, list[bytes]] = {}
    for replica in replicas:
        if replica.digest:
            by_index.setdefault(replica.applied_index, []).append(replica.digest)
    compared = [digests for digests in by_index.values() if len(digests) > 1]
    return all(len(set(digests)) == 1 for digests in compared) if compared else None


@app.command()
def status(server: ServerOption = None, profile: ProfileOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show nodes, leaders, replicas, followers' lag, and whether the replicas' digests agree.

    Exits with 3 when a partition has no leader, and with 4 when replicas disagree or are damaged.
    """

    async def ask(addresses: list[str]) -> tuple[Cluster, list[NodeDescription]]:
        async with Admin(addresses) as admin:
            answers = (await admin.describe_nodes()).values()
            return await admin.metadata(), [each for each in answers if not isinstance(each, QuorumlogError)]

    cluster, descriptions = run(ask(servers.resolve(server, profile)))
    groups = gather(descriptions)
    if output is Format.JSON:
        print_json(_as_record(cluster, descriptions, groups))
    else:
        _show(cluster, descriptions, groups)
    if any(group.digests_agree is False or group.damaged for group in groups):
        raise typer.Exit(FOUND_SOMETHING)
    if not groups or any(not group.leader for group in groups):
        raise typer.Exit(UNREACHABLE)


def _as_record(
    cluster: Cluster, descriptions: list[NodeDescription], groups: list[GroupStatus]
) -> dict[str, object]:
    described = {node.node_id: node for node in descriptions}
    return {
        "cluster_id": cluster.cluster_id,
        "controller": cluster.controller,
        "engine": _engine(descriptions),
        "engine_lacks": [{"guarantee": guarantee, "why": why} for guarantee, why in _lacks(descriptions)],
        "nodes": [
            {
                "node_id": node.node_id,
                "address": node.address,
                "serving": node.node_id in described,
                "version": described[node.node_id].version if node.node_id in described else None,
                "uptime_seconds": described[node.node_id].uptime_seconds if node.node_id in described else None,
                "links": [asdict(link) for link in described[node.node_id].links]
                if node.node_id in described
                else [],
            }
            for node in cluster.nodes
        ],
        "groups": [asdict(group) for group in groups],
    }


def _show(cluster: Cluster, descriptions: list[NodeDescription], groups: list[GroupStatus]) -> None:
    described = {node.node_id: node for node in descriptions}
    console.print(
        Text.assemble(
            (cluster.cluster_id, "bold"),
            f"  {len(cluster.nodes)} nodes, {len(groups)} groups, engine {_engine(descriptions)}\n",
        )
    )
    nodes = table("node", "address", "state", "leads", "replicas", "links", "up", right=("leads", "replicas", "up"))
    for node in cluster.nodes:
        description = described.get(node.node_id)
        if description is None:
            nodes.add_row(str(node.node_id), node.address, Text("no answer", style="bold red"))
            continue
        leads = sum(group.leader == node.node_id for group in groups)
        down = [str(link.node_id) for link in description.links if not link.up]
        nodes.add_row(
            str(node.node_id),
            node.address,
            Text("serving", style="green"),
            str(leads),
            str(len(description.replicas)),
            Text(f"none to {', '.join(down)}", style="yellow") if down else "all",
            duration(description.uptime_seconds),
        )
    console.print(nodes)
    console.print()
    console.print(_group_table(groups))
    lacks = _lacks(descriptions)
    if lacks:
        console.print(Text(f"\nWith engine {_engine(descriptions)} these do not hold:", style="yellow"))
        shown = table("guarantee", "what happens instead")
        for guarantee, why in lacks:
            shown.add_row(guarantee, why)
        console.print(shown)


def _engine(descriptions: list[NodeDescription]) -> str:
    """What replicates; all nodes run the same one, or they do not talk."""
    return " and ".join(sorted({description.engine for description in descriptions})) or "unknown"


def _lacks(descriptions: list[NodeDescription]) -> tuple[tuple[str, str], ...]:
    return next((description.lacks for description in descriptions if description.lacks), ())


def _group_table(groups: list[GroupStatus]) -> object:
    numbers = ("leader", "term", "start", "end", "size")
    shown = table("group", *numbers, "replicas", "lag", "digests", right=numbers)
    for group in groups:
        shown.add_row(
            group.name,
            str(group.leader) if group.leader else Text("none", style="bold red"),
            str(group.term),
            f"{group.start_offset:,}",
            f"{group.end_offset:,}",
            size(group.size_bytes),
            _replica_list(group),
            _lag(group),
            _digests(group),
        )
    return shown


def _replica_list(group: GroupStatus) -> Text:
    shown = Text()
    for place, node_id in enumerate(group.voters):
        style = "red" if node_id in group.damaged or node_id in group.missing else ""
        shown.append(", " if place else "").append(str(node_id), style=style)
    if group.damaged:
        shown.append(f" (damaged: {', '.join(map(str, group.damaged))})", style="red")
    return shown


def _lag(group: GroupStatus) -> str:
    behind = {node_id: entries for node_id, entries in group.lag.items() if entries}
    if not group.leader:
        return "–"
    return ", ".join(f"{node_id}: {entries:,}" for node_id, entries in sorted(behind.items())) or "none"


def _digests(group: GroupStatus) -> Text:
    match group.digests_agree:
        case True:
            return Text("agree", style="green")
        case False:
            return Text("DISAGREE", style="bold red")
        case None:
            return Text("not comparable", style="dim")


@app.command()
def transfer(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", show_default=False)],
    partition: Annotated[int, typer.Argument(metavar="PARTITION", min=0, show_default=False)],
    node: Annotated[int, typer.Option("--to", min=0, help="The node to lead; 0: the preferred one.")] = 0,
    server: ServerOption = None,
    profile: ProfileOption = None,
) -> None:
    """Hand the leadership of a partition to another of its replicas."""

    async def hand_over(addresses: list[str]) -> None:
        async with Admin(addresses) as admin:
            await admin.transfer_leadership(topic, partition, node)

    run(hand_over(servers.resolve(server, profile)))
    console.print(f"{topic}/{partition}: handing over to {f'node {node}' if node else 'its preferred leader'}")


@app.command()
def ping(server: ServerOption = None, profile: ProfileOption = None, output: FormatOption = Format.TEXT) -> None:
    """Ask each server given for its health; exits with 3 unless all of them serve. For health checks."""
    addresses = servers.resolve(server, profile)
    serving = {}
    for address in addresses:
        with NodeProbe(address) as probe:
            serving[address] = probe.serving(PING_SECONDS)
    if output is Format.JSON:
        print_json(serving)
    else:
        for address, answer in serving.items():
            console.print(f"{address}  {'serving' if answer else 'not serving'}")
    if not all(serving.values()):
        raise typer.Exit(UNREACHABLE)
