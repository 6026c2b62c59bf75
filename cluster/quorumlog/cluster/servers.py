"""Which servers a command talks to.

In order: ``--server`` (repeatable, or comma-separated), ``QUORUMLOG_SERVERS``, the profile named by ``--profile``
or ``QUORUMLOG_PROFILE``, the profile called ``default``, and last the addresses at which ``quorumlog up`` starts
a cluster.

Profiles stand in ``profiles.toml`` in the user's configuration directory (``~/.config/quorumlog``)::

    [default]
    servers = ["127.0.0.1:7401"]

    [staging]
    servers = ["log-1.example:7401", "log-2.example:7401"]
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from quorumlog.cluster.layout import CLIENT_PORT, DEFAULT_BASE_PORT, HOST

ServerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--server",
        envvar="QUORUMLOG_SERVERS",
        help="host:port of a node; repeat it, or separate several by commas. Any node will do.",
        show_default=False,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(envvar="QUORUMLOG_PROFILE", help="Take the servers from this profile.", show_default=False),
]

DEFAULT_PROFILE = "default"
LOCAL_SERVERS = [f"{HOST}:{DEFAULT_BASE_PORT + CLIENT_PORT + place}" for place in range(3)]
#: host:port, also with an IPv6 address in brackets.
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):(\d{1,5})")


def profiles_path() -> Path:
    return Path(typer.get_app_dir("quorumlog")) / "profiles.toml"


def resolve(server: list[str] | None, profile: str | None) -> list[str]:
    """The addresses to use. Raises typer.BadParameter for an address or profile that makes no sense."""
    if server:
        # Click splits an environment variable of several values at blanks; commas are ours.
        return [_address(part) for item in server for part in re.split(r"[,\s]+", item) if part]
    profiles = _profiles()
    if profile is None:
        return profiles.get(DEFAULT_PROFILE, LOCAL_SERVERS)
    if profile not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise typer.BadParameter(f"no profile {profile!r} in {profiles_path()}; there: {known}")
    return profiles[profile]


def _address(text: str, place: str = "") -> str:
    """``text`` if it is an address; ``place`` says where it stood. Raises typer.BadParameter."""
    match = ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match[2]) < 65536:
        raise typer.BadParameter(f"{place}{text!r} is not an address; give host:port")
    return text


def _profiles() -> dict[str, list[str]]:
    path = profiles_path()
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"cannot read {path}: {error}") from None
    profiles = {}
    for name, settings in content.items():
        servers = settings.get("servers") if isinstance(settings, dict) else None
        if not isinstance(servers, list) or not servers or not all(isinstance(item, str) for item in servers):
            raise typer.BadParameter(f'{path}: profile {name!r} needs servers = ["host:port", …]')
        if unknown := sorted(set(settings) - {"servers"}):
            raise typer.BadParameter(f"{path}: profile {name!r} has an unknown key {unknown[0]!r}")
        profiles[name] = [_address(item, f"{path}: profile {name!r}: ") for item in servers]
    return profiles
