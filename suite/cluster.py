"""What a suite may ask of the machines it runs on: the `cluster` of its file, over the site's own file.

A method, a protocol and the report may have a `cluster` of their own, over the suite's.

What is the same for all suites of a user (account, container, set-up lines) can stand once in
`~/.config/twinbench/cluster.yaml`, or in the file that TWINBENCH_CLUSTER names; a suite's own `cluster` goes first.
Maps (`environment`, `sbatch`, `retries`) are laid over each other key by key; null takes back what was said above.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from twinbench.protocols.house import SettingError, UserError, unknown, with_settings
from twinbench.protocols.text import TextError
from twinbench.protocols.yaml_text import read_yaml
from twinbench.suite.sbatch import SbatchError, read_sbatch

WORD = re.compile(
    r"[A-Za-z0-9._:,@&|()*\[\]-]{0,500}"
)  # what Slurm allows in names and constraints; stands in a script
GPU_TYPE = re.compile(r"|(?=.*[A-Za-z_])[A-Za-z0-9_.-]{1,60}")  # a number would be read as how many
COUNTS = ("gpus_per_node", "nodes", "max_running", "minutes", "cpus_per_gpu", "mem_gb_per_gpu", "signal_delay_s")
TEXTS = ("partition", "account", "qos", "constraint", "gpu_type", "container")
TRUTHS = ("check_disk",)
MOST = 1_000_000  # of anything: no cluster has more GPUs, and so many minutes are two years
REPORT_MINUTES = 60  # time limit of the job that writes the table, which takes ten seconds for 20,000 trials
RETRIES = {"node": 2, "memory": 1}  # a node that died; killed for memory
MOST_RETRIES = 10


class ClusterError(UserError):
    """A cluster option that does not exist or does not fit."""


@dataclass(frozen=True)
class Cluster:
    """How jobs run. Empty texts and zeros leave a choice to the site's defaults."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gpus_per_node: int = 1  # what one node has; a pretraining takes whole nodes
    gpu_type: str = ""  # as Slurm's gres calls it: a100
    nodes: int = 1  # of one pretraining
    cpus_per_gpu: int = 8
    mem_gb_per_gpu: int = 0
    minutes: int = 1440  # time limit of a job; one that needs longer is put back in the queue and resumes
    max_running: int = 0  # the suite's jobs at once; 0: as many as the machine takes
    signal_delay_s: int = 180  # warning before the time limit, seconds
    container: str = ""  # a command that the worker's command is appended to, as `apptainer exec --nv image.sif`
    setup: tuple[str, ...] = ()  # shell lines before each job; one that fails ends the job
    environment: Mapping[str, str] = field(default_factory=dict)
    check_disk: bool = True  # begin nothing where the disk is smaller than the estimate of what will be written
    sbatch: Mapping[str, str | int | bool] = field(default_factory=dict)  # passed on as they are, True for a flag
    retries: Mapping[str, int] = field(default_factory=lambda: dict(RETRIES))  # cause -> how often a job starts anew


MAPS = ("environment", "sbatch", "retries")  # an entry's are laid over the suite's


def read_cluster(options: object, *, site: bool = True) -> Cluster:
    """Return the options of a suite over those of the user's file; ClusterError names what does not fit.

    Without `site` (`site: false` in a suite file) they say all there is to say: a job does not depend on what lies in
    somebody's home.
    """
    if not site:
        return with_options(Cluster(), options)
    file = Path(os.environ.get("TWINBENCH_CLUSTER", "~/.config/twinbench/cluster.yaml")).expanduser()
    cluster = Cluster()
    if file.exists():
        try:
            cluster = with_options(cluster, read_yaml(file, "expected cluster options in YAML") or {})
        except ClusterError as error:
            raise ClusterError(f"{file}: {error}") from None
        except TextError as error:
            raise ClusterError(str(error)) from None
    elif "TWINBENCH_CLUSTER" in os.environ:
        raise ClusterError(f"TWINBENCH_CLUSTER={file}: there is no such file")
    return with_options(cluster, options)


def report_cluster(cluster: Cluster) -> Cluster:
    """Return what the report's own options are laid over: the suite's, but for a time limit that trials need."""
    return replace(cluster, minutes=REPORT_MINUTES)


