"""The front door: help, exit codes, one-line errors, and the packaging that brings it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import twinbench

ROOT = Path(__file__).resolve().parent.parent


def test_help_names_every_command_and_loads_no_room():
    code = (
        "import sys, twinbench; code = twinbench.main(['--help']);"
        "assert code == 0; assert not {'torch', 'numpy', 'yaml'} & set(sys.modules), sorted(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert all(f"  {name} " in run.stdout for name in twinbench.COMMANDS)


@pytest.mark.parametrize("name", sorted(twinbench.COMMANDS))
def test_each_command_has_help_with_an_example_and_needs_no_torch_for_it(name):
    code = f"import sys, twinbench; sys.modules['torch'] = None; twinbench.main([{name!r}, '--help'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert f"twinbench {name}" in run.stdout
    assert "example" in run.stdout.lower()


def test_no_command_shows_help_and_is_a_mistake(capsys):
    assert twinbench.main([]) == 2
    assert "usage: twinbench" in capsys.readouterr().out


def test_unknown_command_names_the_nearest(capsys):
    assert twinbench.main(["tranfser"]) == 2
    error = capsys.readouterr().err
    assert "unknown command 'tranfser'. Did you mean 'transfer'?" in error
    assert error.count("\n") == 1


def test_missing_argument_is_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as stop:
        twinbench.main(["inspect"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_users_mistake_is_one_line_without_traceback(capsys, tmp_path):
    assert twinbench.main(["report", str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("twinbench report: ") and captured.err.count("\n") == 1


def test_a_missing_package_is_named_with_what_brings_it(capsys, monkeypatch):
    monkeypatch.setattr(twinbench.importlib, "import_module", _refuse_torch)
    assert twinbench.main(["transfer"]) == 2
    assert "needs the package torch, which is not installed; run: make setup" in capsys.readouterr().err


def _refuse_torch(name):
    raise ModuleNotFoundError("No module named 'torch'", name="torch")


def test_interrupt_is_130(capsys, monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(twinbench, "_load", interrupt)
    assert twinbench.main(["suite"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_the_wheel_lists_each_room_by_name():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks"}
    assert set(wheel["packages"]) == rooms | {"twinbench.py"}
