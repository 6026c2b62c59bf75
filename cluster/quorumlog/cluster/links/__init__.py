"""Links between nodes that can be harmed without the kernel's help.

Cutting a node off with netfilter needs privileges and a network of its own. Here every ordered pair of nodes gets a
TCP relay, and each node is told the relay's port instead of its peer's. A relay sits in both directions of every
connection, and each *direction* obeys the directed link it belongs to: what S says to T obeys the link (S, T), on
whichever side's connection it travels. So a node can be made deaf and not dumb.

``condition`` says what a link may do, ``flow`` does it to one direction of one connection, ``relay`` makes the
connections, and ``__main__`` runs all links of a cluster as a process of their own, so that a relayed byte never
waits for a client's Python. ``control`` is what tests, benchmarks and the chaos suite hold.

What a relay above TCP cannot do: drop a packet (TCP would send it again: see ``LinkCondition.stall_rate``), repeat
one or let one overtake another (TCP would put that right), and leave a SYN unanswered (a connection through a cut
link is accepted here and silent, and comes into being at the other end once both directions are open). The
simulator does all of these to frames.

Prior art: Toxiproxy, which harms connections, not directed links; Jepsen's and etcd's proxies.
"""
