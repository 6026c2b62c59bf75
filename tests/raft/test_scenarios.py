"""The transcripts under ``scenarios/``: each is what happens, word for word.

To review a change of behaviour, let the transcripts follow it and read the difference:

    QUORUMLOG_REWRITE_SCENARIOS=1 python -m pytest tests/raft/test_scenarios.py && git diff tests/raft/scenarios
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from raft.raft_transcript import rewrite

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


def test_there_are_scenarios() -> None:
    assert SCENARIOS


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    happened = rewrite(text)
    if os.environ.get("QUORUMLOG_REWRITE_SCENARIOS"):
        path.write_text(happened, encoding="utf-8")
    else:
        assert happened == text
