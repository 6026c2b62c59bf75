"""One node's network namespace as the nodes' network sees it: which peers' packets it lets in, and how many.

Every peer has a chain of its own in the node's INPUT: the jump to it counts all that came from that peer, the rule
in it (if any) what was not let through. A cut link is ``DROP`` of *packets*: in a one-way cut the requests that the
other node makes of this one vanish, and so do the acknowledgements of what this node sends it, so that both TCP
connections break in the end. A refused link is a TCP reset for whatever comes for the peer listener. (Jepsen's
``net.clj`` cuts in the same way, with rules in INPUT of the node that shall not hear.)

Everything blocks, and may be called from several threads. A namespace may come and go (a container's does with
every start): what holds is remembered here and laid again by ``enter``.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from threading import RLock
from typing import TYPE_CHECKING

from quorumlog.chaos.places.commands import CommandFailed, run
from quorumlog.chaos.places.place import GOOD, LinkCondition, LinkCounts, NotPossible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(slots=True)
class _Seen:
    """What has come from one peer, in all namespaces and under all rules so far."""

    arrived_bytes: int = 0
    dropped_bytes: int = 0
    refused: int = 0
    reset: int = 0


class NodeNetwork:
    """See the module. ``peers`` are the other nodes' addresses (IPv4); ``port`` is that of every peer listener."""

    def __init__(self, peers: Mapping[int, str], port: int) -> None:
        self._peers = dict(peers)
        self._port = port
        self._enter: Sequence[str] = ()
        self._conditions = dict.fromkeys(peers, GOOD)
        self._seen = {peer: _Seen() for peer in peers}
        self._lock = RLock()

    def enter(self, command: Sequence[str]) -> None:
        """The namespace is new, and ``command`` leads into it. Raises CommandFailed."""
        with self._lock:
            lines = []
            for peer, address in self._peers.items():
                lines += [f":from-{peer} - [0:0]", f"-A INPUT -s {address}/32 -j from-{peer}", *self._rules(peer)]
            self._load(lines, command)
            self._enter = command

    def leave(self) -> None:
        """The namespace is about to go: takes its counts along. Raises CommandFailed."""
        with self._lock:
            self._count()
            self._enter = ()

    def lose(self) -> None:
        """The namespace is gone already, and its counts with it."""
        self._enter = ()

    def set_condition(self, peer: int, condition: LinkCondition) -> None:
        """What becomes of what ``peer`` sends here. Raises NotPossible, CommandFailed."""
        if replace(condition, open=True, reject=False, stall_ms=GOOD.stall_ms) != GOOD:
            raise NotPossible("packets can be dropped and refused here, not delayed")
        with self._lock:
            if condition == self._conditions[peer]:
                return
            self._count()
            self._conditions[peer] = condition
            if self._enter:
                # Naming a chain that is there empties it.
                self._load([f":from-{peer} - [0:0]", *self._rules(peer)], self._enter)

    def reset(self, peer: int) -> None:
        """Breaks the connections that this node has made to ``peer``'s listener, at both ends."""
        with self._lock:
            if self._enter:
                to = ("dst", self._peers[peer], "dport", "=", str(self._port))
                broken = run("ss", "-HKtn", *to, enter=self._enter)
                self._seen[peer].reset += len(broken.splitlines())

    def resets(self, peer: int) -> int:
        """How many connections to ``peer`` were broken here."""
        return self._seen[peer].reset

    def counts(self, peer: int) -> LinkCounts:
        """Of what ``peer`` has sent here so far. Raises CommandFailed."""
        with self._lock:
            self._count()
            seen = self._seen[peer]
            return LinkCounts(seen.arrived_bytes - seen.dropped_bytes, seen.dropped_bytes, seen.refused)

    @staticmethod
    def _load(lines: Sequence[str], enter: Sequence[str]) -> None:
        """One transaction: there is no moment with half of the rules."""
        run("iptables-restore", "--noflush", "-w", given="\n".join(["*filter", *lines, "COMMIT", ""]), enter=enter)

    def _rules(self, peer: int) -> list[str]:
        condition, chain = self._conditions[peer], f"from-{peer}"
        if not condition.open:
            return [f"-A {chain} -j DROP"]
        if condition.reject:
            return [f"-A {chain} -p tcp --dport {self._port} -j REJECT --reject-with tcp-reset"]
        return []

    def _count(self) -> None:
        """Moves the kernel's counts over here; iptables sets to zero what it shows."""
        if not self._enter:
            return
        for chain in ("INPUT", *(f"from-{peer}" for peer in self._peers)):
            listing = run("iptables", "-w", "-nvx", "-Z", "-L", chain, enter=self._enter)
            self._take(chain, listing)

    def _take(self, chain: str, listing: str) -> None:
        for line in listing.splitlines():
            words = line.split()
            if not words or not words[0].isdecimal():
                continue
            packets, size, target = int(words[0]), int(words[1]), words[2]
            if target.startswith("from-"):
                self._seen[int(target.removeprefix("from-"))].arrived_bytes += size
            elif chain.startswith("from-"):
                seen = self._seen[int(chain.removeprefix("from-"))]
                seen.dropped_bytes += size
                seen.refused += packets if target == "REJECT" else 0


def why_no_iptables() -> str:
    """Why none of this can be done here; "" if it can."""
    if os.geteuid() != 0:
        return "changing what a namespace lets in needs root"
    missing = [tool for tool in ("iptables", "iptables-restore", "nsenter", "ss") if shutil.which(tool) is None]
    if missing:
        return f"not installed here: {', '.join(missing)}"
    try:
        run("unshare", "--net", "iptables", "-w", "-A", "INPUT", "-s", "198.18.0.1", "-j", "DROP")
    except CommandFailed as error:
        return str(error)
    return ""
