"""A copy of the code, made when jobs are submitted: a queued job runs what was submitted, not what is edited later."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from twinbench.protocols.house import UserError
from twinbench.report.provenance import code, code_root

PACKAGE = "twinbench"  # the front door and the rooms: the whole of what a job may run
COMMIT = "snapshot.json"  # beside the copy: the commit it was taken from


class SnapshotError(UserError):
    """A job that would run other code than was submitted."""


def take_snapshot(into: Path) -> Path:
    """Copy the code to `into/<digest>` and return that folder; equal code is copied once."""
    root = code_root()
    files = sorted(_files(root))
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    folder = into / digest.hexdigest()[:12]
    if (folder / COMMIT).exists():
        return folder
    beside = into / f".{folder.name}.{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)
    for path in files:
        copy = beside / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    (beside / COMMIT).write_text(json.dumps({key: code()[key] for key in ("commit", "dirty")}) + "\n")
    shutil.rmtree(folder, ignore_errors=True)  # a copy without its last file is one a kill left behind
    os.replace(beside, folder)
    return folder


def require_code(root: Path | str) -> None:
    """Raise SnapshotError, naming both, unless this process's code lies in `root`, each of its rooms too."""
    ours, expected = code_root(), Path(root).resolve()
    if ours != expected:
        raise SnapshotError(
            f"this job was submitted with the code in {expected}, but {ours} was found first; "
            "remove that folder from PYTHONPATH in the cluster's setup or environment"
        )
    for room in sorted(path for path in (expected / PACKAGE).iterdir() if path.is_dir()):
        if not room.resolve().is_relative_to(expected):  # a clone's rooms are links; one may lead to another clone
            raise SnapshotError(
                f"this job was submitted with the code in {expected}, but its room {room.name} lies in "
                f"{room.resolve().parent}; put the room's own folder in place of the link"
            )


def _files(root: Path) -> Iterator[Path]:
    """Yield the files of the package, but for what Python compiles; in a clone its rooms are links to folders."""
    for folder, folders, names in os.walk(root / PACKAGE, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(folder, name) for name in names if not name.endswith(".pyc"))
