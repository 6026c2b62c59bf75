"""Damage to the files of one replica: bits that rot, blocks that were never written or written elsewhere, ends that
are gone.

Unless the world is one that destroys, damage is only done where something on the disk *vouches* for what stood
there (``quorumlog.storage.format``): below the ``synced`` of the last durable hard state, below ``born_size``, in
sealed segments, in checkpoints. There it must be noticed before anything of it is served or voted with. The last
write of all has nobody to vouch for it; damage to it looks like a torn write, which recovery must cut, and so is
the same as an fsync that lied. No log can tell the two apart without writing everything twice.

Prior art: "Protocol-Aware Recovery for Consensus-Based Storage" (Alagappan et al., FAST 2018), which the rule of
recovery follows; TigerBeetle's storage faults.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.storage.checkpoint import SUFFIX as CHECKPOINT_SUFFIX
from quorumlog.storage.errors import StorageError
from quorumlog.storage.format import (
    HEADER_SIZE,
    KIND_HARD_STATE,
    KIND_TRAILER,
    SEGMENT_SUFFIX,
    RecordHead,
    SegmentHeader,
    decode_hard_state,
    decode_segment_header,
)
from quorumlog.storage.scan import RecordScanner

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from quorumlog.sim.disk import SimulatedDisk

    Damage = Callable[["SimulatedDisk", "Place", Random], int]

_REPLICA = re.compile(r"replica-([0-9]+)")
#: What a drive writes as a whole.
SECTOR_BYTES = 512
#: How often another place is tried when one shows no difference.
_TRIES = 8


class Place(NamedTuple):
    """A stretch of a file where damage must be noticed. ``whole``: the file may lose its end as well."""

    path: str
    end: int
    whole: bool


class _Durable:
    """What is on the platter, as a file to be scanned."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def pread(self, size: int, position: int) -> bytes:
        return self._data[position : position + size]

    def size(self) -> int:
        return len(self._data)


def replica_path(disk: SimulatedDisk, groups: str, group: int) -> str | None:
    """Where the latest incarnation of this node's replica keeps its log, if that is safe from a power cut."""
    incarnations = [
        int(found[1]) for name in disk.durable_names(f"{groups}/{group}") if (found := _REPLICA.fullmatch(name))
    ]
    return f"{groups}/{group}/replica-{max(incarnations)}" if incarnations else None


def places(disk: SimulatedDisk, directory: str) -> list[Place]:
    """Where in the replica's directory damage must be noticed; the same bytes must be durable and visible."""
    visible = set(disk.listdir(directory)) if disk.exists(directory) else set()
    names = [name for name in disk.durable_names(directory) if name in visible]
    found = [
        Place(path, len(disk.durable_content(path)), True)
        for name in names
        if name.endswith(CHECKPOINT_SUFFIX) and (path := f"{directory}/{name}")
    ]
    segments = sorted(
        (header.sequence, path)
        for name in names
        if name.endswith(SEGMENT_SUFFIX) and (header := _header(disk, path := f"{directory}/{name}")) is not None
    )
    found += [Place(path, len(disk.durable_content(path)), True) for _, path in segments[:-1]]
    if segments:
        path = segments[-1][1]
        found.append(Place(path, _vouched(disk, path), False))
    return [place for place in found if place.end]


def _header(disk: SimulatedDisk, path: str) -> SegmentHeader | None:
    """None if it has been damaged already."""
    try:
        return decode_segment_header(path, disk.durable_content(path)[:HEADER_SIZE])
    except StorageError:
        return None


def _vouched(disk: SimulatedDisk, path: str) -> int:
    """Up to where the tail's own records say that it was durable."""
    data = disk.durable_content(path)
    header = _header(disk, path)
    if header is None:
        return 0
    vouched = header.born_size
    scanner = RecordScanner(_Durable(data), header.checksum_seed, HEADER_SIZE, len(data))  # type: ignore[arg-type]
    while (record := scanner.next()) is not None:
        if record.kind == KIND_HARD_STATE:
            head = RecordHead(0, 0, 0, record.kind, 0, 0, record.position, record.index, record.term)
            vouched = max(vouched, decode_hard_state(head, record.body)[1])
        elif record.kind == KIND_TRAILER:
            vouched = max(vouched, record.position)
    return vouched


# Each kind damages something within a place and returns how many bytes are now different.


def flip_bit(disk: SimulatedDisk, place: Place, random: Random) -> int:
    """One bit is another."""
    disk.flip_bit(place.path, random.randrange(place.end), random.randrange(8))
    return 1


def stale_block(disk: SimulatedDisk, place: Place, random: Random) -> int:
    """The last writes to a sector were lost: from somewhere on it shows what stood there before, which is zeros."""
    sector = _sector(place, random)
    if sector is None:
        return 0
    start = random.randrange(sector, sector + SECTOR_BYTES - 8) & ~7
    return _overwrite(disk, place.path, start, bytes(sector + SECTOR_BYTES - start))


def misdirected_write(disk: SimulatedDisk, place: Place, random: Random) -> int:
    """A sector that belongs elsewhere on the disk was written here."""
    sector = _sector(place, random)
    if sector is None:
        return 0
    directory = place.path.rpartition("/")[0]
    sources = [
        name
        for name in disk.durable_names(directory)
        if name.endswith((SEGMENT_SUFFIX, CHECKPOINT_SUFFIX)) and disk.exists(f"{directory}/{name}")
    ]
    source = f"{directory}/{random.choice(sources)}"
    content = disk.durable_content(source)
    at = random.randrange(max(1, len(content) // SECTOR_BYTES)) * SECTOR_BYTES
    block = content[at : at + SECTOR_BYTES]
    if source == place.path and at == sector:
        return 0
    return _overwrite(disk, place.path, sector, block + bytes(SECTOR_BYTES - len(block)))


def truncation(disk: SimulatedDisk, place: Place, random: Random) -> int:
    """The file has lost its end."""
    if not place.whole:
        return 0
    size = random.randrange(place.end)
    disk.cut_file(place.path, size)
    return place.end - size


def _sector(place: Place, random: Random) -> int | None:
    """Where a sector begins that lies wholly within the place."""
    sectors = place.end // SECTOR_BYTES
    return random.randrange(sectors) * SECTOR_BYTES if sectors else None


def _overwrite(disk: SimulatedDisk, path: str, position: int, data: bytes) -> int:
    before = disk.durable_content(path)[position : position + len(data)]
    changed = sum(one != other for one, other in zip(before, data, strict=False))
    if changed:
        disk.stale_block(path, position, data[: len(before)])
    return changed


def damage(
    disk: SimulatedDisk,
    directory: str,
    kind: Damage,
    random: Random,
    *,
    silently: bool = False,
) -> tuple[str, int]:
    """Damages something in the replica's directory: (path, bytes that changed), or ("", 0) if nothing there can be.
    ``silently``: wherever it likes, the last write included, which nobody can notice."""
    for _ in range(_TRIES):
        found = places(disk, directory)
        if silently:
            found = [Place(one.path, len(disk.durable_content(one.path)), True) for one in found]
        if not found:
            return "", 0
        place = random.choice(found)
        changed = kind(disk, place, random)
        if changed:
            return place.path, changed
    return "", 0
