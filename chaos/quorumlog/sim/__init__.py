"""The deterministic simulator: whole clusters in one process, one world per seed (CHAOS.md §4).

``world`` is time, order and chance; ``network``, ``disk`` (made of ``platter``) and ``calls`` what can go wrong
between and under the parts; ``host`` a machine with a whole node on it, ``cluster`` all of them; ``clients``,
``producers``, ``readers``, ``registers``, ``members``, ``audits`` the load.

``options`` and ``schedule`` are what a seed draws, ``nemesis`` and ``faults`` what then happens, ``atlas`` and
``damage`` what may be destroyed, ``taps`` what is watched, ``run`` one seed from beginning to verdict. ``explore``
runs many, ``totals`` adds them up; ``shrink``, ``replaying`` and ``run_directory`` are for one that failed.
``mutants`` are bugs to try all this on, ``directed`` the scenarios of those that chance does not find.
"""
