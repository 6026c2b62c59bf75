"""``python -m quorumlog.planted BUG PYTHON -m quorumlog.server ARGUMENTS``: plants the bug and runs that node in
this process. In this form it stands before a node's own command (``LocalCluster.lay_out``, ``enter``).
"""

import sys

import typer

from quorumlog.planted.bugs import PROCESS_BUGS, plant
from quorumlog.server.cli import run

NODE = "quorumlog.server"

if len(sys.argv) < 2 or sys.argv[1] not in PROCESS_BUGS or NODE not in sys.argv:
    sys.exit(f"usage: python -m quorumlog.planted BUG PYTHON -m {NODE} ARGUMENTS; bugs: {', '.join(PROCESS_BUGS)}")
print(f"THIS NODE HAS A PLANTED BUG: {sys.argv[1]}", file=sys.stderr, flush=True)
plant(sys.argv[1])
sys.argv = [NODE, *sys.argv[sys.argv.index(NODE) + 1 :]]
typer.run(run)
