"""The bytes of offset commands: what is encoded comes back, and no other bytes are a command."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine.offset_kit import item

from quorumlog.machine import (
    MachineInvariantViolated,
    UnknownCommand,
    decode_partition_command,
    encode_partition_command,
)
from quorumlog.machine.offset_commands import (
    MAX_METADATA_BYTES,
    Acquire,
    Audit,
    CommitItem,
    Commits,
    Expire,
    Fingerprint,
    Forget,
    Mark,
    Release,
    Reset,
    Settle,
    Touch,
)

if TYPE_CHECKING:
    from quorumlog.machine.offset_commands import OffsetCommand

U64 = st.integers(0, 2**64 - 1) | st.integers(0, 3)
U32 = st.integers(0, 2**32 - 1)
GROUP = st.text(st.sampled_from("abcXYZ09._-"), min_size=1, max_size=249)
#: As wide as a name may be, in characters of up to four bytes.
OWNER = st.text(st.characters(codec="utf-8"), max_size=249)
REASON = st.text(st.characters(codec="utf-8"), max_size=1024)
PRINT = st.none() | st.builds(Fingerprint, U64, U32)
ITEM = st.builds(CommitItem, GROUP, U64, U64, U64, U64, PRINT, st.binary(max_size=60))
COMMITS = st.builds(Commits, U64, U32, st.lists(ITEM, max_size=8, unique_by=lambda each: each.group).map(tuple))
COMMAND = st.one_of(
    COMMITS,
    st.builds(Acquire, U64, U32, GROUP, OWNER, U64, U64, st.booleans(), U64),
    st.builds(Release, U64, U32, GROUP, U64, U64),
    st.builds(Reset, U64, U32, GROUP, U64, U64, st.booleans(), REASON, PRINT, st.booleans(), st.booleans(), U64),
    st.builds(Settle, GROUP, U64, U64, U64),
    st.builds(Expire, U64, U32, GROUP, U64),
    st.builds(Mark, GROUP, st.booleans(), U64),
    st.builds(Forget, GROUP, st.booleans()),
    st.just(Audit()),
    st.builds(Touch, U64, GROUP, U64),
)
#: One of each, with everything in it that can be.
SAMPLES: list[OffsetCommand] = [
    Commits(1, 2, (item(3, metadata=b"m"), CommitItem("h", 1, 2, 3, 4))),
    Acquire(1, 2, "g", "owner", 3, 4, True, 5),
    Release(1, 2, "g", 3, 4),
    Reset(1, 2, "g", 3, 4, True, "reason", Fingerprint(5, 6), False, False, 7),
    Settle("g", 1, 2, 3),
    Expire(1, 2, "g", 3),
    Mark("g", True, 9),
    Forget("g", False),
    Audit(),
    Touch(1, "g", 2),
]


@given(COMMAND)
def test_a_command_comes_back_as_it_was(command: OffsetCommand) -> None:
    assert decode_partition_command(encode_partition_command(command)) == command


@given(st.sampled_from(range(1, 13)), st.binary(max_size=200))
def test_whatever_can_be_read_as_a_command_is_its_only_form(number: int, data: bytes) -> None:
    data = bytes([1, number]) + data
    try:
        command = decode_partition_command(data)
    except (UnknownCommand, MachineInvariantViolated):
        return
    assert encode_partition_command(command) == data


@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__)
def test_a_command_with_a_byte_changed_is_refused_or_another_command(command: OffsetCommand) -> None:
    whole = encode_partition_command(command)
    for position in range(len(whole)):
        for value in (0, 1, 2, 127, 255):
            changed = whole[:position] + bytes([value]) + whole[position + 1 :]
            try:
                read = decode_partition_command(changed)
            except (UnknownCommand, MachineInvariantViolated):
                continue
            assert encode_partition_command(read) == changed


@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__)
def test_a_command_cut_anywhere_or_with_more_behind_it_is_refused(command: OffsetCommand) -> None:
    whole = encode_partition_command(command)
    for size in range(len(whole)):
        with pytest.raises(MachineInvariantViolated):
            decode_partition_command(whole[:size])
    with pytest.raises(MachineInvariantViolated):
        decode_partition_command(whole + b"\0")


@pytest.mark.parametrize("number", [0, 12, 99, 255])
def test_a_newer_command_is_not_guessed_at(number: int) -> None:
    with pytest.raises(UnknownCommand):
        decode_partition_command(struct.pack("<BB", 1, number) + bytes(20))


def test_a_newer_version_of_a_known_command_is_not_guessed_at() -> None:
    whole = encode_partition_command(Settle("g", 1, 2, 3))
    with pytest.raises(UnknownCommand):
        decode_partition_command(b"\x02" + whole[1:])


@pytest.mark.parametrize(
    "command",
    [
        Commits(1, 1, (item(-1),)),
        Commits(1, 1, (item(1, group="x" * 256),)),
        Commits(1, 1, (item(1, metadata=bytes(MAX_METADATA_BYTES + 1)),)),
        Commits(1, 1, tuple(item(1, group=str(number)) for number in range(1 << 16))),
        Settle("g", 1, 1, 2**64),
        Forget("\ud800", False),
        Reset(1, 2, "g", 3, 4, False, "x" * (1 << 16)),
    ],
    ids=["negative", "group", "metadata", "items", "sequence", "not a text", "reason"],
)
def test_what_does_not_fit_is_refused_before_it_is_in_the_log(command: OffsetCommand) -> None:
    with pytest.raises(MachineInvariantViolated):
        encode_partition_command(command)


def test_the_largest_metadata_fits() -> None:
    command = Commits(1, 1, (item(1, metadata=bytes(MAX_METADATA_BYTES)),))
    assert decode_partition_command(encode_partition_command(command)) == command


#: The bytes of SAMPLES as they stand in logs: a change here is a new version of the command.
WRITTEN = """
    010201000000000000000200000002000101000103000000000000000100000000000000010000000000000001000000000000000300000000
        000000efbeadde010000000100000000000000020000000000000003000000000000000400000000000000000000000000000000000000
        676d68
    010301000000000000000200000003000000000000000400000000000000010500000000000000010500676f776e6572
    0104010000000000000002000000030000000000000004000000000000000167
    01050100000000000000020000000300000000000000040000000000000007000000000000000100000105000000000000000600000001060067
        726561736f6e
    01060100000000000000020000000000000003000000000000000167
    010701000000000000000200000003000000000000000167
    01080109000000000000000167
    0109000167
    010a
    010b010000000000000002000000000000000167
""".replace("\n        ", "").split()


def test_a_log_that_was_written_before_is_still_read() -> None:
    assert [encode_partition_command(command).hex() for command in SAMPLES] == WRITTEN
    assert [decode_partition_command(bytes.fromhex(each)) for each in WRITTEN] == SAMPLES
