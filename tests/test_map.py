"""The map of the house: who may import whom, read from the sources."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORKERS = {"pretrain", "transfer", "detection"}
BOUNDARIES = {"data", "convert", "protocols", "report", "slurm"}
ROOMS = WORKERS | BOUNDARIES
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")) + [ROOT / "twinbench.py"]


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the modules a file imports, as dotted names."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages(path: Path) -> set[str]:
    """Return the top-level packages a file imports."""
    return {name.partition(".")[0] for name in imports(path)}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def offenders(package: str, *, allowed: set[str]) -> list[str]:
    """Name the files that import `package` outside the allowed rooms or files."""
    return [
        str(path.relative_to(ROOT))
        for path in FILES
        if package in packages(path) and not {room_of(path), str(path.relative_to(ROOT))} & allowed
    ]


def test_the_map_is_read_from_real_files():
    assert {room_of(path) for path in FILES} == ROOMS | {"twinbench.py"}
    assert "torch" in packages(ROOT / "convert" / "resnet.py")


@pytest.mark.parametrize("worker", sorted(WORKERS))
def test_no_room_but_itself_imports_a_worker(worker):
    assert offenders(worker, allowed={worker}) == []


@pytest.mark.parametrize("package", ["detectron2", "fvcore"])
def test_only_detection_imports_detectron2(package):
    assert offenders(package, allowed={"detection"}) == []


def test_only_slurm_imports_submitit():
    assert offenders("submitit", allowed={"slurm"}) == []


def test_only_one_module_calls_torch_load_and_save():
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in {"load", "save"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "torch"
    ]
    assert {call.partition(":")[0] for call in calls} == {"convert/files.py"}


@pytest.mark.parametrize("package", ["torch", "torchvision", "detectron2"])
def test_protocols_and_report_need_no_torch(package):
    assert offenders(package, allowed=ROOMS - {"protocols", "report"}) == []


@pytest.mark.parametrize("module", ["twinbench", "protocols.catalogue", "protocols.command", "report.command"])
def test_plans_and_tables_load_without_torch(module):
    """Also through what they import: a login node may have no torch at all."""
    code = f"import sys; sys.modules['torch'] = None; import {module}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_front_door_imports_no_room_but_the_rules():
    assert packages(ROOT / "twinbench.py") & ROOMS == {"protocols"}


def test_init_files_do_no_work():
    """A package's __init__ holds a docstring and, at most, the lazy export of promised names."""
    for room in ROOMS:
        body = ast.parse((ROOT / room / "__init__.py").read_text()).body
        kinds = {type(node).__name__ for node in body}
        assert kinds <= {"Expr", "ImportFrom", "If", "Assign", "FunctionDef"}, room
        assert not imports(ROOT / room / "__init__.py", top_level_only=True) - {"typing.TYPE_CHECKING", "typing.Any"}, (
            room
        )
