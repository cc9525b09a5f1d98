"""What a suite may ask of the machines it runs on: the `cluster` of its file, over the site's own file.

A method, a protocol and the report may have a `cluster` of their own, over the suite's.

What is the same for all suites of a user (account, container, set-up lines) can stand once in
`~/.config/twinbench/cluster.yaml`, or in the file that TWINBENCH_CLUSTER names; a suite's own `cluster` goes first.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from twinbench.protocols.house import SettingError, UserError, with_settings
from twinbench.protocols.text import TextError
from twinbench.protocols.yaml_text import read_yaml

WORD = re.compile(
    r"[A-Za-z0-9._:,@&|()*\[\]-]{0,500}"
)  # what Slurm allows in names and constraints; stands in a script
COUNTS = ("gpus_per_node", "nodes", "max_running", "minutes", "cpus_per_gpu", "mem_gb_per_gpu", "signal_delay_s")
MOST = 1_000_000  # of anything: no cluster has more GPUs, and so many minutes are two years


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


def with_options(cluster: Cluster, options: object) -> Cluster:
    """Return `cluster` with the mapping `options` applied."""
    if not isinstance(options, dict):
        raise ClusterError(f"cluster: is {repr(options)[:60]}, expected options, as {{partition: gpu}}")
    options = dict(options)
    changes: dict[str, Any] = {}
    if "environment" in options:
        changes["environment"] = _environment(options.pop("environment"))
    if "setup" in options:
        changes["setup"] = _lines(options.pop("setup"))
    try:
        cluster = with_settings(cluster, options)
    except SettingError as error:
        raise ClusterError(f"cluster: {error}") from None
    for name in COUNTS:
        least = 1 if name in ("nodes", "minutes", "cpus_per_gpu") else 0
        if not least <= getattr(cluster, name) <= MOST:
            found = getattr(cluster, name)
            raise ClusterError(f"cluster: {name} is {found}, expected at least {least} and at most {MOST}")
    for name in ("partition", "account", "qos", "constraint"):
        if not WORD.fullmatch(getattr(cluster, name)):
            raise ClusterError(f"cluster: {name} is {getattr(cluster, name)[:60]!r}, expected one word without blanks")
    return replace(cluster, **changes)


def _environment(value: object) -> dict[str, str]:
    """Return the variables of `environment` as texts."""
    if not isinstance(value, dict) or not all(isinstance(name, str) and name.isidentifier() for name in value):
        raise ClusterError(f"cluster: environment is {repr(value)[:60]}, expected variables, as {{NAME: value}}")
    return {name: str(text) for name, text in value.items()}


def _lines(value: object) -> tuple[str, ...]:
    """Return the shell lines of `setup`."""
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise ClusterError(f"cluster: setup is {repr(value)[:60]}, expected a list of shell lines")
    return tuple(value)
