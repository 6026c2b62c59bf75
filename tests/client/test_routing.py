"""What a client believes about its cluster, and what changes its mind."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from quorumlog.client.policy.backoff import LOOKUP, RESEND, Backoff
from quorumlog.client.policy.routing import ClusterView, PartitionView, Router, TopicView

NODES = {1: "a:1", 2: "b:2", 3: "c:3"}


def view(leader: int, term: int, *, topic_id: int = 1, controller: int = 0) -> ClusterView:
    return ClusterView(NODES, {"t": TopicView(topic_id, 1 << 20, (PartitionView(leader, term),))}, controller)


def router() -> Router:
    made = Router(["a:1", "b:2"])
    made.learn(view(1, 5))
    return made


def test_the_higher_term_is_the_newer() -> None:
    made = router()
    made.learn(view(2, 4))
    assert made.leader("t", 0) == "a:1"
    made.learn(view(2, 6))
    assert made.leader("t", 0) == "b:2"


def test_a_node_that_knows_no_leader_changes_nothing() -> None:
    made = router()
    made.learn(view(0, 9))
    assert made.leader("t", 0) == "a:1"


def test_a_topic_made_again_forgets_the_terms_of_the_old_one() -> None:
    made = router()
    made.learn(view(2, 1, topic_id=2))
    assert made.leader("t", 0) == "b:2"
    made.learn(view(1, 9, topic_id=1))
    assert made.leader("t", 0) == "b:2", "an answer about the topic that was deleted comes late"


def test_a_leader_that_cannot_be_reached_is_none_until_it_can_or_another_leads() -> None:
    made = router()
    made.node_down("a:1")
    assert made.leader("t", 0) is None
    made.learn(view(1, 5))
    assert made.leader("t", 0) is None, "a node that has not noticed yet must not send us back to a dead leader"
    made.node_up("a:1")
    assert made.leader("t", 0) == "a:1"
    made.node_down("a:1")
    made.learn(view(3, 6))
    assert made.leader("t", 0) == "c:3"


def test_a_hint_counts_only_from_the_node_believed_to_lead() -> None:
    made = router()
    made.refused("t", 0, by="b:2", hint="c:3")
    assert made.leader("t", 0) == "a:1"
    made.refused("t", 0, by="a:1", hint="c:3")
    assert made.leader("t", 0) == "c:3"
    made.refused("t", 0, by="c:3", hint="")
    assert made.leader("t", 0) is None
    made.refused("t", 0, by="x", hint="b:2")
    assert made.leader("t", 0) == "b:2"


def test_a_node_that_names_itself_while_refusing_is_not_believed() -> None:
    made = router()
    made.refused("t", 0, by="a:1", hint="a:1")
    assert made.leader("t", 0) is None


def test_the_controller_is_found_and_lost_the_same_way() -> None:
    made = Router(["a:1"])
    assert made.controller() is None
    made.learn(view(1, 5, controller=2))
    assert made.controller() == "b:2"
    made.controller_refused("b:2", "c:3")
    assert made.controller() == "c:3"
    made.controller_refused("b:2", "a:1")
    assert made.controller() == "c:3"
    made.node_down("c:3")
    assert made.controller() is None


def test_every_node_is_asked_first_in_turn_and_those_down_last() -> None:
    made = router()
    firsts = {made.whom_to_ask()[0] for _ in range(3)}
    assert firsts == set(NODES.values())
    made.node_down("b:2")
    assert {made.whom_to_ask()[-1] for _ in range(3)} == {"b:2"}
    assert {made.whom_to_ask(avoid=["a:1"])[0] for _ in range(3)} == {"c:3"}


def test_seeds_stay_known_when_metadata_names_other_addresses() -> None:
    made = Router(["lb:9"])
    made.learn(view(1, 5))
    assert made.addresses() == ("a:1", "b:2", "c:3", "lb:9")


@given(st.integers(1, 100), st.integers(0, 1 << 30))
def test_a_delay_lies_between_half_its_bound_and_its_bound(failures: int, seed: int) -> None:
    backoff = Backoff(first_ms=10.0, factor=2.0, cap_ms=80.0)
    bound = min(10.0 * 2.0 ** (failures - 1), 80.0)
    assert bound / 2 <= backoff.delay_ms(failures, Random(seed)) <= bound


def test_leaders_are_looked_for_every_few_milliseconds_during_an_election_and_less_later() -> None:
    random = Random(1)
    for failures in range(1, 6):
        assert LOOKUP.delay_ms(failures, random) <= 20.0
    assert LOOKUP.delay_ms(200, random) >= 250.0
    assert RESEND.delay_ms(1, random) <= 10.0
