"""`twinbench doctor`: what it says of packages, of a Detectron2 and of places that are made for it here."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import twinbench
from twinbench.suite.doctor import machine
from twinbench.suite.doctor.packages import OPTIONAL, REQUIRED, find_detectron2, unfit

ROOT = Path(__file__).resolve().parent.parent


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_it_asks_for_what_the_package_asks_for():
    asked = dict(
        re.fullmatch(r"([\w-]+)(?:>=([\d.]+))?", line).groups(default="") for line in project()["dependencies"]
    )
    assert asked == REQUIRED


def test_what_it_calls_optional_comes_with_an_extra_or_by_its_own_name():
    extras = project()["optional-dependencies"]
    for name, (_, how) in OPTIONAL.items():
        extra = re.search(r"\[(\w+)\]", how)
        brought = [re.match(r"[\w-]+", line).group() for line in extras[extra.group(1)]] if extra else how.split()[2:]
        assert name in brought


def test_a_missing_package_and_an_old_one_are_told_with_what_to_do():
    found = dict.fromkeys(REQUIRED, "99") | {"torch": "2.10.0+cu128", "torchvision": "0.9.1"}
    del found["tqdm"]
    assert unfit(found) == [
        "torchvision is 0.9.1, expected 0.21 or newer; run: pip install 'torchvision>=0.21'",
        "tqdm is not installed, which twinbench needs; run: pip install 'tqdm'",
    ]


def test_quick_answers_without_torch():
    code = "import sys; sys.modules['torch'] = None; import twinbench; sys.exit(twinbench.main(['doctor', '--quick']))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stderr == ""
    assert f"twinbench {twinbench.__version__}" in re.sub(" +", " ", run.stdout)


def test_json_holds_what_a_program_asks(capsys, monkeypatch):
    monkeypatch.setattr(machine, "slurm", lambda: {"there": False})
    assert twinbench.main(["doctor", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["twinbench"]["version"] == twinbench.__version__
    assert found["packages"]["torch"] == importlib.metadata.version("torch")
    assert found["machine"]["usable_cores"] == len(os.sched_getaffinity(0))
    assert found["problems"] == []


def test_a_scheduler_that_does_not_answer_is_a_problem(capsys, monkeypatch, tmp_path):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'no controller' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert twinbench.main(["doctor", "--quick"]) == 1
    assert "problem: Slurm: sbatch: no controller; suites run on this machine with --local" in capsys.readouterr().out


def test_a_scheduler_tells_its_version_and_partitions(monkeypatch, tmp_path):
    for name, answer in (("sbatch", "slurm 23.11.4"), ("sinfo", "gpu*|1-00:00:00|4|gpu:a100:8\ncpu|infinite|2|(null)")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = machine.slurm()["about"]
    assert told[0] == "slurm 23.11.4"
    assert told[1] == "partition gpu: 4 nodes of 8 GPUs, at most 1.0 d"
    assert told[2] == "partition cpu: 2 nodes, no time limit"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that comes first on the path of this process and of its children."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "detectron2", raising=False)
    return tmp_path


def build(site, direct=None, name="detectron2", compiled=""):
    """Lay down an installed Detectron2 as pip does."""
    (site / "detectron2").mkdir()
    (site / "detectron2" / "__init__.py").touch()
    if compiled:
        (site / "detectron2" / compiled).touch()
    info = site / f"{name.replace('-', '_')}-0.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.6\n")
    (info / "top_level.txt").write_text("detectron2\n")
    if direct:
        (info / "direct_url.json").write_text(json.dumps(direct))


COMMIT = "02b5c4e0123456789"
FILE = "file:///w.whl"
ORIGINS = {
    "repository": (
        {"url": "URL", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
        "a source build of URL at 02b5c4e01234",
    ),
    "clone": ({"url": "file:///d2", "dir_info": {"editable": True}}, "a source build of the folder /d2, editable"),
    "file": ({"url": FILE, "archive_info": {}}, f"a wheel or archive that was named by its address or path: {FILE}"),
    "index": (None, "a third-party wheel: its authors have none for today's torch"),
}


@pytest.mark.parametrize("case", ORIGINS)
def test_the_origin_of_detectron2_is_what_its_installer_wrote_down(site, case):  # another is installed here, too
    direct, words = ORIGINS[case]
    build(site, direct)
    found = find_detectron2()
    assert found.origin == words
    assert found.place == str(site / "detectron2")


def test_a_compiled_part_fits_or_is_for_another_python(site):
    build(site, compiled="_C.cpython-310-x86_64-linux-gnu.so")
    assert not find_detectron2().fits
    (site / "detectron2" / "_C.abi3.so").touch()
    assert find_detectron2().fits


def test_an_editable_one_lies_where_it_was_installed_from_and_a_bare_folder_is_nobodys(site, tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    build(site, {"url": f"file://{source}", "dir_info": {"editable": True}})
    (site / "detectron2").rename(source / "detectron2")
    sys.path.insert(0, str(source))
    try:
        assert find_detectron2().origin == f"a source build of the folder {source}, editable"
        (site / "detectron2-0.6.dist-info" / "direct_url.json").unlink()
        assert find_detectron2().origin == "a folder on the path, which no installed package owns"
    finally:
        sys.path.remove(str(source))


def test_a_clone_beside_the_run_is_no_detectron2(site, monkeypatch):
    (site / "detectron2").mkdir()
    (site / "detectron2" / "setup.py").touch()
    monkeypatch.setattr(sys, "path", [str(site)])
    assert find_detectron2().place == ""


def test_imports_that_fail_or_end_python_are_told(site):
    (site / "fine.py").touch()
    (site / "broken.py").write_text("raise OSError('libcudart.so:\\n not found')")
    (site / "deadly.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    found = machine.Probe(["fine", "broken", "deadly", "never"]).ended().errors
    assert found == {
        "fine": "",
        "broken": "OSError: libcudart.so: not found",
        "deadly": "importing it ended Python with signal 11",
    }


def test_a_torch_that_is_broken_is_one_problem_with_what_to_do(site, capsys, monkeypatch):
    (site / "torch").mkdir()
    (site / "torch" / "__init__.py").write_text("raise ImportError('undefined symbol: x')")
    monkeypatch.setattr(machine, "slurm", lambda: {"there": False})
    assert twinbench.main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == [
        "torch: ImportError: undefined symbol: x; install it anew: pip install --force-reinstall torch torchvision"
    ]


def test_full_disks_and_caches_that_cannot_be_written_are_told(monkeypatch, capsys, tmp_path):
    usage = machine.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path))
    assert twinbench.main(["doctor", "--quick"]) == 1
    said = capsys.readouterr().out
    assert f"{tmp_path} is not writable; name another folder: export TWINBENCH_CACHE=FOLDER" in said
    assert f"the disk of {tmp_path} (cache) has 1 MB left" in said


def test_cards_that_torch_does_not_see_are_told(monkeypatch):
    from twinbench.suite.doctor import command

    monkeypatch.setattr(machine, "cards", lambda: ["NVIDIA A100, driver 535.1"])
    monkeypatch.setattr(
        machine.Probe, "ended", lambda self: machine.Imports({}, {"cuda": None, "hip": None, "gpus": []})
    )
    monkeypatch.setattr(machine, "slurm", lambda: {"there": False})
    (problem,) = command.examined(quick=False)["problems"]
    assert problem.startswith("torch sees none of 1 GPUs (NVIDIA A100, driver 535.1): it was built without CUDA")
