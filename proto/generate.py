"""Makes the committed stubs from the .proto files, or checks that they are what it would make.

Usage::

    python proto/generate.py            writes the stubs beside their proto
    python proto/generate.py --check    exits 1 when a committed stub differs
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
#: protoc looks for its plug-ins on PATH; the environment that runs this file need not be on it.
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
STUB_ENDINGS = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def generate(target: Path) -> None:
    """Writes all stubs under ``target``. Raises SystemExit when protoc refuses a file."""
    protos = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    scripts = Path(sysconfig.get_path("scripts"))
    bundled = Path(grpc_tools.__file__).parent / "_proto"
    arguments = [
        "protoc",
        *(f"--plugin={name}={scripts / name}" for name in PLUGINS),
        f"--proto_path={ROOT}",
        f"--proto_path={bundled}",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
        *protos,
    ]
    status = protoc.main(arguments)
    if status:
        raise SystemExit(status)


def stale_stubs() -> list[str]:
    """The committed stubs that differ from what the protos yield, are missing, or have no proto any more."""
    with tempfile.TemporaryDirectory() as directory:
        fresh_root = Path(directory)
        generate(fresh_root)
        fresh = {path.relative_to(fresh_root): path.read_bytes() for path in fresh_root.rglob("*_pb2*")}
    committed = {
        path.relative_to(ROOT): path.read_bytes()
        for path in ROOT.rglob("*_pb2*")
        if path.name.endswith(STUB_ENDINGS)
    }
    return sorted(str(name) for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    stale = stale_stubs()
    for name in stale:
        print(f"stale stub: proto/{name}; run: make stubs", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
