"""Tests that ask for ``engine`` run over both: they need nothing that PySyncObj does not hold (README, table of
engines)."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", params=["raft", "pysyncobj"])
def engine(request: pytest.FixtureRequest) -> str:
    """What replicates."""
    return str(request.param)
