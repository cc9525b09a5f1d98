"""Carrying the GPU tests to a bare machine, by wheels that the tests make and a pip that they play."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from tests.gpu import bare

ROOT = Path(__file__).resolve().parent.parent
# What runs in the place of pytest: tells what it saw, and ends as it is told.
PROBE = """
import json, os, signal, sys, time
import helper
signals = []
def write_down(number, frame):
    signals.append(number)
    time.sleep(0.5)
    sys.exit(2 + len(signals))
signal.signal(signal.SIGTERM, write_down)
told = {"arguments": sys.argv[1:], "folder": os.getcwd()}
open(os.environ["PROBE_TELLS"] + ".part", "w").write(json.dumps(told))
os.rename(os.environ["PROBE_TELLS"] + ".part", os.environ["PROBE_TELLS"])
if "die" in sys.argv:
    os.kill(os.getpid(), 9)
time.sleep(60 * ("wait" in sys.argv))
sys.exit(7)
"""


def wheel(folder: Path, name: str, version: str, *needs: str, code: str = "", tag: str = "py3-none-any") -> Path:
    """Write a wheel with one module."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    told = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {need}" for need in needs)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join(told) + "\n")
    return path


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A repository and a folder of wheels whose `test` runs PROBE: `.root`, `.wheels`, `.told()`."""
    root, wheels, tells = tmp_path / "repository", tmp_path / "wheels", tmp_path / "told.json"
    root.mkdir()
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "helper.py").write_text("")
    wheel(wheels, "probe", "1.0", code=PROBE)
    monkeypatch.setattr(bare, "ROOT", root)
    monkeypatch.setattr(bare, "MODULES", {"test": ("probe", "first")})
    monkeypatch.setenv("PROBE_TELLS", str(tells))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    return SimpleNamespace(root=root, wheels=wheels, tells=tells, told=lambda: json.loads(tells.read_text()))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_run_ends_with_the_code_of_what_it_ran(probe: SimpleNamespace) -> None:
    assert bare.main(["test", "--wheels", str(probe.wheels)]) == 7


def test_a_run_that_a_signal_ended_says_so_as_a_shell_does(probe: SimpleNamespace) -> None:
    assert bare.main(["test", "--wheels", str(probe.wheels), "die"]) == 128 + 9


def test_what_runs_may_end_in_order_when_it_is_told_to_stop(probe: SimpleNamespace) -> None:
    """Told twice, as by `timeout`: the benchmarks write down what they have, and a second signal would end that."""

    def stop() -> None:
        while not probe.tells.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop, daemon=True)
    stopping.start()
    assert bare.main(["test", "--wheels", str(probe.wheels), "wait"]) == 3


def test_arguments_that_are_not_its_own_go_on_to_what_it_runs(probe: SimpleNamespace) -> None:
    bare.main(["test", "-k", "loss", "--wheels", str(probe.wheels), "-x"])
    assert probe.told()["arguments"] == ["first", "-k", "loss", "-x"]


def test_a_run_happens_in_the_repository_whatever_the_folder(probe: SimpleNamespace) -> None:
    bare.main(["test", "--wheels", str(probe.wheels)])
    assert probe.told()["folder"] == str(probe.root)


def test_a_run_leaves_the_repository_as_it_was(probe: SimpleNamespace) -> None:
    before = files(probe.root)
    bare.main(["test", "--wheels", str(probe.wheels)])
    assert files(probe.root) == before


def test_a_missing_package_is_unpacked(tmp_path: Path) -> None:
    bare.unpack([wheel(tmp_path / "wheels", "fvcorelike", "0.1.5")], tmp_path / "unpacked")
    assert files(tmp_path / "unpacked") == {"fvcorelike.py", "fvcorelike-0.1.5.dist-info"}


def test_the_machines_own_package_wins(tmp_path: Path) -> None:
    bare.unpack([wheel(tmp_path / "wheels", "numpy", "99.0")], tmp_path / "unpacked")
    assert files(tmp_path / "unpacked") == set()


def test_a_package_that_stays_packed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare.unpack([wheel(tmp_path / "wheels", "numpy", "99.0")], tmp_path / "unpacked")
    here = metadata.version("numpy")
    assert capsys.readouterr().out == f"bare.py: numpy {here} is here; the carried 99.0 stays packed\n"


def test_a_version_that_a_carried_package_cannot_use_is_replaced(tmp_path: Path) -> None:
    wheels = [
        wheel(tmp_path / "wheels", "numpy", "0.9"),
        wheel(tmp_path / "wheels", "omegaconflike", "2", "numpy==0.*"),
    ]
    bare.unpack(wheels, tmp_path / "unpacked")
    assert "numpy.py" in files(tmp_path / "unpacked")


def test_what_stays_packed_asks_for_nothing(tmp_path: Path) -> None:
    """A pytest that is here needs the pluggy that is here, not what the carried pytest needs."""
    wheels = [wheel(tmp_path / "wheels", "pluggy", "0.9"), wheel(tmp_path / "wheels", "pytest", "1", "pluggy==0.*")]
    bare.unpack(wheels, tmp_path / "unpacked")
    assert files(tmp_path / "unpacked") == set()


def test_a_replaced_package_asks_for_others_in_turn(tmp_path: Path) -> None:
    wheels = [
        wheel(tmp_path / "wheels", "pluggy", "0.9"),
        wheel(tmp_path / "wheels", "pytest", "1", "pluggy<1"),
        wheel(tmp_path / "wheels", "plugin", "1", "pytest<2"),
    ]
    bare.unpack(wheels, tmp_path / "unpacked")
    assert "pluggy.py" in files(tmp_path / "unpacked")


def test_a_wheel_compiled_for_another_python_is_one_line(probe: SimpleNamespace, capfd: Any) -> None:
    wheel(probe.wheels, "compiled", "1.0", tag="cp39-cp39-manylinux2014_x86_64")
    bare.main(["test", "--wheels", str(probe.wheels)])
    assert capfd.readouterr().err == (
        f"bare.py: compiled-1.0-cp39-cp39-manylinux2014_x86_64.whl is not for this Python {bare.RUNNING}; "
        f"pack with --python {bare.RUNNING}\n"
    )


@pytest.mark.parametrize("tag", ["cp310-none-any", "cp36-abi3-manylinux2014_x86_64"])
def test_a_wheel_that_binds_to_no_version_is_taken(tmp_path: Path, tag: str) -> None:
    """Detectron2's wheel is named cp310-none-any, pycocotools' cp312-abi3."""
    bare.unpack([wheel(tmp_path / "wheels", "free", "1.0", tag=tag)], tmp_path / "unpacked")
    assert "free.py" in files(tmp_path / "unpacked")


def test_detectron2_built_from_its_repository_is_detectron2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path / "machine", "detectron2", "0.6").rename(tmp_path / "machine" / "site.zip")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "machine" / "site.zip")])
    assert bare.installed("sal-detectron2") == "0.6"


def test_what_is_neither_here_nor_carried_is_named(probe: SimpleNamespace, capfd: Any) -> None:
    wheel(probe.wheels, "iopathlike", "1.0", "no.such_thing>=2", "black", "another-thing; extra == 'all'")
    bare.main(["test", "--wheels", str(probe.wheels)])
    assert "bare.py: neither here nor carried, so what needs it will fail: no-such-thing\n" in capfd.readouterr().out


def test_a_folder_without_wheels_is_one_line(tmp_path: Path, capfd: Any) -> None:
    bare.main(["bench", "--wheels", str(tmp_path)])
    assert capfd.readouterr().err.startswith(f"bare.py: no wheels in {tmp_path}; fetch them with: bare.py pack")


def test_a_mistake_ends_with_code_2(tmp_path: Path) -> None:
    assert bare.main(["bench", "--wheels", str(tmp_path)]) == 2


VERSIONS = ("0.9", "1.0", "1.0.0", "1.2", "2.0", "2.3.1", "4.9", "4.9.3", "4.13.2", "10.0", "0.1.5.post20221221")


@pytest.mark.parametrize("asked", [">=1.1", "<2.4,>=2.1", "==4.9.*", ">4.29.0", "<2", "!=1.2", ">=0.1.7", "<=2.3.1"])
def test_versions_are_compared_as_packaging_does(asked: str) -> None:
    theirs = {version: SpecifierSet(asked).contains(version) for version in VERSIONS}
    assert {version: bare.fits(version, asked) for version in VERSIONS} == theirs


def test_a_sign_that_it_does_not_know_is_not_met() -> None:
    assert not bare.fits("2.1", "~=2.0")


def pip(monkeypatch: pytest.MonkeyPatch, megabytes: float = 0.0, code: int = 0) -> list[list[str]]:
    """Play pip: each call leaves one file of its own; return the calls."""
    calls: list[list[str]] = []

    def called(command: list[str], **_: Any) -> SimpleNamespace:
        calls.append(command)
        option = "--wheel-dir" if "wheel" in command else "--dest"
        folder = Path(command[command.index(option) + 1])
        folder.mkdir(exist_ok=True)
        with open(folder / f"package{len(calls)}-1.0-py3-none-any.whl", "wb") as file:
            file.truncate(int(megabytes * 1e6))
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(subprocess, "run", called)
    return calls


def test_packing_tells_each_wheel_and_their_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pip(monkeypatch, megabytes=1.5)
    bare.main(["pack", str(tmp_path / "wheels")])
    assert capsys.readouterr().out.splitlines() == [
        "  1.50 MB  package1-1.0-py3-none-any.whl",
        "  1.50 MB  package2-1.0-py3-none-any.whl",
        "  1.50 MB  package3-1.0-py3-none-any.whl",
        "  4.50 MB  in 3 wheels; 60 MB may travel",
    ]


def test_packing_fills_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip(monkeypatch)
    bare.main(["pack", str(tmp_path / "wheels")])
    assert len(files(tmp_path / "wheels")) == 3


def test_packing_for_another_python_asks_pip_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pip(monkeypatch)
    bare.main(["pack", str(tmp_path / "wheels"), "--python", "3.14"])
    asked = calls[0][calls[0].index("--python-version") + 1]
    assert asked == "3.14"


@pytest.mark.parametrize(("megabytes", "code"), [(20.1, 0), (0, 1)], ids=["too heavy", "pip failed"])
def test_a_packing_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, megabytes: float, code: int
) -> None:
    pip(monkeypatch, megabytes, code)
    bare.main(["pack", str(tmp_path / "here" / "wheels")])
    assert files(tmp_path / "here") == set()


def test_packing_touches_no_folder_that_holds_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pip(monkeypatch)
    (tmp_path / "own.txt").write_text("")
    bare.main(["pack", str(tmp_path)])
    assert not calls


def test_each_package_that_is_carried_has_its_version() -> None:
    pinned = {bare.canonical(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {*bare.CARRIED, *bare.BUILT} <= pinned


def test_processes_that_gpu_tests_and_benchmarks_start_keep_what_was_unpacked() -> None:
    """A killed and restarted pretraining was given PYTHONPATH anew, and did not find Kornia on a bare machine."""
    written = [*(ROOT / "tests" / "gpu").glob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    texts = {path.name: path.read_text() for path in written}
    forgetful = [name for name, text in texts.items() if '"PYTHONPATH": ' in text and 'get("PYTHONPATH"' not in text]
    assert not forgetful
