"""What is going to happen in a world, as an explicit list, of which every part can be left out by its number.

A schedule that is drawn as it happens cannot be shrunk: without its third fault every later one would be another.
So the strikes of the nemesis are drawn before anything happens, each with its time, its kind and how long it lasts;
whom it strikes is drawn from a stream of its own when it does. Clients likewise: each has its stream, and
what it sets out to do has a number. ``Without`` says what is left out; everything else stays what it was.

Prior art: delta debugging (Zeller and Hildebrandt, 2002); Hypothesis' shrinking of choice sequences; the schedules
of P# and Coyote.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quorumlog.sim.options import Options
    from quorumlog.sim.world import World


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault to come. ``number`` counts from 0; times in µs, ``at_us`` from the beginning of the first phase."""

    number: int
    at_us: int
    fault: str
    lasts_us: int


def strikes(world: World, options: Options) -> tuple[Strike, ...]:
    """All strikes that the seed draws, left out or not."""
    if not options.faults:
        return ()
    random = world.random("nemesis")
    found: list[Strike] = []
    at_us = 0
    while True:
        at_us += int(random.expovariate(1.0 / options.fault_every_ms) * MS) + 1
        if at_us >= options.duration_ms * MS:
            return tuple(found)
        fault = random.choice(options.faults)
        lasts_us = random.randrange(10, max(11, options.fault_lasts_ms)) * MS
        found.append(Strike(len(found), at_us, fault, lasts_us))


@dataclass(frozen=True, slots=True)
class Without:
    """What is left out of a world, by number.

    ``strikes`` are faults of the nemesis, ``blows`` what happens to members of groups, ``operations`` what clients
    set out to do (bursts of sends, acts of owners, watchers and operators: ``Turns``), ``clients`` whole producers,
    readers, members and users of registers, ``slices`` stretches of time in which the network is fair.
    """

    strikes: frozenset[int] = frozenset()
    blows: frozenset[int] = frozenset()
    operations: frozenset[int] = frozenset()
    clients: frozenset[int] = frozenset()
    slices: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return any(getattr(self, kind.name) for kind in fields(self))

    def and_without(self, kind: str, numbers: Iterable[int]) -> Without:
        """The same without these as well."""
        return replace(self, **{kind: getattr(self, kind) | frozenset(numbers)})

    def told(self) -> list[str]:
        """One ``kind:1,4-7`` for each kind of which something is left out, as ``parse`` takes it."""
        return [
            f"{kind.name}:{_told(getattr(self, kind.name))}" for kind in fields(self) if getattr(self, kind.name)
        ]

    @classmethod
    def parse(cls, told: Iterable[str]) -> Without:
        """The inverse of ``told``. Raises ValueError, with a line for people."""
        found = cls()
        for one in told:
            kind, colon, numbers = one.partition(":")
            if not colon or kind not in {field.name for field in fields(cls)}:
                kinds = ", ".join(field.name for field in fields(cls))
                raise ValueError(f"{one!r} is not KIND:NUMBERS; kinds are {kinds}")
            found = found.and_without(kind, _numbers(numbers))
        return found


#: Nothing is left out.
NOTHING = Without()

#: Numbers of one client's operations begin at this many times its own.
OPERATIONS_EACH = 1000


class Turns:
    """What one client sets out to do, turn by turn. ``present`` is False for a client that is left out."""

    __slots__ = ("_what", "_without", "_world", "number", "present", "taken")

    def __init__(self, world: World, number: int, what: str, without: Without) -> None:
        self._world = world
        self._what = what
        self.number = number
        self.taken = 0
        self.present = number not in without.clients
        self._without = without.operations

    def take(self) -> bool:
        """The next turn has come: whether anything is done in it."""
        operation = self.number * OPERATIONS_EACH + self.taken
        self.taken += 1
        if operation in self._without:
            return False
        self._world.trace.note(0, "sets out", operation, self._what)
        return True

    @property
    def operations(self) -> range:
        """The numbers of all that came up."""
        first = self.number * OPERATIONS_EACH
        return range(first, first + self.taken)


def _told(numbers: frozenset[int]) -> str:
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _numbers(text: str) -> set[int]:
    found: set[int] = set()
    for run in text.split(","):
        low, dash, high = run.partition("-")
        if not low.isdigit() or (dash and not high.isdigit()):
            raise ValueError(f"{run!r} is not a number or a range such as 4-7")
        found.update(range(int(low), int(high if dash else low) + 1))
    return found
