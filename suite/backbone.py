"""What a backbone job has made: `backbone.json` beside its file, so that nobody needs torch to tell what it is.

It is written by whoever watches over the job, once its file is there, from what `twinbench inspect` says of it.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from twinbench.protocols.house import replacing
from twinbench.protocols.identity import NOT_RECORDED
from twinbench.protocols.text import TextError, parse_json, read_json
from twinbench.protocols.typed import as_typed
from twinbench.suite.child import worker_environment

FILE = "backbone.json"
PRODUCT = "resnet50.pth"


@dataclass(frozen=True)
class Made:
    """A backbone's identity, and the parts of that of the job that made it."""

    made_of: Mapping[str, str]  # as `Job.parts`
    identity: str = NOT_RECORDED  # of tensors, architecture and input convention
    sha256: str = ""  # of the tensors
    architecture: str = ""
    convention: str = ""  # in words
    details: Mapping[str, Any] = field(default_factory=dict)  # for people: the layout it was found in, and where


def read_made(out: Path) -> Made | None:
    """Return what the job in the folder `out` has made; None where nothing says so."""
    path = out / FILE
    try:
        seen = path.stat()
    except OSError:
        return None
    return _parsed(path, seen.st_mtime_ns, seen.st_size)


def write_made(out: Path, parts: Mapping[str, str]) -> Made:
    """Write down what the job in `out` has made of `parts`, and return it."""
    made = described(out / PRODUCT, parts)
    with replacing(out / FILE) as beside:
        beside.write_text(json.dumps(asdict(made), indent=1) + "\n")
    return made


def described(file: Path, parts: Mapping[str, str]) -> Made:
    """Return what the checkpoint `file` is; its identity is not recorded if it holds no whole backbone.

    In a process of its own: who watches over jobs needs no torch, nor the memory for a network.
    """
    command = [sys.executable, "-m", "twinbench", "inspect", str(file), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, env=worker_environment(1), check=False)
    if run.returncode:
        return Made(parts, details={"problem": run.stderr.strip()})
    found = parse_json(run.stdout, f"what twinbench inspect says of {file}")
    told = {name: found[name] for name in ("layout", "width", "tensors")}
    return Made(parts, found["identity"], found["sha256"], found["architecture"], found["convention"], told)


@lru_cache(maxsize=4096)
def _parsed(path: Path, _changed_ns: int, _size: int) -> Made | None:
    """Read the file once for each of its states: the trials of a method ask for the same one."""
    try:
        return as_typed(Made, read_json(path), str(path))
    except TextError:
        return None
