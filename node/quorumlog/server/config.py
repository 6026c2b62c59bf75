"""A node's configuration: from a TOML file, the environment and the command line, later ones winning.

    cluster_id = "…"; node_id = 1; data_dir = "…"
    [[nodes]]   # one for every node of the cluster
    node_id = 1
    client_address = "127.0.0.1:7401"; peer_address = "127.0.0.1:7501"; metrics_address = "127.0.0.1:7601"

The environment's names are the keys with QUORUMLOG_ before them; QUORUMLOG_NODES is JSON or, shorter,
``1=host:client port:peer port:metrics port,2=…``. Whatever is unknown in the file or wrong anywhere is one line
that names the key. An unknown name in the *environment* is let pass: container platforms put names of their own
there (QUORUMLOG_SERVICE_HOST and the like, for a service called quorumlog).
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path  # noqa: TC003 - pydantic reads the annotations at run time
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

ENV_PREFIX = "QUORUMLOG_"
DAY_MS = 86_400_000


class ConfigError(Exception):
    """The configuration is wrong; the message is one line that names the key."""


def split_address(address: str) -> tuple[str, int]:
    """("host", port) of "host:port"; the host of an IPv6 address stands in brackets. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{address!r} is not host:port")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{address!r}: an IPv6 host must stand in brackets")
    return host, int(port)


def _checked_address(address: str) -> str:
    split_address(address)
    return address


Address = Annotated[str, AfterValidator(_checked_address)]


class NodeEntry(BaseModel):
    """Where one node of the cluster is reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    node_id: int = Field(ge=1, le=65_535)
    client_address: Address
    peer_address: Address
    metrics_address: Address


class ServerConfig(BaseSettings):
    """Everything a node must be told."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=ENV_PREFIX)

    cluster_id: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    node_id: int = Field(ge=1, le=65_535)
    data_dir: Path
    nodes: Annotated[tuple[NodeEntry, ...], NoDecode]
    bind_host: str = ""
    """Listen on this host instead of the one in this node's addresses: where they are names or lie behind NAT."""
    coordinators: int = Field(default=4, ge=0, le=14)
    """Partitions of the internal topic that coordinates consumer groups; what the cluster was first started with
    counts."""
    offsets_retention_ms: int = Field(default=7 * DAY_MS, ge=1_000)
    """Committed offsets that a group has not used for so long expire, with a warning before."""
    tombstones_retention_ms: int = Field(default=7 * DAY_MS, ge=1_000)
    """An expired offset can be restored for so long."""
    group_metrics: bool = True
    """Whether each consumer group gets lag series of its own (``quorumlog.server.group_metrics``)."""
    engine: Literal["raft", "pysyncobj"] = "raft"
    """What replicates; the same on all nodes, and for the life of the data."""
    faults: Path | None = None
    """Where the fault door is opened (``quorumlog.server.fault_door``); never taken from the environment."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"

    @field_validator("nodes", mode="before")
    @classmethod
    def _parse_nodes(cls, value: Any) -> Any:
        return parse_nodes(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_nodes(self) -> ServerConfig:
        ids = [node.node_id for node in self.nodes]
        if len(set(ids)) != len(ids):
            raise ValueError("nodes: a node_id occurs twice")
        if self.node_id not in ids:
            raise ValueError(f"nodes: node_id {self.node_id} is not among {sorted(ids)}")
        addresses = [a for n in self.nodes for a in (n.client_address, n.peer_address, n.metrics_address)]
        for address in addresses:
            if addresses.count(address) > 1:
                raise ValueError(f"nodes: address {address} occurs twice")
        return self

    @property
    def me(self) -> NodeEntry:
        """This node's own entry."""
        return next(node for node in self.nodes if node.node_id == self.node_id)

    def listen_address(self, advertised: str) -> str:
        """Where to listen so as to be reached at ``advertised``."""
        host, port = split_address(advertised)
        return f"{self.bind_host or host}:{port}"


def parse_nodes(text: str) -> Any:
    """The entries that QUORUMLOG_NODES describes, unchecked. Raises ValueError."""
    if text.lstrip().startswith("["):
        return json.loads(text)
    entries = []
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        node_id, equals, rest = item.partition("=")
        pieces = rest.rsplit(":", 3)
        if not equals or len(pieces) != 4:
            raise ValueError(f"{item!r} is not ID=host:client port:peer port:metrics port")
        host, client, peer, metrics = pieces
        entries.append(
            {
                "node_id": node_id,
                "client_address": f"{host}:{client}",
                "peer_address": f"{host}:{peer}",
                "metrics_address": f"{host}:{metrics}",
            }
        )
    return entries


def load(path: Path | None, flags: dict[str, Any]) -> ServerConfig:
    """The configuration from the file (if any), the environment and ``flags``; None among these means not given.

    Raises ConfigError.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    if any(name.upper() == f"{ENV_PREFIX}FAULTS" for name in os.environ):
        # It lets whoever reaches the socket destroy the data: to be asked for in so many words, or not at all.
        raise ConfigError("environment: 'faults' can only be given on the command line or in the file")

    class FromFile(ServerConfig):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if path is None:
                return init_settings, env_settings
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)

    where = str(path) if path is not None else "configuration"
    if path is not None and not path.is_file():
        raise ConfigError(f"{where}: no such file")
    try:
        return FromFile(**given)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_line(error)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: not TOML: {error}") from error
    except SettingsError as error:
        raise ConfigError(f"{where}: {error}") from error


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    if first["type"] == "missing":
        return f"key {key!r} is missing"
    what = first["msg"].removeprefix("Value error, ")
    return f"key {key!r}: {what}" if key else what
