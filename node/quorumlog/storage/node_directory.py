"""A node's data directory: whose it is, that nobody else uses it, and where each group's logs are.

::

    node.json, node.copy.json       whose it is, twice (``identity``)
    engine-<name>                   which engine writes here; no such file: our own Raft
    starts-<n>                      how often a node was started here; an empty file whose name is the number
    lock                            exclusively locked while a node runs
    groups/<group id>/replica-<n>/  the log of incarnation n of this node's replica (``PartitionLog``)
    groups/<group id>/replica-<n>.damaged/   moved aside: it may neither vote nor lead; kept to be looked at
    deleted-<group id>/             a group on its way out

The identity is checked before anything is read: two nodes on one directory, or a directory mounted at the wrong
node, would vote twice in one term with the same replica id.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from quorumlog.storage.errors import CorruptLog, LockedDirectory, LogExists, WrongEngine
from quorumlog.storage.files import write_new_file
from quorumlog.storage.identity import read_identity, write_identity

if TYPE_CHECKING:
    from quorumlog.storage.files import DirectoryLock, Files

_GROUPS = "groups"
_DELETED = "deleted-"
_STARTS = "starts-"
_ENGINE = "engine-"
_OWN_ENGINE = "raft"
_START = re.compile(r"starts-([0-9]+)")
_REPLICA = re.compile(r"replica-([0-9]+)(\.damaged)?")


class NodeDirectory:
    """An open, locked data directory. Its methods block briefly (names only): for start-up and rare changes."""

    __slots__ = ("_files", "_lock", "directory", "incarnation", "repaired")

    def __init__(
        self, files: Files, directory: str, lock: DirectoryLock, incarnation: int, repaired: tuple[str, ...]
    ) -> None:
        self._files = files
        self._lock = lock
        self.directory = directory
        self.incarnation = incarnation
        """Which start of the node this is, from 1: durable, so that nothing said before a crash passes for new
        after it."""
        self.repaired = repaired
        """Copies of the identity that were damaged and have been written again, in words."""

    @property
    def files(self) -> Files:
        """The file system it lives on."""
        return self._files

    @classmethod
    def open(cls, files: Files, directory: str, cluster_id: str, node_id: int) -> NodeDirectory:
        """Creates the directory for this node, or checks that it is this node's; its parent must exist.

        Raises LockedDirectory, WrongCluster, WrongNode, NewerFormat, CorruptLog, OSError. Nothing is changed then.
        """
        if not files.exists(directory):
            files.mkdir(directory)
        try:
            lock = files.lock(f"{directory}/lock")
        except BlockingIOError as error:
            raise LockedDirectory(directory) from error
        try:
            repaired = read_identity(files, directory, cluster_id, node_id)
            if repaired is None:
                _initialize(files, directory, cluster_id, node_id)
            incarnation = _count_start(files, directory)
        except BaseException:
            lock.release()
            raise
        return cls(files, directory, lock, incarnation, repaired or ())

    def close(self) -> None:
        """Gives the lock back."""
        self._lock.release()

    def claim_engine(self, name: str) -> None:
        """Marks the directory as written by the engine of that name, durably. Raises WrongEngine if it was
        another's.

        Our own needs no mark: a directory without one that holds groups is its.
        """
        marks = [one for one in self._files.listdir(self.directory) if one.startswith(_ENGINE)]
        if not marks and (name == _OWN_ENGINE or not self.groups()):
            if name != _OWN_ENGINE:
                write_new_file(self._files, self.directory, f"{_ENGINE}{name}", [])
            return
        found = marks[0].removeprefix(_ENGINE) if marks else _OWN_ENGINE
        if found != name:
            raise WrongEngine(self.directory, name, found)

    def replica_path(self, group_id: int, incarnation: int) -> str:
        """Where ``PartitionLog`` keeps this incarnation's log."""
        return f"{self.directory}/{_GROUPS}/{group_id}/replica-{incarnation}"

    def groups(self) -> dict[int, int]:
        """Every group with a replica here, and its latest incarnation, ascending.

        A group whose latest incarnation was set aside, and whose next had not been made when the node died, is
        among them: opening it gives MissingLog. Were it left out, it would be made anew as incarnation 0 and could
        vote twice.
        """
        root = f"{self.directory}/{_GROUPS}"
        found = {}
        for group_id in sorted(int(name) for name in self._files.listdir(root) if name.isdigit()):
            incarnations = [
                *self._incarnations(group_id, damaged=False),
                *self._incarnations(group_id, damaged=True),
            ]
            if incarnations:
                found[group_id] = max(incarnations)
        return found

    def latest(self, group_id: int) -> int | None:
        """The group's latest incarnation here, set aside or not; None if it never had one."""
        if not self._files.exists(f"{self.directory}/{_GROUPS}/{group_id}"):
            return None
        known = [*self._incarnations(group_id, damaged=False), *self._incarnations(group_id, damaged=True)]
        return max(known, default=None)

    def damaged(self, group_id: int) -> list[int]:
        """Incarnations of this group whose logs were moved aside, ascending."""
        return self._incarnations(group_id, damaged=True)

    def _incarnations(self, group_id: int, *, damaged: bool) -> list[int]:
        found = []
        for name in self._files.listdir(f"{self.directory}/{_GROUPS}/{group_id}"):
            match = _REPLICA.fullmatch(name)
            if match is not None and bool(match[2]) == damaged:
                found.append(int(match[1]))
        return sorted(found)

    def make_replica(self, group_id: int, incarnation: int) -> str:
        """Makes room for an incarnation's log, durably, and returns the path for ``PartitionLog.create``.

        Raises LogExists if that incarnation, or a later one, is or was here.
        """
        group = f"{self.directory}/{_GROUPS}/{group_id}"
        if not self._files.exists(group):
            self._files.mkdir(group)
        self._files.fsync_dir(f"{self.directory}/{_GROUPS}")
        path = self.replica_path(group_id, incarnation)
        known = [*self._incarnations(group_id, damaged=False), *self._incarnations(group_id, damaged=True)]
        if max(known, default=-1) >= incarnation:
            raise LogExists(path)
        return path

    def set_aside(self, group_id: int, incarnation: int) -> str:
        """Moves a damaged log aside, durably, so that the node can never start with it again. Returns its new path;
        nothing happens if it has been moved already.

        The next incarnation needs a replica id of its own: acknowledgements of the lost log must not count for it.
        """
        path = self.replica_path(group_id, incarnation)
        aside = f"{path}.damaged"
        if self._files.exists(path):
            self._files.rename(path, aside)
        self._files.fsync_dir(f"{self.directory}/{_GROUPS}/{group_id}")
        return aside

    def delete_job(self, group_id: int) -> DeleteJob:
        """Removes all of the group's logs, which must be closed; nothing happens if there are none."""
        return DeleteJob(self._files, self.directory, f"{_GROUPS}/{group_id}", f"{_DELETED}{group_id}")

    def unfinished_deletions(self) -> list[DeleteJob]:
        """Deletions that a crash interrupted."""
        names = [name for name in self._files.listdir(self.directory) if name.startswith(_DELETED)]
        return [DeleteJob(self._files, self.directory, "", name) for name in names]

    def free_bytes(self) -> int:
        """Bytes that may still be written there."""
        return self._files.free_bytes(self.directory)


