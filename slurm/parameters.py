"""What a job asks of sbatch, and what its shell does before the worker starts: both from its cluster options."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinbench.slurm import scheduler
from twinbench.suite.cluster import REPORT_MINUTES, Cluster
from twinbench.suite.job import Job
from twinbench.suite.sbatch import asks_for_gpus, without_gpus


@dataclass(frozen=True)
class Size:
    """How many nodes a job takes, and of each how many processes and GPUs."""

    nodes: int
    tasks: int
    gpus: int


def is_report(job: Job | None) -> bool:
    """Say whether a job writes the table."""
    return job is None or job.kind == "report"


def size_of(cluster: Cluster, job: Job | None) -> Size:
    """Return the size of a job (None: the report). On nodes without GPUs its processes share one."""
    if not job or not job.gpus:
        return Size(1, 1, 0)
    if not cluster.gpus_per_node:
        return Size(1, job.gpus, 0)
    gpus = min(job.gpus, cluster.gpus_per_node)
    return Size(-(-job.gpus // gpus), gpus, gpus)


def parameters(cluster: Cluster, job: Job | None, code: Path, root: Path, name: str, dependency: str) -> dict[str, Any]:
    """Return submitit's parameters for a job (None: the report): its size, its limits and its set-up."""
    size = size_of(cluster, job)
    more = gpu_options(cluster, size) | {"chdir": str(root), "requeue": True}
    if dependency:
        more["dependency"] = dependency
    if "afterok" in dependency:
        more["kill-on-invalid-dep"] = "yes"
    found: dict[str, Any] = {
        "job_name": name,
        "nodes": size.nodes,
        "ntasks_per_node": size.tasks,
        "cpus_per_task": 1 if is_report(job) else cluster.cpus_per_gpu,
        "time": job.minutes if job and not is_report(job) else report_minutes(cluster, _partitions()),
        "signal_delay_s": cluster.signal_delay_s,
        "stderr_to_stdout": True,
        "setup": setup_lines(cluster, code),
        "srun_args": ("--kill-on-bad-exit=1",) if size.nodes * size.tasks > 1 else (),
        "additional_parameters": more,
    }
    if cluster.mem_gb_per_gpu:
        found["mem"] = f"{cluster.mem_gb_per_gpu * size.tasks}GB"
    found |= {key: getattr(cluster, key) or None for key in ("partition", "account", "qos", "constraint")}
    asked = {key: value for key, value in found.items() if value not in (None, ())}
    return asked | {"wckey": None}  # submitit's own is refused by sites that check them; `sbatch` may name one


def gpu_options(cluster: Cluster, size: Size) -> dict[str, Any]:
    """Return what is passed on to sbatch, with the GPUs of a node unless that says them in its own words."""
    if not size.gpus:
        return without_gpus(cluster.sbatch)
    options: dict[str, Any] = dict(cluster.sbatch)
    if not asks_for_gpus(options):
        options["gpus-per-node"] = f"{cluster.gpu_type}:{size.gpus}" if cluster.gpu_type else size.gpus
    return options


def report_minutes(cluster: Cluster, known: Mapping[str, scheduler.Partition]) -> int:
    """Return the time limit of the job that writes the table: what nobody chose is no more than its partition allows.

    Slurm would accept it and never start it: PartitionTimeLimit.
    """
    if cluster.minutes != REPORT_MINUTES:
        return cluster.minutes
    allowed = [known[name].minutes for name in partition_names(cluster) if name in known]
    return max(1, int(min([*allowed, cluster.minutes])))


def _partitions() -> dict[str, scheduler.Partition]:
    """Return what the cluster offers; nothing where nobody says."""
    try:
        return scheduler.partitions()
    except scheduler.SchedulerError:
        return {}


def partition_names(cluster: Cluster) -> list[str]:
    """Return the partitions that a job may run in; an empty name is the site's default."""
    return [name for name in cluster.partition.split(",") if name] or [""]


def setup_lines(cluster: Cluster, code: Path) -> list[str]:
    """Return the shell lines before a job's command; the first that fails ends the job."""
    variables = {**cluster.environment, "PYTHONSAFEPATH": "1"}
    return [
        "set -e",
        *cluster.setup,
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}",
        # srun of Slurm 22.05 and later does not take this over from sbatch
        "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",
        "set +e",
    ]


def python_command(cluster: Cluster) -> str:
    """Return the shell words that start Python on a node."""
    return f"{cluster.container} {shlex.quote(sys.executable)}".strip()
