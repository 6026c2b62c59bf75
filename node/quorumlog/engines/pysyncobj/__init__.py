"""PySyncObj 0.3.17 as the second engine: the baseline of our benchmarks, and the chaos suite's negative control.

The library is used as it is, by its documented seams where it has them: ``autoTick=False`` and ``doTick`` (we drive
it), ``Transport`` (our peer streams carry its messages), ``Journal`` (its own ``FileJournal`` in a node).
``library`` lists the few places where there is no seam and something is put in its place. What it does wrong it
does here too; ``engine.LACKS`` says what that means, guarantee by guarantee.
"""
