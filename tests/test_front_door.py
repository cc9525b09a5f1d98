"""The front door: help, exit codes, one-line errors, and the packaging that brings it."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import twinbench
from twinbench import cli

ROOT = Path(__file__).resolve().parent.parent


def test_help_names_every_command_and_loads_no_room():
    code = (
        "import sys, twinbench; code = twinbench.main(['--help']);"
        "assert code == 0; assert not {'torch', 'numpy', 'yaml'} & set(sys.modules), sorted(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert all(f"  {name} " in run.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
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
    assert captured.err.startswith("twinbench report: ")
    assert captured.err.count("\n") == 1


def test_a_missing_package_is_named_with_what_brings_it(capsys, monkeypatch):
    monkeypatch.setattr(cli.importlib, "import_module", _refuse_torch)
    assert cli.main(["transfer"]) == 2
    assert "needs the package torch, which is not installed; run: make setup" in capsys.readouterr().err


def _refuse_torch(name):
    raise ModuleNotFoundError("No module named 'torch'", name="torch")


def test_interrupt_is_130(capsys, monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_load", interrupt)
    assert cli.main(["suite"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


ROOMS = ("convert", "data", "detection", "pretrain", "protocols", "report", "runtime", "slurm", "suite", "transfer")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as pip builds it, unpacked into an empty folder."""
    built = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(built)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (file,) = built.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(built / "unpacked")
    return built / "unpacked"


def test_the_wheels_only_top_level_name_is_twinbench(wheel):
    assert {path.name for path in wheel.iterdir() if path.suffix != ".dist-info"} == {"twinbench"}
    for room in ROOMS:
        assert (wheel / "twinbench" / room / "__init__.py").is_file()
    assert (wheel / "twinbench/protocols/published.csv").is_file()


def test_a_source_distribution_holds_every_file_of_the_wheel(wheel, tmp_path):
    words = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (file,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    files = {str(path.relative_to(wheel)) for path in (wheel / "twinbench").rglob("*") if path.is_file()}
    assert files <= set(names)
    assert len(names) == len(set(names))


@pytest.fixture
def crowded(tmp_path):
    """A user's folder with modules of every name that a room has, each of which fails when it is imported."""
    for name in ROOMS[:5]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the user's own module')")
    for name in ROOMS[5:]:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the user's own module')")
    return tmp_path


@pytest.mark.parametrize("start", ["module", "path", "wheel"])
def test_it_runs_beside_the_users_own_modules(start, crowded, wheel):
    root = wheel if start == "wheel" else ROOT
    words = [str(ROOT / "twinbench")] if start == "path" else ["-m", "twinbench"]
    environment = {**os.environ, "PYTHONPATH": "" if start == "path" else str(root)}
    command = [sys.executable, *words, "data", "make", "scenes", "--scale", "0.02"]
    run = subprocess.run(command, cwd=crowded, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    code = "import twinbench.convert.load, twinbench.transfer.command, twinbench; print(twinbench.__file__)"
    run = subprocess.run([sys.executable, "-c", code], cwd=crowded, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert start == "path" or run.stdout.startswith(str(root))


def test_version_is_the_packages(capsys):
    assert twinbench.main(["--version"]) == 0
    assert capsys.readouterr().out == f"twinbench {twinbench.__version__}\n"


@pytest.mark.parametrize("command", ["zoo", "zoo --json", "protocols", "--help"])
def test_a_reader_that_has_gone_is_no_error(command: str) -> None:
    words = f"{sys.executable} -m twinbench {command} | true"
    for _ in range(3):
        run = subprocess.run(words, shell=True, cwd=ROOT, capture_output=True, text=True)
        assert run.stderr == ""


def on_a_terminal(*words, **environment):
    """Return what a command prints on a terminal, stdout and stderr together."""
    master, slave = os.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    command = [sys.executable, "-m", "twinbench", *words]
    subprocess.run(command, cwd=ROOT, env={**kept, "TERM": "xterm", **environment}, stdout=slave, stderr=slave)
    os.close(slave)
    said = b""
    with open(master, "rb", buffering=0) as terminal:
        while True:
            try:
                said += terminal.read(65536)
            except OSError:  # Linux's end of a terminal that nobody writes to any more
                return said.decode()


def test_a_mistake_is_red_on_a_terminal_unless_no_color_is_set():
    assert on_a_terminal("tranfser").startswith("\x1b[31mtwinbench tranfser:\x1b[0m unknown command")
    assert on_a_terminal("tranfser", NO_COLOR="1").startswith("twinbench tranfser: unknown command")
    assert on_a_terminal("tranfser", TERM="dumb").startswith("twinbench tranfser: unknown command")


def completed(line, tmp_path):
    """Return what a shell is told that a line may go on with."""
    told = tmp_path / "told"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    environment = {**os.environ, **asked, "_ARGCOMPLETE_STDOUT_FILENAME": str(told)}
    code = "import sys; sys.modules['torch'] = None; from twinbench.cli import script; script()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    return told.read_text().split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("twinbench tra", {"transfer"}),
        ("twinbench suite pl", {"plan"}),
        ("twinbench dense voc12-linear-v", {"voc12-linear-vicregl"}),
        ("twinbench transfer coco-mrcnn", set()),  # another room's
        ("twinbench data show oxford-p", {"oxford-pets"}),
        ("twinbench report --format ht", {"html"}),
    ],
)
def test_a_shell_completes_commands_options_and_names_without_torch(line, words, tmp_path):
    assert set(completed(line, tmp_path)) == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_twinbench(shell, capsys):
    assert twinbench.main(["--completion", shell]) == 0
    assert "twinbench" in capsys.readouterr().out


def test_a_shell_that_is_not_known_is_named(capsys):
    assert twinbench.main(["--completion", "tcsh"]) == 2
    assert "unknown shell 'tcsh'. Known: bash, fish, zsh" in capsys.readouterr().err
    assert twinbench.main(["--completion"]) == 2
    assert "no shell named; expected bash, zsh, fish; as in: eval" in capsys.readouterr().err