class DeleteJob:
    """Removes a directory tree, renamed first: a deletion that is interrupted half way must not leave a directory
    that looks like a damaged log."""

    __slots__ = ("_aside", "_directory", "_files", "_name")

    def __init__(self, files: Files, directory: str, name: str, aside: str) -> None:
        self._files = files
        self._directory = directory
        self._name = name
        self._aside = aside

    def run(self) -> None:
        files = self._files
        path, aside = f"{self._directory}/{self._name}", f"{self._directory}/{self._aside}"
        if self._name and files.exists(path):
            files.remove_tree(aside)
            files.rename(path, aside)
            files.fsync_dir(self._directory)
            files.fsync_dir(path.rpartition("/")[0])
        files.remove_tree(aside)


def _initialize(files: Files, directory: str, cluster_id: str, node_id: int) -> None:
    groups = f"{directory}/{_GROUPS}"
    if not files.exists(groups):
        files.mkdir(groups)
    elif files.listdir(groups):
        raise CorruptLog(directory, 0, "it holds replicas, and nothing says whose they are")
    write_identity(files, directory, cluster_id, node_id)
    parent = directory.rpartition("/")[0]
    files.fsync_dir(parent or ("/" if directory.startswith("/") else "."))


def _count_start(files: Files, directory: str) -> int:
    """The number of this start. The new name is durable before the old one goes, so that the number never falls."""
    starts = [int(name.removeprefix(_STARTS)) for name in files.listdir(directory) if _START.fullmatch(name)]
    number = max(starts, default=0) + 1
    write_new_file(files, directory, f"{_STARTS}{number}", [])
    for old in starts:
        files.unlink(f"{directory}/{_STARTS}{old}")
    return number
