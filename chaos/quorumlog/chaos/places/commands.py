"""The machine's own tools (ip, iptables, mount, …): run, and their complaint as one line when they fail."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: None of them takes a second; one that hangs must not hang the run.
TIMEOUT_S = 30.0


class CommandFailed(Exception):
    """A tool could not be run or said no; the message is one line with its command."""


def run(*command: str, given: str = "", enter: Sequence[str] = ()) -> str:
    """What the command prints. ``enter`` comes before it and leads to where it is run (``ip netns exec NAME``).
    Blocks. Raises CommandFailed."""
    whole = [*enter, *command]
    try:
        done = subprocess.run(
            whole, input=given, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandFailed(f"{shlex.join(whole)}: {error}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise CommandFailed(f"{shlex.join(whole)}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def works(*command: str, enter: Sequence[str] = ()) -> str:
    """Why it does not; "" if it does."""
    try:
        run(*command, enter=enter)
    except CommandFailed as error:
        return str(error)
    return ""
