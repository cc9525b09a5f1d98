"""What a suite passes on to sbatch as it is: any of its long options, but for those that twinbench sets itself.

The options stand in a job's script as `#SBATCH --NAME=VALUE`. sbatch takes any beginning of a name that only one option
has (`tim` is `time`), and reads a backslash inside of quotes otherwise than a shell does: both are refused.
"""

import re
from collections.abc import Mapping

from twinbench.protocols.house import UserError

NAME = re.compile(r"[a-z][a-z0-9-]{0,59}")
LONGEST = 4000  # letters of a value: a list of nodes may be long
INSTEAD = {
    # sbatch's option -> the key of a suite that says it
    "account": "account",
    "constraint": "constraint",
    "cpus-per-gpu": "cpus_per_gpu",
    "cpus-per-task": "cpus_per_gpu",
    "export": "environment",
    "export-file": "environment",
    "mem": "mem_gb_per_gpu",
    "mem-per-cpu": "mem_gb_per_gpu",
    "mem-per-gpu": "mem_gb_per_gpu",
    "nodes": "nodes for a pretraining, gpus for a protocol",
    "ntasks": "gpus of a protocol",
    "ntasks-per-core": "gpus of a protocol",
    "ntasks-per-gpu": "gpus of a protocol",
    "ntasks-per-node": "gpus of a protocol",
    "ntasks-per-socket": "gpus of a protocol",
    "partition": "partition",
    "qos": "qos",
    "signal": "signal_delay_s",
    "tasks-per-node": "gpus of a protocol",
    "time": "minutes",
}
ITSELF = (  # what a job could not be found, chained or started again without
    *("array", "chdir", "clusters", "dependency", "error", "help", "job-name", "kill-on-invalid-dep", "no-requeue"),
    *(
        "open-mode",
        "output",
        "parsable",
        "quiet",
        "requeue",
        "test-only",
        "usage",
        "version",
        "wait",
        "workdir",
        "wrap",
    ),
)


class SbatchError(UserError):
    """An option that cannot be passed on."""


def read_sbatch(value: object) -> dict[str, str | bool | None]:
    """Return options by their names as sbatch writes them: a text, True for a flag, None for one to be taken away."""
    if not isinstance(value, dict):
        raise SbatchError(f"sbatch is {repr(value)[:60]}, expected sbatch's long options, as {{exclude: n7}}")
    found: dict[str, str | bool | None] = {}
    for key, entry in value.items():
        name = str(key).replace("_", "-")
        _require_passable(name)
        if name in found:
            raise SbatchError(f"sbatch.{name} is given twice, with '-' and with '_'; leave one out")
        found[name] = _value(name, entry)
    return found


def asks_for_gpus(options: Mapping[str, str | int | bool]) -> bool:
    """Say whether options say how many GPUs a job gets, in whatever of sbatch's words."""
    return without_gpus(options) != options


def without_gpus(options: Mapping[str, str | int | bool]) -> dict[str, str | int | bool]:
    """Return the options without those that ask for GPUs: for a job that needs none."""
    kept: dict[str, str | int | bool] = {}
    for name, value in options.items():
        if name == "gres":
            others = [part for part in str(value).split(",") if not _is_gpu(part)]
            if others:
                kept[name] = ",".join(others)
        elif name != "gpus" and not name.startswith("gpus-per-"):
            kept[name] = value
    return kept


def _is_gpu(resource: str) -> bool:
    """Say whether one of `gres` is GPUs: gpu:2, gres/gpu:a100:2."""
    return resource.strip().removeprefix("gres/").split(":")[0].split("=")[0] == "gpu"


def _require_passable(name: str) -> None:
    """Raise SbatchError for what is no long option of sbatch by its form, and for what twinbench sets."""
    if not NAME.fullmatch(name):
        raise SbatchError(
            f"sbatch: {name[:60]!r} is no long option; expected its name without dashes in front, as {{mail-type: END}}"
        )
    meant = sorted(option for option in (*INSTEAD, *ITSELF) if option.startswith(name))
    if name in meant:
        meant = [name]
    if meant:
        told = f"use {INSTEAD[meant[0]]}" if meant[0] in INSTEAD else "leave it out"
        short = "" if meant[0] == name else f" is short for {meant[0]}, which"
        raise SbatchError(f"sbatch.{name}{short or ':'} twinbench sets itself; {told}")


def _value(name: str, value: object) -> str | bool | None:
    """Return the value of one option."""
    if value is None or value is True:
        return value
    if isinstance(value, int) and value is not False:
        return str(value)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or not value.isprintable() or "\\" in value:
        raise SbatchError(
            f"sbatch.{name} is {repr(value)[:60]}, expected a text on one line without a backslash, a whole number, "
            "true for a flag, or null to take it away"
        )
    return value
