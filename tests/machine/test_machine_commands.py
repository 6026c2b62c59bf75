"""The controller's commands on the wire: they come back as they were, in one form only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quorumlog.machine import (
    AlterTopic,
    ControllerCommand,
    CreateTopic,
    DeleteTopic,
    MachineInvariantViolated,
    OpenProducer,
    TopicConfig,
    UnknownCommand,
    decode_controller_command,
    encode_controller_command,
)

NUMBERS = st.integers(0, 2**64 - 1)
NAMES = st.text(max_size=20)
COMMANDS = st.one_of(
    st.builds(
        CreateTopic,
        NAMES,
        st.builds(TopicConfig, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
        st.lists(NUMBERS, max_size=5).map(tuple),
    ),
    st.builds(AlterTopic, NAMES, *[st.none() | NUMBERS] * 4),
    st.builds(DeleteTopic, NAMES),
    st.builds(OpenProducer, NAMES),
)


@given(COMMANDS)
def test_a_command_comes_back_as_it_was(command: ControllerCommand) -> None:
    encoded = encode_controller_command(command)
    assert decode_controller_command(encoded) == command
    assert encode_controller_command(decode_controller_command(encoded)) == encoded


def test_the_encoding_is_fixed() -> None:
    command = CreateTopic("ä", TopicConfig(2, 3, 4, 5, 6, 7), (3, 1, 2, 1))
    assert encode_controller_command(command) == (
        b'{"command":"create_topic","config":{"max_batch_bytes":7,"partitions":2,"replication_factor":3,'
        b'"retention_bytes":5,"retention_ms":4,"segment_bytes":6},"name":"\\u00e4","nodes":[3,1,2,1],"version":1}'
    )
    assert encode_controller_command(AlterTopic("t", retention_ms=0)) == (
        b'{"changes":{"retention_ms":0},"command":"alter_topic","name":"t","version":1}'
    )
    assert encode_controller_command(DeleteTopic("t")) == b'{"command":"delete_topic","name":"t","version":1}'
    assert encode_controller_command(OpenProducer("")) == b'{"command":"open_producer","name":"","version":1}'


@given(st.binary(max_size=40) | st.recursive(st.integers() | st.text(), st.lists).map(lambda v: repr(v).encode()))
def test_no_bytes_make_the_decoder_fail_in_another_way(data: bytes) -> None:
    try:
        decode_controller_command(data)
    except (UnknownCommand, MachineInvariantViolated):
        return
    raise AssertionError("bytes drawn at random are no command")
