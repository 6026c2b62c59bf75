"""A local cluster's files: written once, read back the same, refused when they make no sense."""

from __future__ import annotations

import os
import socket
import tomllib
from typing import TYPE_CHECKING

import pytest

from quorumlog.cluster import layout
from quorumlog.cluster.launcher import ClusterBusy, LocalCluster
from quorumlog.cluster.layout import LayoutError
from quorumlog.cluster.processes import ProcessIdentity

if TYPE_CHECKING:
    from pathlib import Path

BASE_PORT = 21400


def test_every_listener_gets_a_port_of_its_own() -> None:
    planned = layout.plan("c", 7, BASE_PORT)
    addresses = [
        a for node in planned.nodes for a in (node.client_address, node.peer_address, node.metrics_address)
    ]
    assert len(set(addresses)) == 21
    assert [node.node_id for node in planned.nodes] == [1, 2, 3, 4, 5, 6, 7]


def test_more_nodes_than_lie_between_two_kinds_of_listener_still_get_ports_of_their_own() -> None:
    planned = layout.plan("c", 150, BASE_PORT)
    addresses = [
        a for node in planned.nodes for a in (node.client_address, node.peer_address, node.metrics_address)
    ]
    assert len(set(addresses)) == 450


def test_a_port_in_use_is_passed_over() -> None:
    with socket.socket() as occupied:
        occupied.bind((layout.HOST, 0))
        occupied.listen()
        port = occupied.getsockname()[1]
        planned = layout.plan("c", 1, port - layout.CLIENT_PORT)
        assert layout.port_of(planned.nodes[0].client_address) > port


def test_the_ports_can_run_out() -> None:
    with pytest.raises(LayoutError, match="no free ports"):
        layout.plan("c", 3, layout.LAST_PORT - 1)


def test_the_state_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    planned = layout.plan("c", 3, BASE_PORT).with_process(2, ProcessIdentity.of(os.getpid()))
    layout.save(tmp_path, planned)
    assert layout.load(tmp_path) == planned


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "cannot read"),
        ("[]", "not a cluster's state file"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1}', "not a cluster's state file"),
        ('{"format": 1, "cluster_id": "c", "nodes": [{"node_id": 1, "process": null}]}', "not a cluster's state"),
        ('{"format": 1, "cluster_id": "c", "nodes": [7]}', "not a cluster's state file"),
    ],
)
def test_a_state_file_that_makes_no_sense_is_refused_by_name(tmp_path: Path, content: str, complaint: str) -> None:
    layout.state_path(tmp_path).write_text(content)
    with pytest.raises(LayoutError, match=complaint) as caught:
        layout.load(tmp_path)
    assert "cluster.json" in str(caught.value)


def test_an_empty_directory_holds_no_cluster_and_the_message_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=f"quorumlog up --data {tmp_path}"):
        LocalCluster.open(tmp_path)


def test_each_node_is_told_of_all_nodes_and_has_a_directory_of_its_own(tmp_path: Path) -> None:
    odd = tmp_path / 'a "quoted" näme'
    cluster = LocalCluster.create(odd, 3, BASE_PORT)
    configs = [tomllib.loads(layout.config_path(odd, node_id).read_text()) for node_id in cluster.node_ids]
    assert [config["node_id"] for config in configs] == [1, 2, 3]
    assert len({config["data_dir"] for config in configs}) == 3
    assert all(config["data_dir"].startswith(str(odd.resolve())) for config in configs)
    assert configs[0]["nodes"] == configs[1]["nodes"] == configs[2]["nodes"]
    assert [node["client_address"] for node in configs[0]["nodes"]] == cluster.servers
    assert {config["cluster_id"] for config in configs} == {cluster.cluster_id}


def test_a_cluster_is_not_planned_over_another(tmp_path: Path) -> None:
    LocalCluster.create(tmp_path, 1, BASE_PORT)
    with pytest.raises(LayoutError, match="already"):
        LocalCluster.create(tmp_path, 1, BASE_PORT)


def test_a_cluster_that_was_never_started_runs_nothing_and_stopping_it_is_fine(tmp_path: Path) -> None:
    cluster = LocalCluster.create(tmp_path, 3, BASE_PORT)
    assert cluster.running() == []
    assert cluster.stop() == []


def test_a_pid_that_now_names_a_stranger_counts_as_a_dead_node_and_survives_a_stop(tmp_path: Path) -> None:
    LocalCluster.create(tmp_path, 1, BASE_PORT)
    own = ProcessIdentity.of(os.getpid())
    stranger = ProcessIdentity(own.pid, own.start_ticks - 1, own.boot_id)
    layout.save(tmp_path, layout.load(tmp_path).with_process(1, stranger))
    cluster = LocalCluster.open(tmp_path)
    assert cluster.running() == []
    assert cluster.stop() == []  # this test goes on: it was not terminated


def test_two_launchers_do_not_work_on_one_cluster_at_once(tmp_path: Path) -> None:
    first = LocalCluster.create(tmp_path, 1, BASE_PORT)
    second = LocalCluster.open(tmp_path)
    with first.exclusively(), pytest.raises(ClusterBusy), second.exclusively():
        pass
    with second.exclusively():
        pass
