"""The world in which a page's commands run: small things by the names that the page has for large ones."""

import fcntl
import importlib
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import twinbench
from tests.docs.pages import ROOT, Step, words_of
from twinbench.cli import COMMANDS, parser_of

HERE = Path(__file__).parent
RULES: dict[str, Any] = tomllib.loads((HERE / "world.toml").read_text())
FORK = multiprocessing.get_context("fork")
SECONDS = 400  # for one command, on a busy machine
MADE = (
    ("transfer", "result.json"),
    ("detection", "result.json"),
    ("dense", "result.json"),
    ("pretrain", "resnet50.pth"),
)


class Failed(Exception):
    """A command did not end as the page says."""


class World:
    """One page's folder; `run` does one step of the page in it."""

    def __init__(self, page: str, folder: Path, shared: Path):
        self.folder, self.rules = folder, RULES["pages"].get(page, {})
        self.replace = {**self.rules.get("replace", {}), **RULES["replace"]}
        self.append = {**RULES["append"], **self.rules.get("append", {})}
        self.block, self.said = 0, ""  # the block that is run, and what its commands said
        for name, target in {**RULES["links"], **self.rules.get("links", {})}.items():
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target.format(ROOT=ROOT) if "{ROOT}" in target else shared / target)
        for name, text in self.rules.get("files", {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.lstrip())
        for piece in self.rules.get("before", []):
            self.shell(Step("shell", piece, 0))

    def run(self, step: Step) -> None:
        """Do a step; Failed says what went wrong."""
        if step.kind != "text" and step.block != self.block:
            self.block, self.said = step.block, ""
        if step.kind == "shell":
            self.shell(step)
        elif step.kind == "yaml":
            text = self.substituted(step.text)
            (self.folder / ("suite.yaml" if "methods:" in text else "own.yaml")).write_text(text)
        elif step.kind == "python":
            prelude = self.rules.get("python", "") + "\n"
            self.forked("python", lambda: exec(compile(self.substituted(prelude + step.text), "page", "exec"), {}))
        elif step.kind == "text":
            self.compare(step.text)

    def shell(self, step: Step) -> None:
        """Run a command, in a fork of this process where that is the same as a process of its own."""
        piece = self.substituted(step.text)
        words = words_of(piece)
        if words is None:
            environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
            done = subprocess.run(
                ["timeout", str(SECONDS), "bash", "-e", "-c", piece],
                cwd=self.folder,
                env={**environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            self.judge(piece, done.returncode, done.stdout + done.stderr)
            return
        words += [word for word in shlex.split(self.append.get(words[0], "")) if words[0] in COMMANDS]
        self.forked(shlex.join(["twinbench", *words]), lambda: twinbench.main(words), words)
        self.require_made(words)

    def substituted(self, text: str) -> str:
        """Return a text of the page with the world's names for things."""
        for pattern, name in self.replace.items():
            text = re.sub(pattern, name, text)
        return text

    def forked(self, what: str, work: Callable[[], int | None], words: list[str] | None = None) -> None:
        """Run `work` in a fork of this process: importing torch would take longer than most commands."""
        said = self.folder.parent / f"{self.folder.name}.said"
        child = FORK.Process(target=_child, args=(work, self.folder, said, words))
        child.start()
        child.join(SECONDS)
        if child.is_alive():
            child.kill()
            raise Failed(f"{what}: not done in {SECONDS} s")
        self.judge(what, child.exitcode, said.read_text())

    def judge(self, what: str, code: int | None, said: str) -> None:
        """Keep what a command said; raise Failed unless it ended as it should."""
        self.said += said
        if code:
            raise Failed(f"{what}: exit code {code}\n{said[-3000:]}")

    def require_made(self, words: list[str]) -> None:
        """Raise Failed unless the files are there that a command is for."""
        given = parser_of(words[0], importlib.import_module(f"twinbench.{COMMANDS[words[0]][0]}")).parse_args(words[1:])
        out = getattr(given, "out", None)
        if out is None:
            return
        made = self.folder / out / dict(MADE).get(words[0], "")
        if not made.exists():
            raise Failed(f"{shlex.join(words)}: no {made} was made")

    def compare(self, text: str) -> None:
        """Raise Failed unless the commands before printed what the page shows, figures aside.

        Figures move with the processor in their last digits, and a ranking with them. `...` on a line leaves lines out.
        """
        for part in re.split(r"^ *\.\.\.$", text, flags=re.MULTILINE):
            if _masked(part) not in _masked(self.said):
                raise Failed(f"the page shows\n{part}\nbut the commands before printed\n{self.said}")


def _masked(text: str) -> str:
    """Return a text in which each figure and each absolute path is one sign, without stars and widths of columns."""
    text = re.sub(r"(?<!\S)/\S+", "/", text)
    text = re.sub(r"\b[0-9a-f]{12,}\b|[-+]?\d+(\.\d+)?", "#", text.replace("*", ""))
    return re.sub(r"\s+", " ", re.sub(r"-{2,}", "-", text)).strip()


def _child(work: Callable[[], int | None], folder: Path, said: Path, words: list[str] | None) -> None:
    """Do `work` as a process of its own would, but for what was imported."""
    os.chdir(folder)
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    sys.path.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = str(ROOT)
    if words is not None:
        sys.argv = ["twinbench", *words]
    code = work() or 0
    sys.stdout.flush()
    sys.exit(code)


def shared_world(folder: Path) -> Path:
    """Make what the pages share, once for all processes that test them."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shared = folder / "shared"
        if not (shared / "done").exists():
            shared.mkdir()
            began = time.monotonic()
            child = FORK.Process(target=_child, args=(_make, shared, folder / "shared.said", None))
            child.start()
            child.join()
            assert not child.exitcode, (folder / "shared.said").read_text()
            (shared / "done").write_text(f"{time.monotonic() - began:.0f} s")
    return shared


def _make() -> None:
    """Write the things that world.toml's links lead to."""
    from tests.docs import things

    for words in RULES["shared"]:
        code = twinbench.main(shlex.split(words))
        assert code == 0, words
    things.make(Path.cwd(), RULES["networks"])
