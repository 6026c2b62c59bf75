"""The container files agree with each other and with what a node accepts; no container engine is needed to know."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from quorumlog.server.config import ServerConfig, load

ROOT = Path(__file__).resolve().parents[2]
BENCHMARK_NETWORK = ipaddress.ip_network("198.18.0.0/15")


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def image_environment() -> dict[str, str]:
    text = (ROOT / "Dockerfile").read_text()
    return dict(re.findall(r"(QUORUMLOG_[A-Z_]+)=(\S+)", text))


@pytest.fixture
def configurations(compose: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, ServerConfig]:
    """What each service's node makes of its environment."""
    loaded = {}
    for name, service in compose["services"].items():
        with monkeypatch.context() as environment:
            for key, value in (image_environment() | service["environment"]).items():
                environment.setenv(key, value)
            loaded[name] = load(None, {})
    return loaded


def test_every_node_accepts_its_configuration(configurations: dict[str, ServerConfig]) -> None:
    assert [config.node_id for config in configurations.values()] == [1, 2, 3]
    assert all(
        config.data_dir == Path("/data") and config.log_format == "json" for config in configurations.values()
    )


def test_all_nodes_agree_on_the_cluster(configurations: dict[str, ServerConfig]) -> None:
    first, *others = configurations.values()
    assert all(other.nodes == first.nodes and other.cluster_id == first.cluster_id for other in others)


def test_each_service_has_the_address_the_others_expect(
    compose: Any, configurations: dict[str, ServerConfig]
) -> None:
    for name, service in compose["services"].items():
        own = service["networks"]["quorumlog"]["ipv4_address"]
        me = configurations[name].me
        assert {me.client_address, me.peer_address, me.metrics_address} == {
            f"{own}:7401",
            f"{own}:7501",
            f"{own}:7601",
        }


def test_the_addresses_lie_in_the_subnet_and_the_subnet_is_nobodys(compose: Any) -> None:
    (pool,) = compose["networks"]["quorumlog"]["ipam"]["config"]
    subnet = ipaddress.ip_network(pool["subnet"])
    assert subnet.subnet_of(BENCHMARK_NETWORK)  # type: ignore[arg-type]
    for service in compose["services"].values():
        assert ipaddress.ip_address(service["networks"]["quorumlog"]["ipv4_address"]) in subnet


def test_each_node_has_a_volume_of_its_own_where_its_data_is(compose: Any) -> None:
    volumes = [volume for service in compose["services"].values() for volume in service["volumes"]]
    assert len(set(volumes)) == 3
    assert all(volume.endswith(":" + image_environment()["QUORUMLOG_DATA_DIR"]) for volume in volumes)
    assert {volume.partition(":")[0] for volume in volumes} == set(compose["volumes"])


def test_ports_are_published_on_this_machine_only_and_once(compose: Any) -> None:
    ports = [port for service in compose["services"].values() for port in service["ports"]]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    published = [port.split(":")[1] for port in ports]
    assert len(set(published)) == len(published) == 6


def test_the_image_runs_as_nobody_special_and_checks_its_health() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert lines.index("USER quorumlog") < lines.index('ENTRYPOINT ["quorumlog"]')
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert "ARG BASE_IMAGE=python:3.13-slim" in lines
