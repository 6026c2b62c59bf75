"""Benchmarks that say how far a figure is from the limit of the machine it was measured on.

A figure alone says little: machines differ, and a shared one differs from itself by the minute. So every run also
measures what the same machine does with nothing of quorumlog in the way (``limits``), before and after, and
prints the ratio; and every run reads back what it wrote, because a fast log that loses records is no log
(``ledger``).
"""
