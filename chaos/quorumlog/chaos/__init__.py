"""Chaos: real faults on real nodes under real clients, judged by ``quorumlog.check``.

A *scenario* runs one *workload* over one cluster in one *place* (local processes, network namespaces, containers,
or a cluster of the user's own) while its *plan* lets *faults* begin and end. Then everything is healed, the
workload must show that all of it serves again in time, everything is read once more, and the history is judged. The
*run* that comes of it is a directory: history, outcome, the nodes' logs.

Prior art: Jepsen (nemesis, generator, checker), Toxiproxy, etcd's robustness tests, TigerBeetle's Vortex.
"""
