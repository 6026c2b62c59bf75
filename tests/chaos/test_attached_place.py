"""A cluster of somebody's own is harmed with granted commands only, and put back as it was."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from chaos.own_cluster import acts, granted
from chaos.place_claims import eventually

from quorumlog.chaos.places import attached, grants
from quorumlog.chaos.places.attached import AttachedPlace, lacks
from quorumlog.chaos.places.grants import read_grants
from quorumlog.chaos.places.place import GOOD, Ability, DiskOrder, LinkCondition, NotPossible
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from quorumlog.cluster.launcher import LocalCluster


@pytest.fixture(scope="module")
def own() -> Iterator[LocalCluster]:
    """The user's cluster."""
    with running_cluster() as cluster:
        yield cluster


def commands(own: LocalCluster, tmp_path: Path) -> Path:
    """Grants to kill, pause and cut; cuts are only written down."""
    done = tmp_path / "cuts"
    cuts = {
        what: f"echo {what} {{source}} {{target}} {{source_host}} {{target_host}} >> {done}"
        for what in ("cut", "heal")
    }
    return granted(tmp_path, acts(own, tmp_path) | cuts)


@pytest_asyncio.fixture
async def place(own: LocalCluster, tmp_path: Path) -> AsyncIterator[AttachedPlace]:
    place = AttachedPlace(own.servers[:1], read_grants(commands(own, tmp_path)))
    await place.start()
    yield place
    await place.close()


async def test_an_ability_is_there_if_all_its_commands_are(place: AttachedPlace, own: LocalCluster) -> None:
    assert place.abilities == {Ability.KILL, Ability.PAUSE, Ability.CUT}
    assert place.lacks[Ability.STOP] == "not granted: needs stop"
    assert place.lacks[Ability.REJECT] == "not granted: needs reject"
    assert place.lacks[Ability.DISCONNECT] == "not granted: needs disconnect and reconnect"
    assert place.abilities | place.lacks.keys() == set(Ability)
    assert place.servers == own.servers


async def test_what_was_not_granted_is_not_done(place: AttachedPlace) -> None:
    for act in (place.stop(1), place.disconnect(1), place.reset_link(1, 2)):
        with pytest.raises(NotPossible, match="no command"):
            await act
    with pytest.raises(NotPossible, match="left alone"):
        await place.order_disk(1, DiskOrder("power"))
    with pytest.raises(NotPossible, match="left alone"):
        place.data_directory(1)
    with pytest.raises(NotPossible, match="slow links"):
        await place.set_link(1, 2, LinkCondition(latency_ms=5))


async def test_a_node_that_is_killed_is_gone_and_started_again_at_the_end(
    own: LocalCluster, tmp_path: Path
) -> None:
    place = AttachedPlace(own.servers[1:2], read_grants(commands(own, tmp_path)))
    await place.start()
    await place.kill(2)
    own.refresh()
    assert not place.running(2)
    assert own.running() == [1, 3]

    async def missed() -> bool:
        return place.said(1, "PeerSilent") + place.said(3, "PeerSilent") > 0

    await eventually("the others miss it, and their logs are followed", missed)
    await place.close()
    own.refresh()
    assert own.running() == [1, 2, 3]
    own.wait_ready()


async def test_a_node_that_is_paused_does_not_answer_until_it_is_resumed(
    place: AttachedPlace, own: LocalCluster
) -> None:
    await place.pause(3)
    process = own.process(3)
    assert process is not None
    assert process.paused()
    assert not place.running(3)
    await place.resume(3)
    assert not process.paused()
    assert place.running(3)


async def test_links_are_cut_and_healed_by_name_and_healed_at_the_end(own: LocalCluster, tmp_path: Path) -> None:
    place = AttachedPlace(own.servers, read_grants(commands(own, tmp_path)))
    await place.start()
    cut = LinkCondition(open=False)
    await place.set_link(1, 2, cut)
    await place.set_link(1, 2, cut)
    await place.set_link(1, 2, GOOD)
    await place.set_link(3, 1, cut)
    await place.close()
    assert (tmp_path / "cuts").read_text().splitlines() == [
        "cut 1 2 one two",
        "heal 1 2 one two",
        "cut 3 1 three one",
        "heal 3 1 three one",
    ]


async def test_a_command_without_effect_is_found_out(own: LocalCluster, tmp_path: Path) -> None:
    allowed = read_grants(granted(tmp_path, {"log": "exec sleep 60", "kill": "true", "start": "true"}))
    place = AttachedPlace(own.servers, allowed)
    await place.start()
    patience, attached.EFFECT_TIMEOUT_S = attached.EFFECT_TIMEOUT_S, 0.2
    try:
        with pytest.raises(NotPossible, match="still accepts connections"):
            await place.kill(1)
    finally:
        attached.EFFECT_TIMEOUT_S = patience
        await place.close()


async def test_a_command_that_fails_says_what_it_said(own: LocalCluster, tmp_path: Path) -> None:
    failing = {"log": "exec sleep 60", "pause": "echo no such unit >&2; exit 5", "resume": "true"}
    place = AttachedPlace(own.servers, read_grants(granted(tmp_path, failing)))
    await place.start()
    with pytest.raises(NotPossible, match="no such unit"):
        await place.pause(1)
    await place.close()


async def test_another_cluster_than_the_grants_name_is_refused(own: LocalCluster, tmp_path: Path) -> None:
    nodes = "[nodes.1]\n[nodes.2]\n"
    place = AttachedPlace(own.servers, read_grants(granted(tmp_path, {"log": "true"}, nodes)))
    with pytest.raises(NotPossible, match=r"nodes \[1, 2, 3\], the grants \[1, 2\]"):
        await place.start()
    await place.close()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[commands]\nlog = 'x'", r"\[nodes.ID\]"),
        ("[nodes.one]\n[commands]\nlog = 'x'", "by their ids"),
        ("[nodes.1]\n[commands]\nkill = 'x'", "must have 'log'"),
        ("[nodes.1]\n[commands]\nlog = 'x'\nexplode = 'x'", "unknown command 'explode'"),
        ("[nodes.1]\n[commands]\nlog = 'x'\nkill = 5", "are strings"),
        ("[nodes.1]\n[commands]\nlog = 'ssh {host} x'", "cannot be filled in: KeyError\\('host'\\)"),
        ("[nodes.1]\n[nodes.2]\n[commands]\nlog = 'x'\ncut = '{source_host}'", "'cut' cannot be filled in"),
        ("surprise = 1", "unknown key 'surprise'"),
        ("nonsense", "grants.toml"),
    ],
)
async def test_grants_that_make_no_sense_are_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "grants.toml"
    path.write_text(content)
    with pytest.raises(NotPossible, match=complaint) as caught:
        read_grants(path)
    assert "\n" not in str(caught.value)


async def test_every_ability_can_be_granted_or_says_why_it_never_is() -> None:
    assert all(reason for reason in lacks().values())
    assert Ability.DISK in lacks()
    assert Ability.KILL not in lacks()


async def test_the_example_in_the_documentation_is_sound(tmp_path: Path) -> None:
    assert grants.__doc__
    example = inspect.cleandoc(grants.__doc__.split("::", 1)[1].split("\nA command about", 1)[0])
    path = tmp_path / "grants.toml"
    path.write_text(example)
    assert {Ability.KILL, Ability.PAUSE, Ability.CUT} == read_grants(path).abilities
