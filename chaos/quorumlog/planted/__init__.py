"""Bugs planted in a real node's process, for tests of the chaos suite only.

The simulator plants what it can by patching its own process (``quorumlog.sim.mutants``). What lies in the shell
around a node (sockets, streams, time) has to be broken where it runs: ``python -m quorumlog.planted BUG COMMAND``
patches one attribute and then becomes the node that the command describes. The server knows nothing of this, and
holds no switch for it: whoever runs ``quorumlog node run`` runs the system as it is, and an import contract keeps
every package that serves away from this one (``pyproject.toml``).
"""
