"""The container engine and its Python libraries, loaded only when somebody wants containers.

Testcontainers makes the networks and containers; docker-py does to them what testcontainers has no word for (kill,
pause, disconnect). Testcontainers' own reaper is a container from a registry: it is switched off, and everything is
labelled instead (``quorumlog.chaos.places.owner``) and swept by the next run.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from quorumlog.chaos.places import owner
from quorumlog.chaos.places.place import NotPossible

if TYPE_CHECKING:
    from collections.abc import Mapping

    import docker

LABEL = "io.quorumlog.chaos"
#: An engine that does not answer for so long does not answer.
ENGINE_TIMEOUT_S = 60
IMAGE = "quorumlog:dev"
#: Subnets are looked for in these two /16, both of 198.18.0.0/15, which is set aside for tests (RFC 2544).
CLIENTS_NET, PEERS_NET = "198.18", "198.19"
#: Third numbers of subnets to try; below are compose.yaml's (73), above those of namespaces.
SUBNETS = range(100, 200)


def client() -> docker.DockerClient:
    """A connection to the engine (DOCKER_HOST, or the usual socket). Raises NotPossible."""
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    try:
        import docker
        import testcontainers.core.container  # noqa: F401 - needed a little later: say so now
    except ImportError as error:
        raise NotPossible(f"{error}; pip install 'quorumlog[chaos]'") from None
    try:
        engine = docker.from_env(timeout=ENGINE_TIMEOUT_S)
        engine.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise NotPossible(f"no container engine answers: {error}") from None
    return engine


def why_not(image: str = IMAGE) -> str:
    """Why no cluster can run in containers here; "" if it can."""
    try:
        engine = client()
    except NotPossible as error:
        return str(error)
    import docker

    try:
        # Directories are shared with containers, and clients talk to containers' own addresses.
        if sys.platform != "linux" or not engine.api.base_url.startswith("http+docker://"):
            return "the container engine runs on another machine, or in a virtual one"
        engine.images.get(image)
    except docker.errors.ImageNotFound:
        return f"the engine has no image {image}; make image"
    finally:
        engine.close()
    return ""


def labels() -> Mapping[str, str]:
    """What everything that this run makes is labelled with."""
    return {LABEL: owner.named(owner.mark(), "run")}


def sweep(engine: docker.DockerClient) -> None:
    """Removes the containers and networks of runs that do not live any more."""
    from docker.errors import APIError

    # Another run may be sweeping, too: what it was quicker with is no failure.
    for container in engine.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True):
        if owner.is_leftover(container.labels[LABEL]):
            with suppress(APIError):
                container.remove(force=True, v=True)
    for network in engine.networks.list(filters={"label": LABEL}):
        if owner.is_leftover(network.attrs["Labels"][LABEL]):
            with suppress(APIError):
                network.remove()


def make_networks() -> tuple[str, Any, Any]:
    """A clients' and a peers' network on a pair of subnets that are free; (the third number, clients, peers).

    Both are internal: nothing that runs in them reaches anything else. Raises NotPossible.
    """
    import docker
    from testcontainers.core.network import Network

    for number in SUBNETS:
        made: list[Network] = []
        try:
            for prefix in (CLIENTS_NET, PEERS_NET):
                pool = docker.types.IPAMPool(subnet=f"{prefix}.{number}.0/24")
                made.append(
                    Network(
                        docker_network_kw={
                            "internal": True,
                            "labels": dict(labels()),
                            "ipam": docker.types.IPAMConfig(pool_configs=[pool]),
                        }
                    ).create()
                )
        except docker.errors.APIError as error:
            for network in made:
                network.remove()
            if "overlap" not in str(error):
                raise NotPossible(f"the engine makes no network: {error.explanation}") from None
            continue
        clients, peers = made
        return str(number), clients, peers
    raise NotPossible(f"all subnets {CLIENTS_NET}.{SUBNETS.start}.0/24 to .{SUBNETS.stop - 1}.0/24 are taken")
