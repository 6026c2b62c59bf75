"""Reading what nobody reads: sealed segments and checkpoints are verified now and then, so that a bit that flipped
in one of them is found and healed while the other replicas are still whole.

Recovery trusts a sealed segment to its trailer, and a checkpoint that is not the newest to its head; what rots in
between would come to light only when a reader or a follower wants it, which may be when it is the last copy.

Prior art: ZFS scrub, Ceph's deep scrub; "An Analysis of Latent Sector Errors in Disk Drives" (Bairavasundaram et
al., SIGMETRICS 2007) for how common they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.storage.checkpoint import StoredCheckpoint, read_head, verify_state
from quorumlog.storage.errors import CorruptLog
from quorumlog.storage.format import HEADER_SIZE
from quorumlog.storage.scan import RecordScanner, read_header

if TYPE_CHECKING:
    from quorumlog.storage.files import Files
    from quorumlog.storage.segment import Segment


class ScrubJob:
    """Verifies a piece of one sealed segment, from ``position`` on; to be run until ``done``. Raises CorruptLog,
    OSError."""

    __slots__ = ("_files", "_path", "_seed", "_size", "done", "position")

    #: Verified in one run: some milliseconds' work.
    PIECE_BYTES = 256 << 10

    def __init__(self, files: Files, segment: Segment) -> None:
        self._files = files
        self._path = segment.path
        self._seed = segment.seed
        self._size = segment.size
        self.position = 0
        self.done = False

    def run(self) -> None:
        try:
            file = self._files.open(self._path, "read")
        except FileNotFoundError:
            self.done = True  # retention was faster
            return
        try:
            if not self.position:
                read_header(file, self._path)
                self.position = HEADER_SIZE
            scanner = RecordScanner(file, self._seed, self.position, self._size, self.PIECE_BYTES)
            end = min(self.position + self.PIECE_BYTES, self._size)
            while scanner.position < end:
                if scanner.next() is None:
                    raise CorruptLog(self._path, scanner.position, scanner.why)
            self.position = scanner.position
            self.done = self.position >= self._size
        finally:
            file.close()


class ScrubCheckpointJob:
    """Verifies one checkpoint, in one run. Raises CorruptLog, OSError."""

    __slots__ = ("_files", "_stored", "done", "position")

    def __init__(self, files: Files, stored: StoredCheckpoint) -> None:
        self._files = files
        self._stored = stored
        self.position = 0
        self.done = False

    def run(self) -> None:
        path = self._stored.path
        self.done = True
        try:
            file = self._files.open(path, "read")
        except FileNotFoundError:
            return
        try:
            found = read_head(self._files, path)
            if found != self._stored:
                raise CorruptLog(path, 0, "not the checkpoint that was written there")
            verify_state(file, found)
            self.position = found.size
        finally:
            file.close()
