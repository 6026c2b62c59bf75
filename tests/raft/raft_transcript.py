"""Runs a scenario: a text of prose, inputs and what came of them.

A line that begins with ``>`` is an input to the group; the lines that begin with ``|`` below it are what followed,
exactly. Everything else is prose, for the reader. The inputs:

    group 1 2 3 [learners 4] [spare 5] [option=value ...]   replicas, their configuration, settings of RaftConfig
    disk 1 terms 1 1 2 [term 3] [vote 2] [commit 1]         1 restarts with this log (a term per entry) and hard
    state tick 1 [times] · campaign 1 · lost 1 · propose 1 text · read 1 context · transfer 1 2
    change 1 voters 1 2 [learners 3] · quiet 1 · wake 1 · compact 1 index
    ready 1          one Ready: what leaves, what is written and what waits for that, what is applied, which reads
    are served persist 1        its oldest write is durable; what leaves now
    deliver 1 2      everything under way from 1 to 2 arrives · drop 1 2   … is lost
    settle           everyone does everything, everything arrives; in order
    isolate 1 · heal · crash 1 (what was not persisted is gone)
    state 1 [2 ...] · log 1 [2 ...] · progress 1

Prior art: etcd-io/raft ``testdata/*.txt``, CockroachDB's datadriven tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raft.raft_kit import Cluster, Member, MemoryStorage, change, entries, voters

from quorumlog.raft import (
    AppendRequest,
    AppendResponse,
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    InstallCheckpoint,
    InvariantViolated,
    Message,
    RaftError,
    ReadIndexRequest,
    ReadIndexResponse,
    Ready,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
    decode_configuration,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


def rewrite(text: str) -> str:
    """The scenario with what really follows from its inputs."""
    group = Transcript()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("|"):
            continue
        lines.append(line)
        if line.startswith(">"):
            lines += [f"| {outcome}" for outcome in group.run(line[1:].split())]
    return "\n".join(lines) + "\n"


class Transcript:
    """A group, and the words for what it does."""

    def __init__(self) -> None:
        self.cluster = Cluster(Configuration(frozenset()))

    def run(self, words: list[str]) -> list[str]:
        name, *arguments = words
        try:
            return list(getattr(self, f"do_{name}")(*arguments))
        except (RaftError, InvariantViolated) as error:
            return [f"{type(error).__name__}: {error}"]

    def member(self, replica: str) -> Member:
        return self.cluster.members[int(replica)]

    # --- the group

    def do_group(self, *words: str) -> Iterable[str]:
        options = {key: int(value) for key, value in (word.split("=") for word in words if "=" in word)}
        named = sections([word for word in words if "=" not in word], "voters", "learners", "spare")
        configuration = voters(*named["voters"], learners=named["learners"])
        self.cluster = Cluster(configuration, spare=named["spare"], **options)
        return ()

    def do_disk(self, replica: str, *words: str) -> Iterable[str]:
        named = sections(words, "", "terms", "term", "vote", "commit")
        log = tuple(entry._replace(data=b"e%d" % entry.index) for entry in entries(*named["terms"]))
        term = named["term"][0] if named["term"] else (log[-1].term if log else 0)
        vote = named["vote"][0] if named["vote"] else None
        hard_state = HardState(term, vote, (*named["commit"], 0)[0])
        configuration = self.member(replica).storage.checkpoint.configuration
        self.cluster.add(int(replica), MemoryStorage(configuration, log, hard_state))
        return ()

    def do_isolate(self, *replicas: str) -> Iterable[str]:
        self.cluster.isolate(*(int(replica) for replica in replicas))
        return ()

    def do_heal(self) -> Iterable[str]:
        self.cluster.heal()
        return ()

    def do_crash(self, replica: str) -> Iterable[str]:
        self.cluster.crash(int(replica))
        return ()

    def do_compact(self, replica: str, index: str) -> Iterable[str]:
        member = self.member(replica)
        member.storage.compact(int(index), member.raft.configuration_at(member.raft.applied))
        return ()

    # --- inputs to a core

    def do_tick(self, replica: str, times: str = "1") -> Iterable[str]:
        for _ in range(int(times)):
            self.member(replica).raft.tick()
        return ()

    def do_campaign(self, replica: str) -> Iterable[str]:
        self.member(replica).raft.campaign()
        return ()

    def do_elect(self, replica: str) -> Iterable[str]:
        self.cluster.elect(int(replica))
        return ()

    def do_lost(self, replica: str) -> Iterable[str]:
        self.member(replica).raft.leader_lost()
        return ()

    def do_propose(self, replica: str, *payloads: str) -> Iterable[str]:
        for payload in payloads:
            self.member(replica).raft.propose(EntryKind.DATA, payload.encode())
        return ()

    def do_read(self, replica: str, context: str) -> Iterable[str]:
        self.member(replica).raft.read_index(int(context))
        return ()

    def do_transfer(self, replica: str, to: str) -> Iterable[str]:
        self.member(replica).raft.transfer_leadership(int(to))
        return ()

    def do_change(self, replica: str, *words: str) -> Iterable[str]:
        named = sections(words, "", "voters", "learners")
        self.member(replica).raft.propose_configuration(change(*named["voters"], learners=named["learners"]))
        return ()

    def do_quiet(self, replica: str) -> Iterable[str]:
        return () if self.member(replica).raft.become_quiet() else ("not now",)

    def do_wake(self, replica: str) -> Iterable[str]:
        self.member(replica).raft.wake()
        return ()

    # --- what follows

    def do_ready(self, replica: str) -> Iterable[str]:
        member = self.member(replica)
        if not member.raft.has_ready():
            return ("nothing",)
        waits = bool(member.writes)
        ready, leaving = member.take()
        self.cluster.send(leaving)
        return list(told_ready(ready, waits))

    def do_persist(self, replica: str) -> Iterable[str]:
        leaving = self.member(replica).persist()
        self.cluster.send(leaving)
        return [f"sends {told(message)}" for message in leaving]

    def do_deliver(self, sender: str, to: str) -> Iterable[str]:
        for message in self.cluster.pick(object, sender=int(sender), to=int(to)):
            self.cluster.deliver(message)  # type: ignore[arg-type]
            yield f"{to} takes {told(message)}"  # type: ignore[arg-type]

    def do_drop(self, sender: str, to: str) -> Iterable[str]:
        for message in self.cluster.pick(object, sender=int(sender), to=int(to)):
            yield f"lost: {told(message)}"  # type: ignore[arg-type]

    def do_settle(self) -> Iterable[str]:
        seen: list[Message] = []
        cut = self.cluster.cut
        self.cluster.settle(lambda message: (message.sender, message.to) not in cut, seen=seen)
        return [f"{message.sender} → {message.to}  {told(message)}" for message in seen]

    # --- questions

    def do_state(self, *replicas: str) -> Iterable[str]:
        for replica in replicas:
            s = self.member(replica).raft.status()
            quiet = " quiet" if s.quiet else ""
            yield (
                f"{replica}: {s.role.value} term {s.term} vote {s.vote or '-'} leader {s.leader or '-'}"
                f" last {s.last_index} durable {s.durable} commit {s.commit} applied {s.applied}{quiet}"
                f" {told_configuration(s.configuration)}"
            )

    def do_log(self, *replicas: str) -> Iterable[str]:
        for replica in replicas:
            storage = self.member(replica).storage
            base = f"({storage.checkpoint.index}/{storage.checkpoint.term}) " if storage.checkpoint.index else ""
            yield f"{replica}: {base}{' '.join(told_entry(entry) for entry in storage.log)}"

    def do_progress(self, replica: str) -> Iterable[str]:
        for each in self.member(replica).raft.status().followers:
            out = each.in_flight_messages
            yield f"{each.replica}: {each.state.value} match {each.match} next {each.next} out {out}"


def sections(words: Iterable[str], first: str, *names: str) -> dict[str, list[int]]:
    """Numbers by the name they stand behind."""
    found: dict[str, list[int]] = {name: [] for name in (first, *names)}
    current = first
    for word in words:
        if word in found:
            current = word
        else:
            found[current].append(int(word))
    return found


def told_entry(entry: Entry) -> str:
    place = f"{entry.index}/{entry.term}"
    if entry.kind == EntryKind.CONFIGURATION:
        return f"{place} {told_configuration(decode_configuration(entry.data))}"
    if entry.kind == EntryKind.NOOP:
        return f"{place} no-op"
    return f"{place} {entry.data.decode()}".rstrip()


def told_configuration(configuration: Configuration) -> str:
    told = "{" + " ".join(map(str, sorted(configuration.voters))) + "}"
    if configuration.joint:
        told += " and {" + " ".join(map(str, sorted(configuration.outgoing))) + "}"
    if configuration.learners:
        told += " learners " + " ".join(map(str, sorted(configuration.learners)))
    if configuration.learners_next:
        told += " then learners " + " ".join(map(str, sorted(configuration.learners_next)))
    return told


def told_ready(ready: Ready, waits: bool) -> Iterable[str]:
    yield from (f"sends {told(message)} to {message.to}" for message in ready.messages)
    if ready.checkpoint is not None:
        yield f"writes checkpoint {ready.checkpoint.index}/{ready.checkpoint.term}"
    if ready.hard_state is not None:
        term, vote, commit = ready.hard_state
        yield f"writes term {term} vote {vote or '-'} commit {commit}"
    if ready.entries:
        yield "writes " + ", ".join(told_entry(entry) for entry in ready.entries)
    held = "withholds" if waits or ready.must_persist else "sends"
    yield from (f"{held} {told(message)} to {message.to}" for message in ready.persisted_messages)
    if ready.committed_entries:
        yield "applies " + ", ".join(told_entry(entry) for entry in ready.committed_entries)
    yield from (f"serves read {read.context} at {read.index}" for read in ready.read_states)
    yield from (f"drops read {context}" for context in ready.dropped_reads)


def told(message: Message) -> str:
    """A message in the words of the field, without sender and receiver."""
    head = f"term {message.term}"
    match message:
        case VoteRequest():
            kind = "pre-vote?" if message.pre else "vote?"
            return f"{kind} {head} last {message.last_index}/{message.last_term}" + " transfer" * message.transfer
        case VoteResponse():
            return f"{'pre-vote' if message.pre else 'vote'} {'granted' if message.granted else 'refused'} {head}"
        case AppendRequest():
            news = ", ".join(told_entry(entry) for entry in message.entries) or "nothing"
            place = f"{message.previous_index}/{message.previous_term}"
            return f"append {head} behind {place} commit {message.commit}: {news}"
        case AppendResponse(success=True):
            return f"holds {head} up to {message.index}"
        case AppendResponse():
            return f"lacks {head} {message.index}, agrees at most at {message.hint_index}/{message.hint_term}"
        case Heartbeat():
            round_ = f" round {message.read_context}" if message.read_context else ""
            return f"heartbeat {head} commit {message.commit}{round_}{' quiet' if message.quiet else ''}"
        case HeartbeatResponse():
            return f"alive {head}" + (f" round {message.read_context}" if message.read_context else "")
        case InstallCheckpoint():
            return f"checkpoint {head} at {message.checkpoint.index}/{message.checkpoint.term}"
        case TimeoutNow():
            return f"campaign now {head}"
        case ReadIndexRequest():
            return f"read? {head}"
        case ReadIndexResponse():
            return f"read {head} at {message.index}"
