"""Hunts for planted bugs as a user sees them: table, exit code, document; and the way into a process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from quorumlog.chaos import planting
from quorumlog.chaos.planting import document, mutants
from quorumlog.cluster.failures import FOUND_SOMETHING
from quorumlog.planted.bugs import PROCESS_BUGS
from quorumlog.sim.mutants import MUTANTS, hunt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from quorumlog.sim.hunt import Hunt

BUG = "older term committed by count"

app = typer.Typer()
app.command()(mutants)


@pytest.fixture(scope="module")
def found() -> Hunt:
    return hunt(BUG)


def answer_with(monkeypatch: pytest.MonkeyPatch, one: Hunt) -> None:
    def hunted(names: Sequence[str], jobs: int) -> Iterator[Hunt]:
        yield one

    monkeypatch.setattr(planting, "_hunted", hunted)


def test_a_bug_that_is_caught_ends_well_and_says_how_it_was_found() -> None:
    outcome = CliRunner().invoke(app, [BUG, "--jobs", "1"])
    assert outcome.exit_code == 0, outcome.output
    assert f"caught  {BUG}" in outcome.output
    assert "leader completeness" in outcome.output
    assert "figure 8" in outcome.output


def test_a_bug_that_is_missed_ends_with_the_exit_code_of_a_finding(
    monkeypatch: pytest.MonkeyPatch, found: Hunt
) -> None:
    answer_with(monkeypatch, replace(found, caught=False, finding=""))
    outcome = CliRunner().invoke(app, [BUG])
    assert outcome.exit_code == FOUND_SOMETHING
    assert f"missed  {BUG}" in outcome.output
    assert "expected leader completeness" in outcome.output


def test_a_bug_that_is_found_in_the_intact_system_too_is_not_caught_for_being_wrong(
    monkeypatch: pytest.MonkeyPatch, found: Hunt
) -> None:
    answer_with(monkeypatch, replace(found, intact="fails in seed 3"))
    outcome = CliRunner().invoke(app, [BUG, "--format", "json"])
    assert outcome.exit_code == FOUND_SOMETHING
    assert json.loads(outcome.output)["hunts"][0]["intact"] == "fails in seed 3"


def test_an_unknown_bug_is_refused_with_the_names_of_all() -> None:
    outcome = CliRunner().invoke(app, ["nonsense"])
    assert outcome.exit_code == 2


def test_the_document_has_a_row_for_each_bug_and_says_what_was_missed(found: Hunt, tmp_path: Path) -> None:
    text = document([found, replace(found, bug="another", caught=False)], 12.0, 2)
    assert "**1 of 2 are caught; the intact system passes 2 of 2.**" in text
    assert f"| {BUG} | " in text
    assert "**MISSED**: expected leader completeness" in text
    target = tmp_path / "mutants.md"
    CliRunner().invoke(app, [BUG, "--jobs", "1", "--write", str(target)])
    assert f"| {BUG} | `quorumlog.raft.commitment.Commitment.counts_for_commit` |" in target.read_text()


def test_no_bug_has_two_homes() -> None:
    assert not set(PROCESS_BUGS) & set(MUTANTS)


def test_a_node_with_a_planted_bug_is_started_by_no_other_way_than_by_name() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "quorumlog.planted", "nonsense", sys.executable, "-m", "quorumlog.server"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode == 1
    assert "usage" in refused.stderr


def test_a_planted_process_says_so_before_anything_else_and_then_is_the_node() -> None:
    (bug,) = PROCESS_BUGS
    node = subprocess.run(
        [sys.executable, "-m", "quorumlog.planted", bug, "python", "-m", "quorumlog.server", "--node-id", "1"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert node.stderr.startswith(f"THIS NODE HAS A PLANTED BUG: {bug}")
    assert node.returncode == 2, "a node without a configuration says what it lacks"
