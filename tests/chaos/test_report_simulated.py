"""Simulated worlds are told as real runs are: those of our own engine, and those in which the control loses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from quorumlog.chaos import outcome
from quorumlog.chaos.report import write_run_report
from quorumlog.sim.control import LOSS, SEED_BUDGET, options_of
from quorumlog.sim.options import Workload, draw
from quorumlog.sim.run import Run
from quorumlog.sim.run_directory import write_run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

#: Where the loss was when this was written, so that one need not look for it.
_KNOWN_SEED = 5


def test_what_pysyncobj_loses_is_shown_by_the_operations_that_prove_it(tmp_path: Path) -> None:
    for seed in (_KNOWN_SEED, *range(SEED_BUDGET)):
        run = Run(options_of(seed, "pysyncobj", Workload.LOG, control=True))
        result = run.result()
        if any(violation.name == LOSS for violation in result.violations):
            break
    write_run(tmp_path, run, result)
    record = outcome.load(tmp_path)
    assert record.verdicts[LOSS] == "false"
    text = write_run_report(tmp_path).read_text(encoding="utf-8")
    assert f'id="{LOSS.replace(" ", "-")}"' in text
    told = text[text.index(f'id="{LOSS.replace(" ", "-")}"') :]
    numbered = re.findall(r"<li><b>(\d+)</b><span>(\w+)", told)
    assert ("1", "send") in numbered
    assert any(operation == "final_read" for _, operation in numbered)
    assert f"<code>{record.replay}</code>" in text


def test_a_simulated_world_tells_of_its_faults_its_nodes_and_its_healing(tmp_path: Path) -> None:
    run = Run(draw(12, Workload.CONSUMERS))
    write_run(tmp_path, run, run.result())
    record = outcome.load(tmp_path)
    text = write_run_report(tmp_path).read_text(encoding="utf-8")
    assert record.fault_count > 0
    assert "What the faults cost" in text
    assert "LeaderElected" in text
    assert '"text":"serves again"' in text
