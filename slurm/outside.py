"""Between a job and Slurm: the shell that stays outside of any container, and the files by which the two talk.

Inside a container there is no Slurm. So the batch script takes the warnings, and runs Slurm's programs for what is
inside (`outside.sh`). Both look only into a folder of this run of this job, whose path stands in TWINBENCH_OUTSIDE.
"""

import contextlib
import os
import shlex
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from twinbench.protocols.house import replacing

VARIABLE = "TWINBENCH_OUTSIDE"
SHELL = "twinbench/slurm/outside.sh"
# Before anything else. TERM: all that some sites send before they preempt.
TRAP = (
    "outside_signals=0 outside_step=\n"
    "trap 'outside_signals=$((outside_signals + 1)); [[ -z $outside_step ]] || outside_warned' USR2 TERM"
)
LOOK_SECONDS = 0.1
# Slurm looks at time limits each 30 s and warns up to a minute early
EARLY_SECONDS = 90


def batch_script(header: str, setup: Sequence[str], command: str, folder: Path, code: Path, late_seconds: int) -> str:
    """Return what sbatch gets: `setup` and `command` in a shell of their own, below one that minds Slurm.

    `folder` is the batch's, `code` has the functions of that shell. A warning after `late_seconds` is taken for the
    time limit's.
    """
    return "\n".join(
        [
            header.rstrip(),
            "",
            TRAP,
            f"source {shlex.quote(str(code / SHELL))} || exit",
            f"outside_begin {shlex.quote(str(folder))}",
            "(",
            "trap - USR2 TERM",
            f"export {VARIABLE}=$outside_talk",
            "",
            "# setup",
            *setup,
            "",
            "# command",
            "export SUBMITIT_EXECUTOR=slurm",
            f"exec {command}",
            ") &",
            f"outside_watch $! {late_seconds}",
            "",
        ]
    )


def place() -> Path | None:
    """Return the folder of this run's talk with its shell; None outside of a job."""
    found = os.environ.get(VARIABLE)
    return Path(found) if found else None


def tell(word: str, text: str = "") -> None:
    """Leave word: `ready`, this process takes warnings from now on; `settled`, the work has ended, not for a signal."""
    folder = place()
    if folder:
        with contextlib.suppress(OSError):  # a full disk; the shell falls back on the signal itself
            (folder / word).write_text(text)


def told(word: str) -> str | None:
    """Return what was left as `word`, by the shell `warned`: None for nothing."""
    folder = place()
    try:
        return (folder / word).read_text() if folder else None
    except OSError:
        return None


def ask(folder: Path, words: Sequence[str], stdin: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Have the shell run one of Slurm's programs; TimeoutExpired if there is no answer, OSError for a full disk."""
    stem = folder / uuid.uuid4().hex
    answer = {end: stem.with_suffix(f".{end}") for end in ("in", "out", "err", "code")}
    try:
        answer["in"].write_text(stdin)
        with replacing(stem.with_suffix(".ask")) as beside:
            beside.write_text("".join(f"{word}\n" for word in words))
        end = time.monotonic() + seconds
        while not answer["code"].exists():
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(list(words), seconds)
            time.sleep(LOOK_SECONDS)
        out, err = (answer[key].read_text(errors="replace") for key in ("out", "err"))
        return subprocess.CompletedProcess(list(words), int(answer["code"].read_text()), out, err)
    finally:
        for path in answer.values():
            path.unlink(missing_ok=True)
