"""Clusters that are gone afterwards: where they look for ports."""

from __future__ import annotations

import subprocess
import sys

from quorumlog.cluster.throwaway import BLOCK_PORTS, BLOCKS, FIRST_BASE_PORT, base_port


def base_port_of_another_process(pid: int) -> int:
    program = (
        f"import os; os.getpid = lambda: {pid}; from quorumlog.cluster import throwaway as t; print(t.base_port())"
    )
    return int(subprocess.check_output([sys.executable, "-c", program], timeout=30))


def test_two_processes_at_a_time_look_for_ports_in_different_places() -> None:
    own = base_port()
    assert own == base_port()
    block = (own - FIRST_BASE_PORT) // BLOCK_PORTS
    assert base_port_of_another_process(pid=block) != own, "it would have begun to look there"
    free = (block + BLOCKS // 2) % BLOCKS
    found = base_port_of_another_process(pid=free)
    assert found == base_port_of_another_process(pid=free), "nobody has it any more"


def test_all_of_them_lie_below_the_ports_that_the_kernel_gives_to_outgoing_connections() -> None:
    assert FIRST_BASE_PORT + BLOCKS * BLOCK_PORTS < 32_768
