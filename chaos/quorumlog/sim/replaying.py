"""The one command that shows a world again, and what it says turned back into that world.

A world is what its seed draws, changed by what was said on the command line: parts left out (``--without``) and
settings replaced (``--set``). Nothing else needs to be kept of a run.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from quorumlog.sim.control import CONTROL_FAULTS, options_of
from quorumlog.sim.options import Options, Workload
from quorumlog.sim.schedule import Without

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Said by options of their own, or not at all.
_APART = frozenset({"seed", "workload", "engine", "without"})


class BadSetting(Exception):
    """``--set`` or ``--without`` cannot be understood; the message is one line."""


def replay_command(options: Options) -> str:
    """The command that runs exactly this world."""
    control = options.engine == "raft" and any(fault in CONTROL_FAULTS for fault in options.faults)
    drawn = options_of(options.seed, options.engine, options.workload, control=control)
    words = ["quorumlog", "sim", "replay", str(options.seed)]
    if options.workload is not Workload.LOG:
        words += ["--workload", options.workload.value]
    if options.engine != "raft":
        words += ["--engine", options.engine]
    if control:
        words.append("--control")
    for field in fields(Options):
        value = getattr(options, field.name)
        if field.name not in _APART and value != getattr(drawn, field.name):
            words += ["--set", f"{field.name}={json.dumps(value)}"]
    for told in options.without.told():
        words += ["--without", told]
    return shlex.join(words)


def changed(options: Options, settings: Sequence[str], without: Sequence[str]) -> Options:
    """``options`` with what was said on the command line. Raises BadSetting."""
    known = {field.name for field in fields(Options)} - _APART
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in known:
            raise BadSetting(f"{setting!r} is not NAME=VALUE; names are {', '.join(sorted(known))}")
        try:
            value = json.loads(text)
        except ValueError:
            raise BadSetting(f"the value of {name} must be JSON, not {text!r}") from None
        now = getattr(options, name)
        if isinstance(now, tuple) and isinstance(value, list):
            value = tuple(value)
        if isinstance(now, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(now):
            raise BadSetting(f"{name} is {now!r} and cannot be {text}")
        values[name] = value
    try:
        return replace(options, **values, without=Without.parse(without) if without else options.without)
    except ValueError as error:
        raise BadSetting(str(error)) from None
