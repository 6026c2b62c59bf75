"""The deterministic simulator: whole clusters in one process, one world per seed (CHAOS.md §4).

``world`` is time, order and chance; ``network``, ``disk``, ``calls`` what can go wrong between and under the parts;
``host`` a machine with a whole node on it; ``clients``, ``producers``, ``readers`` the load; ``options`` and
``faults`` what a seed draws and does; ``taps`` what is watched; ``run`` one seed from beginning to verdict;
``explore`` many; ``mutants`` the planted bugs.
"""
