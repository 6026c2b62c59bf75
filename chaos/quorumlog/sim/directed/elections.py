"""Scenarios about votes, commits and members.

Node 1 leads first in most of them; *i* is the index of the first entry that matters, *t* node 1's first term.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.raft import ChangeRefused
from quorumlog.raft.types import AppendRequest, ConfigurationChange
from quorumlog.sim.directed.stage import BEAT_MS, RESENT_MS, cut_short

if TYPE_CHECKING:
    from quorumlog.raft.types import Message
    from quorumlog.sim.directed.stage import Stage


def _no_appends(sender: int, to: int, message: Message) -> Message | None:
    return None if isinstance(message, AppendRequest) and message.entries else message


def figure_8(stage: Stage) -> None:
    """An entry of an older term reaches a majority under a later leader and is overwritten by another (the
    paper's figure 8). Node 1 has entry i of term t alone; node 2 has another entry i, of term t+1, alone; node 1
    leads again and brings its old entry, and nothing of its own term, to node 3; then node 2 leads."""
    stage.elect(1)
    stage.appended(1)
    stage.let_through(_no_appends)
    stage.append(1)
    stage.run_ms()
    old = stage.replica(1).log.last_index
    stage.let_through(lambda sender, to, message: None if 1 in (sender, to) else _no_appends(sender, to, message))
    stage.elect(2)
    stage.run_ms()

    def only_the_old_entry(sender: int, to: int, message: Message) -> Message | None:
        if 2 in (sender, to):
            return None
        return cut_short(message, old) if isinstance(message, AppendRequest) else message

    stage.let_through(only_the_old_entry)
    stage.elect(1)
    stage.until("node 3 has the old entry", lambda: stage.replica(3).log.durable_index == old, RESENT_MS)
    stage.run_ms()
    stage.only_between(2, 3)
    stage.elect(2)
    stage.works()


def unverified_tail(stage: Stage) -> None:
    """Of five nodes, 3 holds an entry i that leader 1 left it and nobody committed. The next leader, 2, has
    committed another entry i, and says so in an append that verifies node 3's log up to i-1 only."""
    stage.elect(1)
    stage.appended(1)
    before = stage.replica(1).log.last_index
    stage.only_between(1, 3)
    stage.append(1)
    stage.until("node 3 has the entry", lambda: stage.replica(3).log.durable_index > before, RESENT_MS)
    stage.only_between(2, 4, 5)
    stage.elect(2)
    stage.until("another entry is committed", lambda: stage.replica(2).raft.commit > before, RESENT_MS)

    def verify_nothing_new(sender: int, to: int, message: Message) -> Message | None:
        if 1 in (sender, to):
            return None
        return cut_short(message, before) if isinstance(message, AppendRequest) and to == 3 else message

    stage.let_through(verify_nothing_new)
    stage.run_ms(RESENT_MS)
    stage.works()


def two_changes_from_one_configuration(stage: Stage) -> None:
    """Of four voters, leader 1 removes node 2, and nobody hears of it; leader 2 removes node 1 before anything of
    its own term is committed. Both start from the same configuration, and {1, 4} and {2, 3} are majorities of
    what they lead to (Ongaro's erratum of 2015)."""
    stage.elect(1)
    stage.appended(1)
    without_1, without_2 = stage.voters(2, 3, 4), stage.voters(1, 3, 4)
    stage.let_through(_no_appends)
    stage.replica(1).change_configuration(ConfigurationChange(without_2))
    stage.run_ms()
    stage.let_through(lambda sender, to, message: None if 1 in (sender, to) else _no_appends(sender, to, message))
    stage.elect(2)
    stage.only_between(2, 3)
    try:
        stage.replica(2).change_configuration(ConfigurationChange(without_1))
    except ChangeRefused:
        stage.works()
        return
    stage.run_ms(RESENT_MS)
    stage.only_between(1, 4)
    stage.elect(1)
    stage.works()


def two_voters_removed(stage: Stage) -> None:
    """Of five voters, 4 and 5 are removed. Then only they hear the leader, which appends; the two voters that are
    left beside it elect another."""
    stage.elect(1)
    stage.appended(1)
    left = stage.voters(1, 2, 3)
    stage.replica(1).change_configuration(ConfigurationChange(left))
    raft = stage.replica(1).raft
    stage.until("the two are removed", lambda: raft.configuration.voters == left and not raft.configuration.joint)
    stage.run_ms(3 * BEAT_MS)
    stage.only_between(1, 4, 5)
    stage.append(1)
    stage.run_ms(3 * BEAT_MS)
    stage.only_between(2, 3)
    stage.elect(2)
    stage.works()


def long_absence(stage: Stage) -> None:
    """Node 3 hears nobody for twenty election timeouts and comes back. The others have a healthy leader, which must
    stay, and the terms must not have run away."""
    stage.elect(1)
    stage.appended(1)
    term = stage.replica(1).raft.term
    cut = {(1, 3), (3, 1), (2, 3), (3, 2)}
    stage.cluster.network.cut |= cut
    stage.run_ms(20 * stage.cluster.options.election_ms)
    away = stage.replica(3).raft.term
    stage.cluster.network.cut -= cut
    stage.run_ms(3 * stage.cluster.options.election_ms)
    if away > term + 1 or stage.leader != 1 or stage.replica(1).raft.term != term:
        stage.find(
            "term inflation",
            f"node 3 was in term {away} when it came back to a healthy leader of term {term};"
            f" now node {stage.leader} leads in term {stage.replica(3).raft.term}",
        )
    stage.works()
