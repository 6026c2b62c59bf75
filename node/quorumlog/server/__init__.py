"""The gRPC shell around a node: event loop, streams, threads, signals, metrics. ``main`` runs it.

gRPC's C core reads its settings when it is first imported, so they are made here, before anything of this package
can import it. A setting that the environment already has is left alone.
"""

import os

# With its own pollers gRPC hands every message from thread to thread on its way to Python; without them the thread
# that waits for completions does the reading itself. Measured with three nodes on two cores, in turn (A B A B): one
# outstanding append 2.00 and 2.22 ms with them, 1.72 and 1.61 ms without. A version of gRPC that does not know the
# names says so on stderr and goes on.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
