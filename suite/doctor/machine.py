"""The machine: cores, memory, cards, disks, the scheduler."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twinbench.protocols.house import UserError
from twinbench.report.provenance import code_root
from twinbench.runtime.cache import cache_folder, hub_folder
from twinbench.suite.launcher import cluster_launcher
from twinbench.suite.preflight import existing

PATIENCE = 120  # seconds for all imports; a cold disk takes one for torch
LITTLE = 5e9  # bytes: less is soon full, a detector's two newest checkpoints are 0.6 GB


@dataclass
class Imports:
    """What a process that imported packages has said: the errors of those that it came to, by name."""

    errors: dict[str, str] = field(default_factory=dict)
    devices: dict[str, Any] = field(default_factory=dict)


class Probe:
    """A process that imports packages while others look elsewhere."""

    def __init__(self, names: Sequence[str]):
        """Start it."""
        self.names = names
        words = [sys.executable, "-P", "-m", "twinbench.suite.doctor.probe", *names]
        paths = [str(code_root()), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
        )

    def ended(self) -> Imports:
        """Wait for its end and return what it said; of the package that it ended in, how it ended."""
        how = ""
        try:
            said, _ = self.process.communicate(timeout=PATIENCE)
            code = self.process.returncode
            if code:
                how = f"ended Python with {f'signal {-code}' if code < 0 else f'exit code {code}'}"
        except subprocess.TimeoutExpired:
            self.process.kill()
            said, _ = self.process.communicate()
            how = f"took longer than {PATIENCE} s"
        found = Imports()
        for line in said.splitlines():
            if line.startswith('{"module"'):  # what else a package prints when it is imported is not ours
                told = json.loads(line)
                name, error = told.pop("module"), told.pop("error")
                if name == "devices":
                    found.devices = told
                else:
                    found.errors[name] = error
        missing = [name for name in self.names if name not in found.errors]
        if how and missing:
            found.errors[missing[0]] = f"importing it {how}"
        return found


def hardware() -> dict[str, Any]:
    """Return the machine's system, cores and memory."""
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "cards": cards(),
    }


def cards() -> list[str]:
    """Return the GPUs as NVIDIA's driver tells them, with its version; none where it is not there or fails."""
    words = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        run = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return []
    return [line.replace(",", ", driver") for line in run.stdout.splitlines()] if run.returncode == 0 else []


def places() -> list[dict[str, Any]]:
    """Return the folders that something is written to or read from unasked, and the room on their disks."""
    found: list[dict[str, Any]] = []
    for name, ask in (("cache", cache_folder), ("Hugging Face", hub_folder), ("here", Path.cwd)):
        try:
            folder = ask()
        except RuntimeError:  # a user without a home has neither cache
            continue
        disk = existing(folder.absolute())
        entry = {
            "name": name,
            "path": str(folder),
            "there": folder.exists(),
            "free_bytes": shutil.disk_usage(disk).free,
        }
        found.append({**entry, "writable": os.access(disk, os.W_OK)})
    return found


def slurm() -> dict[str, Any]:
    """Return whether jobs can be submitted from here, and what the scheduler says of itself, or why it does not."""
    launcher = cluster_launcher()
    if not launcher.available():
        return {"there": False}
    try:
        return {"there": True, "about": launcher.about(), "problem": ""}
    except UserError as error:
        return {"there": True, "about": [], "problem": f"{error}; suites run on this machine with --local"}