def with_options(cluster: Cluster, options: object) -> Cluster:
    """Return `cluster` with the mapping `options` applied."""
    if not isinstance(options, dict):
        raise ClusterError(f"cluster: is {repr(options)[:60]}, expected options, as {{partition: gpu}}")
    default = Cluster()
    given: dict[Any, Any] = {}
    changes: dict[str, Any] = {}
    for name, value in options.items():
        if value is None and name in {entry.name for entry in fields(Cluster)}:
            changes[name] = getattr(default, name)
        elif name == "setup":
            changes[name] = _lines(value)
        elif name in MAPS:
            changes[name] = _over(getattr(cluster, name), _mapping(name, value))
        else:
            given[str(name)] = _plain(str(name), value)
    try:
        cluster = with_settings(cluster, given)
    except SettingError as error:
        raise ClusterError(f"cluster: {error}") from None
    _require_sane(cluster)
    return replace(cluster, **changes)


def _require_sane(cluster: Cluster) -> None:
    """Raise ClusterError for a count that nobody means and a text that would break a script."""
    for name in COUNTS:
        least = 1 if name in ("nodes", "minutes", "cpus_per_gpu") else 0
        if not least <= getattr(cluster, name) <= MOST:
            found = getattr(cluster, name)
            raise ClusterError(f"cluster: {name} is {found}, expected at least {least} and at most {MOST}")
    for name in ("partition", "account", "qos", "constraint"):
        if not WORD.fullmatch(getattr(cluster, name)):
            raise ClusterError(f"cluster: {name} is {getattr(cluster, name)[:60]!r}, expected one word without blanks")
    if not GPU_TYPE.fullmatch(cluster.gpu_type):
        raise ClusterError(f"cluster: gpu_type is {cluster.gpu_type[:60]!r}, expected the name of a type, as a100")
    if not cluster.container.isprintable():
        raise ClusterError(f"cluster: container is {cluster.container[:60]!r}, expected a command on one line")


def _plain(name: str, value: object) -> object:
    """Return a value that stands alone; YAML makes truths of `yes` and `on`, and texts would be made of lists."""
    if name in TEXTS and not isinstance(value, str | int | float) or isinstance(value, bool) and name not in TRUTHS:
        raise ClusterError(f"cluster: {name} is {repr(value)[:60]}, expected one value; put a text into quotes")
    return value


def _mapping(name: str, value: object) -> dict[str, Any]:
    """Return what a level says of one of MAPS, None for what it takes away."""
    match name:
        case "environment":
            return _environment(value)
        case "sbatch":
            try:
                return read_sbatch(value)
            except SbatchError as error:
                raise ClusterError(f"cluster: {error}") from None
        case _:
            return _retries(value)


def _over(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `before` with `changes` laid over it, sorted: equal options are written alike."""
    merged = {**before, **changes}
    return {key: merged[key] for key in sorted(merged) if merged[key] is not None}


def _environment(value: object) -> dict[str, str | None]:
    """Return the variables of `environment` as texts."""
    if not isinstance(value, dict) or not all(isinstance(name, str) and name.isidentifier() for name in value):
        raise ClusterError(f"cluster: environment is {repr(value)[:60]}, expected variables, as {{NAME: value}}")
    return {name: None if text is None else str(text) for name, text in value.items()}


def _retries(value: object) -> dict[str, int]:
    """Return how often a job starts anew, by cause."""
    if not isinstance(value, dict):
        raise ClusterError(f"cluster: retries is {repr(value)[:60]}, expected numbers, as {{node: 2, memory: 1}}")
    found: dict[str, int] = {}
    for cause, given in value.items():
        if cause not in RETRIES:
            raise ClusterError(f"cluster: retries: {unknown('cause', str(cause), RETRIES)}")
        times = RETRIES[cause] if given is None else given
        if isinstance(times, bool) or not isinstance(times, int) or not 0 <= times <= MOST_RETRIES:
            found_words = f"retries.{cause} is {repr(times)[:60]}"
            raise ClusterError(f"cluster: {found_words}, expected a whole number of at most {MOST_RETRIES}; 0: never")
        found[str(cause)] = times
    return found


def _lines(value: object) -> tuple[str, ...]:
    """Return the shell lines of `setup`."""
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise ClusterError(f"cluster: setup is {repr(value)[:60]}, expected a list of shell lines")
    return tuple(value)
