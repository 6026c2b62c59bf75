"""Whose data directory it is, written twice: a node that cannot say whose data it holds must not start, and one bad
sector in a file of eighty bytes is no reason for that.

``node.json`` and ``node.copy.json`` say the same, each with a checksum of its own::

    {"format": 1, "cluster": "...", "node": 1, "crc32c": ...}

One that is damaged or missing is written again from the other. If neither can be believed the directory is not
opened; and a directory that holds replicas and no identity at all is not taken for a new one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from quorumlog.storage.errors import CorruptLog, NewerFormat, WrongCluster, WrongNode
from quorumlog.storage.files import write_new_file
from quorumlog.storage.format import crc32c_extend

if TYPE_CHECKING:
    from quorumlog.storage.files import Files

_FORMAT = 1
_NAMES = ("node.json", "node.copy.json")
_SIZE_MAX_BYTES = 1 << 16


def read_identity(files: Files, directory: str, cluster_id: str, node_id: int) -> tuple[str, ...] | None:
    """Checks that the directory is this node's, and mends the copy that does not say so. What was found damaged, in
    words; None if the directory has never had an identity.

    Raises WrongCluster, WrongNode, NewerFormat, CorruptLog, OSError. Nothing is changed then.
    """
    damaged: list[CorruptLog] = []
    lacking = []
    for name in _NAMES:
        path = f"{directory}/{name}"
        try:
            _check(path, _read(files, path), directory, cluster_id, node_id)
        except FileNotFoundError:
            lacking.append(name)
        except CorruptLog as error:
            damaged.append(error)
            lacking.append(name)
    if len(lacking) == len(_NAMES):
        if damaged:
            raise damaged[0]
        return None
    for name in lacking:
        _write(files, directory, name, cluster_id, node_id)
    return tuple(str(error) for error in damaged)


def write_identity(files: Files, directory: str, cluster_id: str, node_id: int) -> None:
    """Makes the directory this node's, durably."""
    for name in _NAMES:
        _write(files, directory, name, cluster_id, node_id)


def _write(files: Files, directory: str, name: str, cluster_id: str, node_id: int) -> None:
    crc = _checksum(_FORMAT, cluster_id, node_id)
    identity = {"format": _FORMAT, "cluster": cluster_id, "node": node_id, "crc32c": crc}
    write_new_file(files, directory, name, [json.dumps(identity, indent=2).encode() + b"\n"])


def _checksum(version: object, cluster_id: object, node_id: object) -> int:
    crc: int = crc32c_extend(0, json.dumps([version, cluster_id, node_id]).encode())
    return crc


def _read(files: Files, path: str) -> bytes:
    try:
        file = files.open(path, "read")
        try:
            return file.pread(_SIZE_MAX_BYTES, 0)
        finally:
            file.close()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CorruptLog(path, 0, f"it cannot be read: {error}") from error


def _check(path: str, data: bytes, directory: str, cluster_id: str, node_id: int) -> None:
    try:
        identity = json.loads(data)
        version, cluster, node = identity["format"], identity["cluster"], identity["node"]
        crc = identity["crc32c"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptLog(path, 0, "not the identity of a node") from error
    if crc != _checksum(version, cluster, node):
        raise CorruptLog(path, 0, "the checksum is wrong")
    if version != _FORMAT:
        raise NewerFormat(path, version, _FORMAT)
    if cluster != cluster_id:
        raise WrongCluster(directory, cluster_id, cluster)
    if node != node_id:
        raise WrongNode(directory, node_id, node)
