"""Where the servers' addresses come from, and which addresses are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer

from quorumlog.cluster import servers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's profiles file, empty at first."""
    monkeypatch.setattr(servers, "profiles_path", lambda: tmp_path / "profiles.toml")
    return tmp_path / "profiles.toml"


def test_with_nothing_said_the_local_cluster_is_meant() -> None:
    assert servers.resolve(None, None) == ["127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7403"]


def test_servers_may_be_repeated_or_separated_by_commas() -> None:
    assert servers.resolve(["a:1,b:2", "[::1]:3"], None) == ["a:1", "b:2", "[::1]:3"]


def test_servers_given_win_over_the_profile(profiles: Path) -> None:
    profiles.write_text('[staging]\nservers = ["s:1"]\n')
    assert servers.resolve(["a:1"], "staging") == ["a:1"]


def test_a_named_profile_wins_over_the_default_one(profiles: Path) -> None:
    profiles.write_text('[default]\nservers = ["d:1"]\n[staging]\nservers = ["s:1", "s:2"]\n')
    assert servers.resolve(None, "staging") == ["s:1", "s:2"]
    assert servers.resolve(None, None) == ["d:1"]


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":1", "host:0", "host:65536", "http://host:1", "a b:1", "::1:2"]
)
def test_what_is_not_an_address_is_refused(address: str) -> None:
    with pytest.raises(typer.BadParameter):
        servers._address(address)


@pytest.mark.parametrize(
    "content",
    ["not toml", "servers = 1", "[p]", "[p]\nservers = []", "[p]\nservers = [1]", '[p]\nservers = ["x"]',
     '[p]\nservers = ["a:1"]\nserver = "a:1"'],
)  # fmt: skip
def test_a_profile_that_makes_no_sense_is_refused(profiles: Path, content: str) -> None:
    profiles.write_text(content)
    with pytest.raises(typer.BadParameter, match=r"profiles\.toml"):
        servers.resolve(None, "p")


def test_an_unknown_profile_is_refused_and_the_known_ones_are_named(profiles: Path) -> None:
    profiles.write_text('[staging]\nservers = ["s:1"]\n')
    with pytest.raises(typer.BadParameter, match="staging"):
        servers.resolve(None, "production")
