"""The project itself keeps its promises: layout, imports, stubs, pins, documents, the wheel."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
SOURCE_ROOTS = [ROOT / name for name in ("proto", "node", "cluster", "chaos")]
#: Beside the standard library: the codecs and the checksum, which are pure functions on bytes.
ALLOWED_BEYOND_STDLIB = {
    "raft": {"quorumlog.raft"},
    "machine": {"quorumlog.machine", "quorumlog.raft", "quorumlog.wire", "google_crc32c"},
    "wire": {"quorumlog.wire", "google_crc32c", "zstandard", "lz4"},
    "check": {"quorumlog.check"},
}


def tracked_files() -> list[Path]:
    """What would be committed: known to git or new, and not ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def sources(package: str) -> list[Path]:
    return sorted(path for root in SOURCE_ROOTS for path in (root / "quorumlog" / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every absolute module name that a file imports, with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno


def test_the_namespace_has_no_init_file_that_would_hide_the_other_roots() -> None:
    assert [path for root in SOURCE_ROOTS for path in root.glob("quorumlog/__init__.py")] == []


def test_every_package_says_that_it_is_typed() -> None:
    packages = {path.parent for root in SOURCE_ROOTS for path in root.glob("quorumlog/**/__init__.py")}
    inherited = {package for package in packages if any(parent in packages for parent in package.parents)}
    untyped = [package for package in packages - inherited if not (package / "py.typed").exists()]
    assert packages
    assert untyped == []


@pytest.mark.parametrize("package", sorted(ALLOWED_BEYOND_STDLIB))
def test_pure_packages_import_the_standard_library_and_what_is_named_here(package: str) -> None:
    allowed = ALLOWED_BEYOND_STDLIB[package]
    strangers = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources(package)
        for name, line in imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(name == permitted or name.startswith(permitted + ".") for permitted in allowed)
    ]
    assert strangers == []


GENERATORS = {"random", "secrets", "uuid"}


#: What the simulator puts its own in the place of: the one door through which such things may come in.
SEAMS = {ROOT / "node" / "quorumlog" / "storage" / "files.py"}


def global_randomness(path: Path) -> Iterator[int]:
    """The lines of a file that reach for a process-wide generator; ``Random`` may be named, for it is a type."""
    tree = ast.parse(path.read_text())
    for_types_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    runtime = [node for node in ast.walk(tree) if id(node) not in for_types_only]
    modules = {
        alias.name
        for node in runtime
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in GENERATORS
    }
    for node in runtime:
        if isinstance(node, ast.ImportFrom) and node.module in GENERATORS:
            if {alias.name for alias in node.names} != {"Random"}:
                yield node.lineno
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
            and node.attr != "Random"
        ):
            yield node.lineno


@pytest.mark.parametrize("package", ["raft", "storage", "machine", "replica"])
def test_randomness_is_passed_in(package: str) -> None:
    """A process-wide generator would end replay by seed."""
    offences = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources(package)
        if path not in SEAMS
        for line in global_randomness(path)
    ]
    assert offences == []


def test_the_check_for_randomness_finds_what_it_looks_for(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import random\nfrom uuid import uuid4\nx = random.random()\ny = random.Random(1)\n")
    assert list(global_randomness(module)) == [2, 3]
    module.write_text("if TYPE_CHECKING:\n    import random\ndef f(random): return random.random()\n")
    assert list(global_randomness(module)) == []


def test_nothing_is_left_for_later() -> None:
    # Spelled in pieces so that this file does not find itself.
    marks = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "X" * 3 + r"\b", "NotImplemented" + "Error"]))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked_files()
        if path.suffix in {".py", ".proto", ".toml", ".md", ".yaml", ""}
        and not path.name.endswith(("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []


def test_the_committed_stubs_are_what_the_protos_yield() -> None:
    check = subprocess.run(
        [sys.executable, ROOT / "proto" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_constraints_pin_versions_and_name_no_place() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9A-Za-z.+]*", line)] == []


def test_every_declared_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    names = {re.split(r"[<>=!~;\[ ]", requirement)[0].lower().replace("_", "-") for requirement in declared}
    # An extra may ask for another one.
    names.discard(project["name"])
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert names - pinned == set()


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/glossary.md"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_only_files_and_targets_that_exist(name: str) -> None:
    document = ROOT / name
    text = document.read_text()
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    dead = [link for link in links if link and not (document.parent / link).exists()]
    assert dead == []
    commands = re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE)
    assert set(commands) - make_targets() == set()


def test_every_make_target_is_in_the_help() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make ([a-z-]+)", shown, re.MULTILINE)) == make_targets()


def test_ci_runs_known_commands_within_bounds_that_end() -> None:
    steps = re.findall(r"^step (\d+) (.+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    targets = {command.removeprefix("make ") for _, command in steps if command.startswith("make ")}
    assert targets >= {"lint", "types", "contract", "stubs-check", "test", "sim", "chaos"}
    assert targets <= make_targets()
    scripts = {command for _, command in steps if not command.startswith("make ")}
    assert all((ROOT / script).stat().st_mode & 0o111 for script in scripts)
    assert sum(int(bound) for bound, _ in steps) < 90 * 60


@pytest.mark.slow
def test_the_wheel_builds_and_holds_every_module_and_no_stranger(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("quorumlog-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")}
    expected = {
        str(path.relative_to(root))
        for root in SOURCE_ROOTS
        for path in (root / "quorumlog").rglob("*")
        if path.is_file() and path.suffix in {".py", ".pyi", ".typed"}
    }
    assert expected <= packed
    assert {name.split("/")[0] for name in packed} == {"quorumlog"}
