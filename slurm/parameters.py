"""What a job asks of sbatch, and what its shell does before the worker starts: both from its cluster options."""

import shlex
import sys
from pathlib import Path
from typing import Any

from twinbench.suite.cluster import Cluster
from twinbench.suite.graph import Job


def parameters(cluster: Cluster, job: Job | None, code: Path, root: Path, name: str, dependency: str) -> dict[str, Any]:
    """Return submitit's parameters for a job (None: the report): its size, its limits and its set-up."""
    gpus = min(job.gpus, cluster.gpus_per_node) if job else 0  # of one node
    nodes = -(-job.gpus // gpus) if job and gpus else 1
    tasks = max(1, gpus)
    more: dict[str, Any] = {"chdir": str(root), "requeue": True}
    if dependency:
        more["dependency"] = dependency
    if "afterok" in dependency:
        more["kill-on-invalid-dep"] = "yes"
    found: dict[str, Any] = {
        "job_name": name,
        "nodes": nodes,
        "ntasks_per_node": tasks,
        "cpus_per_task": cluster.cpus_per_gpu if job else 1,
        "gpus_per_node": gpus or None,
        "time": job.minutes if job else 60,
        "signal_delay_s": cluster.signal_delay_s,
        "stderr_to_stdout": True,
        "setup": setup_lines(cluster, code),
        "srun_args": ("--kill-on-bad-exit=1",) if nodes * tasks > 1 else (),
        "additional_parameters": more,
    }
    if cluster.mem_gb_per_gpu:
        found["mem"] = f"{cluster.mem_gb_per_gpu * tasks}GB"
    found |= {key: getattr(cluster, key) or None for key in ("partition", "account", "qos", "constraint")}
    return {key: value for key, value in found.items() if value not in (None, ())}


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
