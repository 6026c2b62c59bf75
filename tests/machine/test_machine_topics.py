"""Names and settings of topics: the rules of admin.proto and metadata.proto, and their edges."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog.machine import TopicConfig, config_fault, name_fault
from quorumlog.machine.topics import BOUNDS


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "...", "_internal", "-", "x" * 249, "a__b"])
def test_allowed_names(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("x" * 250, "249"),
        (".", "called"),
        ("..", "called"),
        ("__x", "internal"),
        ("a/b", "consists"),
        ("a b", "consists"),
        ("ä", "consists"),
        ("٣", "consists"),
        ("a\n", "consists"),
        ("a\0", "consists"),
    ],
)
def test_names_that_are_not_allowed_say_why(name: str, why: str) -> None:
    fault = name_fault(name)
    assert fault is not None
    assert fault.field == "name"
    assert why in fault.why


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_an_allowed_name_is_a_plain_file_name(name: str) -> None:
    if name_fault(name) is None:
        assert name.isascii()
        assert 1 <= len(name) <= 249
        assert not set(name) & set("/\\ \n\0:")
        assert name not in (".", "..")


def test_every_default_is_allowed() -> None:
    assert config_fault(TopicConfig()) is None
    assert config_fault(TopicConfig().with_defaults(nodes=1)) is None


@pytest.mark.parametrize("field", BOUNDS)
def test_the_bounds_are_allowed_and_nothing_beyond_them(field: str) -> None:
    low, high = BOUNDS[field]
    wide = TopicConfig(segment_bytes=1 << 30, max_batch_bytes=1 << 10)
    for value in (low, high):
        assert config_fault(replace(wide, **{field: value})) is None
    for value in (low - 1, high + 1):
        if value == 0 and field in ("segment_bytes", "max_batch_bytes"):
            continue
        fault = config_fault(replace(wide, **{field: value}))
        assert fault is not None
        assert fault.field == field


def test_a_batch_must_fit_into_a_segment() -> None:
    assert config_fault(TopicConfig(segment_bytes=1 << 20, max_batch_bytes=1 << 20)) is None
    fault = config_fault(TopicConfig(segment_bytes=1 << 20, max_batch_bytes=(1 << 20) + 1))
    assert fault is not None
    assert fault.field == "max_batch_bytes"


def test_filling_in_defaults_leaves_what_was_said() -> None:
    said = TopicConfig(5, 1, 2, 3, 1 << 20, 1 << 12)
    assert said.with_defaults(nodes=9) == said
    assert TopicConfig(5).with_defaults(nodes=2) == TopicConfig(5, 2, 0, 0, 64 << 20, 1 << 20)
