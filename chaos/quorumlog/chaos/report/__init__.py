"""Reports: one HTML page for a run and one for a suite, whole in themselves, for people at any hour.

A page needs nothing but its file: no network, no server; light, dark, on paper and on a telephone. What it says
comes from the run's directory alone (``quorumlog.chaos.outcome``), so a run of the simulator or of another engine
that is written in the same form is told in the same way.

Prior art: the pages of Jepsen's store (``results.edn``, ``latency-raw.png``, ``timeline.html``) and of Porcupine's
visualiser, put on one page and on one time axis.
"""

from quorumlog.chaos.report.page import write_run_report
from quorumlog.chaos.report.suite import find_runs, is_run, write_suite_report

__all__ = ["find_runs", "is_run", "write_run_report", "write_suite_report"]
