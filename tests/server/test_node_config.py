"""A wrong configuration is one line that names the key; a right one may come from a file, the environment
or flags."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from quorumlog.replica.api import NodeConfig
from quorumlog.server.config import ConfigError, load

if TYPE_CHECKING:
    from pathlib import Path

NODES = """
[[nodes]]
node_id = 1
client_address = "127.0.0.1:7401"
peer_address = "127.0.0.1:7501"
metrics_address = "127.0.0.1:7601"
[[nodes]]
node_id = 2
client_address = "127.0.0.1:7402"
peer_address = "127.0.0.1:7502"
metrics_address = "127.0.0.1:7602"
"""
GOOD = 'cluster_id = "c"\nnode_id = 1\ndata_dir = "data"\n'


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("QUORUMLOG_")]:
        monkeypatch.delenv(name)


def written(directory: Path, text: str) -> Path:
    path = directory / "node.toml"
    path.write_text(text)
    return path


def complaint(directory: Path, text: str, **flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(written(directory, text), flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_says_it_all(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD + NODES), {})
    assert (config.cluster_id, config.node_id, str(config.data_dir)) == ("c", 1, "data")
    assert config.me.client_address == "127.0.0.1:7401"
    assert [node.node_id for node in config.nodes] == [1, 2]


def test_what_concerns_groups_has_the_nodes_own_defaults(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD + NODES), {})
    node = NodeConfig("c", 1, (1,))
    for key in ("coordinators", "offsets_retention_ms", "tombstones_retention_ms"):
        assert getattr(config, key) == getattr(node, key)
    assert config.group_metrics


def test_flags_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, GOOD + NODES)
    monkeypatch.setenv("QUORUMLOG_NODE_ID", "2")
    monkeypatch.setenv("QUORUMLOG_LOG_LEVEL", "debug")
    config = load(path, {"log_level": "error", "cluster_id": None})
    assert (config.node_id, config.log_level, config.cluster_id) == (2, "error", "c")


@pytest.mark.parametrize(
    "nodes",
    [
        "1=alpha:7401:7501:7601, 2=beta:7401:7501:7601",
        json.dumps(
            [
                {
                    "node_id": number,
                    "client_address": f"{host}:7401",
                    "peer_address": f"{host}:7501",
                    "metrics_address": f"{host}:7601",
                }
                for number, host in ((1, "alpha"), (2, "beta"))
            ]
        ),
    ],
    ids=["short", "json"],
)
def test_a_container_needs_no_file(monkeypatch: pytest.MonkeyPatch, nodes: str) -> None:
    for key, value in {
        "CLUSTER_ID": "c",
        "NODE_ID": "2",
        "DATA_DIR": "/d",
        "NODES": nodes,
        "BIND_HOST": "0.0.0.0",
    }.items():
        monkeypatch.setenv(f"QUORUMLOG_{key}", value)
    config = load(None, {})
    assert config.me.peer_address == "beta:7501"
    assert config.listen_address(config.me.peer_address) == "0.0.0.0:7501"


def test_names_of_the_platform_in_the_environment_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORUMLOG_SERVICE_HOST", "10.0.0.1")
    assert load(written(tmp_path, GOOD + NODES), {}).node_id == 1


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    assert "unknown key 'data_dri'" in complaint(tmp_path, GOOD + 'data_dri = "x"\n' + NODES)


def test_an_unknown_key_of_a_node_is_named(tmp_path: Path) -> None:
    assert "unknown key 'nodes.1.rack'" in complaint(tmp_path, GOOD + NODES + 'rack = "b"\n')


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    assert "key 'cluster_id' is missing" in complaint(tmp_path, GOOD.split("\n", 1)[1] + NODES)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('cluster_id = "a b"\nnode_id = 1\ndata_dir = "d"\n' + NODES, "cluster_id"),
        ('cluster_id = "c"\nnode_id = 0\ndata_dir = "d"\n' + NODES, "node_id"),
        ('cluster_id = "c"\nnode_id = "x"\ndata_dir = "d"\n' + NODES, "node_id"),
        ('cluster_id = "c"\nnode_id = 3\ndata_dir = "d"\n' + NODES, "nodes"),
        (GOOD + 'log_level = "loud"\n' + NODES, "log_level"),
        (GOOD + "coordinators = 15\n" + NODES, "coordinators"),
        (GOOD + "offsets_retention_ms = 0\n" + NODES, "offsets_retention_ms"),
        (GOOD + "tombstones_retention_ms = -1\n" + NODES, "tombstones_retention_ms"),
        (GOOD + 'group_metrics = "some"\n' + NODES, "group_metrics"),
        (GOOD + NODES.replace("127.0.0.1:7502", "127.0.0.1"), "nodes.1.peer_address"),
        (GOOD + NODES.replace("127.0.0.1:7502", "127.0.0.1:99999"), "nodes.1.peer_address"),
        (GOOD + NODES.replace("127.0.0.1:7502", "::1:7502"), "nodes.1.peer_address"),
        (GOOD + NODES.replace("7502", "7501"), "127.0.0.1:7501 occurs twice"),
        (GOOD + NODES.replace("node_id = 2", "node_id = 1"), "node_id occurs twice"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_key(tmp_path: Path, text: str, key: str) -> None:
    assert key in complaint(tmp_path, text)


def test_wrong_nodes_in_short_form_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUORUMLOG_NODES", "1=alpha:7401")
    message = complaint(tmp_path, GOOD)
    assert "nodes" in message
    assert "1=alpha:7401" in message


def test_what_is_not_toml_is_said_so(tmp_path: Path) -> None:
    assert "not TOML" in complaint(tmp_path, "cluster_id = \n")


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "nowhere.toml", {})
