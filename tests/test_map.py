"""The map of the house: who may import whom, read from the sources."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORKERS = {"pretrain", "transfer", "dense", "detection"}
# From the ground up: a room imports rooms of lower floors and itself. Workers stand on all of them.
FLOORS = ({"protocols"}, {"runtime"}, {"data", "convert", "report", "solver"}, {"suite"}, {"slurm"})
GROUND_ONLY = {"runtime": {"protocols.house", "protocols.text"}}  # of lower floors, these files and no others
ROOMS = WORKERS.union(*FLOORS)
FRONT = sorted((ROOT / "twinbench").glob("*.py"))
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")) + FRONT


@cache
def tree_of(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text())


@cache
def imports(path: Path, *, top_level_only: bool = False) -> frozenset[str]:
    """Return the modules a file imports, as dotted names; what only a type checker imports does not count."""
    tree = tree_of(path)
    found = set()
    for node in tree.body if top_level_only else _executed(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def _executed(tree: ast.AST):
    """Yield the nodes of a tree, but for what stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _executed(child)


def packages(path: Path) -> set[str]:
    """Return the top-level packages a file imports."""
    return {name.partition(".")[0] for name in imports(path)}


def ours(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the modules of twinbench that a file imports, as `room.module`."""
    found = set()
    for name in imports(path, top_level_only=top_level_only):
        parts = name.split(".")
        if parts[0] == "twinbench" and len(parts) > 1:
            while len(parts) > 2 and not _is_module(parts[1:]):
                parts.pop()
            found.add(".".join(parts[1:]))
    return found


def _is_module(parts: list[str]) -> bool:
    """Say whether the dotted name below the root is a file or a package."""
    path = ROOT.joinpath(*parts)
    return path.with_suffix(".py").is_file() or path.is_dir()


def name_of(path: Path) -> str:
    """Return a file's own name as `room.module`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def room_of(path: Path) -> str:
    """Return the room a file lies in; `twinbench` for the front door."""
    return path.relative_to(ROOT).parts[0]


def floor_of(room: str) -> int:
    """Return a room's floor, counted from the ground; workers stand above all boundaries they may use."""
    return next((floor for floor, rooms in enumerate(FLOORS) if room in rooms), len(FLOORS))


def offenders(package: str, *, allowed: set[str]) -> list[str]:
    """Name the files that import `package` outside the allowed rooms or files."""
    return [
        str(path.relative_to(ROOT))
        for path in FILES
        if package in packages(path) and not {room_of(path), str(path.relative_to(ROOT))} & allowed
    ]


def test_the_map_is_read_from_real_files():
    assert {room_of(path) for path in FILES} == ROOMS | {"twinbench"}
    assert "torch" in packages(ROOT / "convert" / "architectures" / "resnet.py")
    assert "convert.finding.prove" in ours(ROOT / "convert" / "load.py")


def test_every_room_is_linked_into_the_package():
    links = {path.name: path for path in (ROOT / "twinbench").iterdir() if path.is_symlink()}
    assert set(links) == ROOMS
    assert {str(path.readlink()) for path in links.values()} == {f"../{room}" for room in ROOMS}


def test_rooms_are_imported_by_the_one_name():
    assert {package for path in FILES for package in packages(path)} & ROOMS == set()


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_no_arrow_runs_up(room):
    wrong = []
    for path in (ROOT / room).rglob("*.py"):
        for name in ours(path):
            other = name.partition(".")[0]
            if other == room:
                continue
            allowed = other in ROOMS and floor_of(other) < floor_of(room) and other not in WORKERS
            if room in GROUND_ONLY:
                allowed = name in GROUND_ONLY[room]
            if not allowed:
                wrong.append(f"{name_of(path)} imports {name}")
    assert wrong == []


def test_workers_need_no_launcher():
    """A worker runs under plain Python as well: it knows neither suites nor Slurm."""
    wrong = [
        f"{name_of(path)} imports {name}"
        for worker in WORKERS
        for path in (ROOT / worker).rglob("*.py")
        for name in ours(path)
        if name.partition(".")[0] in {"suite", "slurm"}
    ]
    assert wrong == []


def test_no_two_files_import_each_other_in_a_circle():
    graph = {name_of(path): ours(path) for path in FILES}
    graph = {name: {other for other in found if other in graph} - {name} for name, found in graph.items()}
    while leaves := {name for name, found in graph.items() if not found}:
        graph = {name: found - leaves for name, found in graph.items() if name not in leaves}
    assert graph == {}, "these import each other, or something that does"


@pytest.mark.parametrize("package", ["detectron2", "fvcore"])
def test_only_detection_imports_detectron2(package):
    assert offenders(package, allowed={"detection"}) == []


def test_only_slurm_imports_submitit():
    assert offenders("submitit", allowed={"slurm"}) == []


def test_only_one_module_calls_torch_load_and_save():
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and node.attr in {"load", "save"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "torch"
    ]
    assert {call.partition(":")[0] for call in calls} == {"convert/files.py"}


@pytest.mark.parametrize("package", ["torch", "torchvision", "detectron2"])
def test_protocols_and_report_need_no_torch(package):
    assert offenders(package, allowed=ROOMS - {"protocols", "report"} | {"twinbench/worker.py"}) == []


WITHOUT_TORCH = ("cli", "protocols.catalogue", "protocols.command", "report.command", "suite.graph", "suite.suite")


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_plans_and_tables_load_without_torch(module):
    """Also through what they import: a login node may have no torch at all."""
    code = f"import sys; sys.modules['torch'] = None; import twinbench.{module}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_front_door_imports_no_room_but_the_rules():
    for path in FRONT:
        rooms = {name.partition(".")[0] for name in ours(path)} & ROOMS
        assert rooms <= {"protocols"}, path


def test_init_files_do_no_work():
    """A package's __init__ holds a docstring and, at most, the lazy export of promised names."""
    for room in ROOMS | {"twinbench"}:
        path = ROOT / room / "__init__.py"
        kinds = {type(node).__name__ for node in tree_of(path).body}
        assert kinds <= {"Expr", "Import", "ImportFrom", "If", "Assign", "FunctionDef"}, room
        allowed = {"typing.TYPE_CHECKING", "typing.Any", "importlib"}
        assert not imports(path, top_level_only=True) - allowed, room
