"""Where a number comes from: the code, the versions and the machine behind a result."""

import datetime
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import twinbench
from twinbench.protocols.text import read_json

PACKAGES = (
    *("torch", "torchvision", "scikit-learn", "numpy", "pillow"),
    *("sal-detectron2", "detectron2", "pycocotools", "faster-coco-eval", "hotcoco", "timm"),
)


def code_root() -> Path:
    """Return the folder that holds the package `twinbench` of this process: a clone, a snapshot or site-packages."""
    return Path(twinbench.__file__).resolve().parent.parent


@cache
def code() -> dict[str, str]:
    """Return the root the code runs from, its commit and whether the checkout differs from it."""
    root = code_root()
    snapshot = root / "snapshot.json"  # slurm/snapshot.py leaves it in the copy of the code that a job runs
    if snapshot.exists():
        return {"root": str(root), **read_json(snapshot)}

    def git(*words: str) -> str | None:
        run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return run.stdout.strip() if run.returncode == 0 else None

    try:
        # A wheel installed inside somebody's repository is not that repository's commit.
        inside = git("ls-files", "--error-unmatch", "twinbench/__init__.py") is not None
        commit = git("rev-parse", "HEAD") if inside else None
        dirty = str(bool(git("status", "--porcelain", "--untracked-files=no"))) if inside else "unknown"
    except FileNotFoundError:  # no git on this machine
        commit, dirty = None, "unknown"
    return {"root": str(root), "commit": commit or "unknown", "dirty": dirty}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute numbers, as installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def command() -> str:
    """Return the command line of this process, quoted so that it can be pasted into a shell.

    Of `python -m twinbench`, and of `torchrun -m twinbench`, Python tells no more than the file `__main__.py`.
    """
    name = Path(sys.argv[0]).name
    program = ["python", "-m", "twinbench"] if name == "__main__.py" else [name]
    return shlex.join([*program, *sys.argv[1:]])


def now() -> str:
    """Return the time, UTC, as ISO 8601 with seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
