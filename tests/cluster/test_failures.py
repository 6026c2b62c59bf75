"""How failures become exit codes."""

from __future__ import annotations

import pytest

from quorumlog.client import errors
from quorumlog.client.errors import Reason, make_error
from quorumlog.cluster.failures import CommandFailed, VerificationFailed, explain
from quorumlog.cluster.layout import LayoutError


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (errors.UnknownTopic("no topic"), 1),
        (make_error(Reason.NO_QUORUM, "no quorum", not_done=True), 3),
        (make_error(Reason.NO_QUORUM, "no quorum", not_done=False), 3),
        (make_error(Reason.UNREACHABLE, "nobody there", not_done=True), 3),
        (make_error(Reason.INTERNAL, "a defect", not_done=False), 1),
        (LayoutError("no cluster"), 1),
        (CommandFailed("line 3: nonsense"), 1),
        (PermissionError(13, "Permission denied", "/data"), 1),
        (VerificationFailed("lost"), 4),
    ],
)
def test_every_operating_error_has_its_exit_code(error: Exception, exit_code: int) -> None:
    explained = explain(error)
    assert explained is not None
    assert explained.exit_code == exit_code


def test_a_defect_is_not_explained_away() -> None:
    assert explain(KeyError("oops")) is None


def test_the_message_says_when_the_thing_may_have_happened() -> None:
    unknown = explain(make_error(Reason.NO_QUORUM, "no quorum", not_done=False))
    definite = explain(make_error(Reason.NO_QUORUM, "no quorum", not_done=True))
    assert unknown is not None
    assert "may have happened" in unknown.message
    assert definite is not None
    assert definite.message == "no quorum"


def test_a_missing_file_is_named() -> None:
    explained = explain(FileNotFoundError(2, "No such file or directory", "/nowhere"))
    assert explained is not None
    assert explained.message == "/nowhere: No such file or directory"
