"""Placement: valid, balanced twice over, spread, and a function of its arguments' values only."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog.machine import place


def spread(counts: Counter[int], nodes: range) -> int:
    """The most loaded node's count less the least loaded one's."""
    loads = [counts[node] for node in nodes]
    return max(loads) - min(loads)


def spreads(placed: list[tuple[int, ...]], nodes: range) -> tuple[int, int]:
    """(of replicas, of preferred leaders)."""
    replicas = Counter(node for each in placed for node in each)
    leaders = Counter(each[0] for each in placed)
    return spread(replicas, nodes), spread(leaders, nodes)


@st.composite
def topics(draw: st.DrawFn) -> tuple[range, list[tuple[int, int]]]:
    """Nodes, and (partitions, replication factor) of topics made one after another."""
    nodes = range(1, draw(st.integers(1, 9)) + 1)
    made = draw(st.lists(st.tuples(st.integers(1, 20), st.integers(1, len(nodes))), max_size=8))
    return nodes, made


@given(topics())
def test_replicas_are_distinct_nodes_of_the_cluster(drawn: tuple[range, list[tuple[int, int]]]) -> None:
    nodes, made = drawn
    existing: list[tuple[int, ...]] = []
    for partitions, factor in made:
        placed = place(partitions, factor, nodes, existing)
        assert len(placed) == partitions
        for replicas in placed:
            assert len(replicas) == factor == len(set(replicas))
            assert set(replicas) <= set(nodes)
        existing += placed


@pytest.mark.parametrize("factor", range(1, 8))
def test_with_one_replication_factor_both_counts_stay_within_one_after_every_partition(factor: int) -> None:
    for nodes in (range(1, size + 1) for size in range(factor, 10)):
        placed = list(place(60, factor, nodes, []))
        for partitions in range(1, 61):
            replicas, leaders = spreads(placed[:partitions], nodes)
            assert replicas <= 1
            assert leaders <= 1


@given(topics())
def test_with_mixed_factors_replicas_stay_within_one_and_leaders_within_two(
    drawn: tuple[range, list[tuple[int, int]]],
) -> None:
    nodes, made = drawn
    existing: list[tuple[int, ...]] = []
    for partitions, factor in made:
        existing += place(partitions, factor, nodes, existing)
        replicas, leaders = spreads(existing, nodes)
        assert replicas <= 1
        assert leaders <= 2


@given(topics(), st.randoms(use_true_random=False))
def test_the_order_of_the_arguments_does_not_matter(drawn: tuple[range, list[tuple[int, int]]], random) -> None:  # type: ignore[no-untyped-def]
    nodes, made = drawn
    existing: list[tuple[int, ...]] = []
    for partitions, factor in made:
        placed = place(partitions, factor, nodes, existing)
        shuffled_nodes, shuffled = list(nodes), list(existing)
        random.shuffle(shuffled_nodes)
        random.shuffle(shuffled)
        assert place(partitions, factor, shuffled_nodes, shuffled) == placed
        existing += placed


def test_new_partitions_go_where_there_is_room() -> None:
    assert place(2, 1, (1, 2, 3), [(1,), (1,), (2,)]) == ((3,), (2,))


def test_new_partitions_mend_what_deletions_left() -> None:
    left: list[tuple[int, ...]] = [(1, 2)] * 10
    placed = left + list(place(30, 2, range(1, 5), left))
    assert spreads(left, range(1, 5)) == (10, 10)
    assert spreads(placed, range(1, 5)) == (0, 0)


def test_nodes_that_are_gone_carry_nothing() -> None:
    assert place(1, 2, (1, 2), [(9, 1), (9, 8)]) == ((2, 1),)


@pytest.mark.parametrize("size", [4, 5, 8])
def test_where_the_balances_leave_a_choice_a_leaders_followers_are_all_the_others(size: int) -> None:
    nodes = set(range(1, size + 1))
    placed = place(100, 3, sorted(nodes), [])
    for leader in nodes:
        followers = {node for replicas in placed if replicas[0] == leader for node in replicas[1:]}
        assert followers == nodes - {leader}
