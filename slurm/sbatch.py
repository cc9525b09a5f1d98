"""A batch as sbatch gets it: submitit's executor, with the size, the limits and the set-up that the suite asks for."""

import contextlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmExecutor

from twinbench.slurm.batches import Plan
from twinbench.slurm.node import NodeTask, run_steward
from twinbench.slurm.parameters import parameters, python_command
from twinbench.slurm.scheduler import FULL, QueueFull, SchedulerError
from twinbench.suite.graph import Job
from twinbench.suite.local import loader_flags
from twinbench.suite.suite import Suite

RESTARTS = 1000  # a job that runs out of time goes on as often as it needs


class Executor(SlurmExecutor):
    """submitit's, which refuses to be made where no srun is: `plan --scripts` shows what a login node would send."""

    @classmethod
    def affinity(cls) -> int:
        """Say that jobs can be sent; what is there was looked at before."""
        return 1


def submit_trials(suite: Suite, plan: Plan, code: Path, name: str, dependency: str) -> str:
    """Submit a batch called `name` and return Slurm's id of it."""
    executor = make_executor(suite, plan, code, name, dependency)
    calls = [(NodeTask(), *task_arguments(job, code)) for job in plan.jobs]
    return _submit(executor, calls)


def submit_report(suite: Suite, file: Path, code: Path, name: str, dependency: str, begin: str = "") -> str:
    """Submit the steward of the suite in `file`, not to start before `begin`, and return its id."""
    executor = make_executor(suite, None, code, name, dependency)
    if begin:
        executor.parameters["additional_parameters"]["begin"] = begin
    return _submit(executor, [(run_steward, str(code), str(file))])


def task_arguments(job: Job, code: Path) -> tuple[Any, ...]:
    """Return what NodeTask takes, plain values all of them."""
    argv = [*job.argv, *loader_flags(job, job.cluster.cpus_per_gpu)]
    return str(code), argv, str(job.out), job.identity, str(job.product), job.cluster.cpus_per_gpu


def make_executor(suite: Suite, plan: Plan | None, code: Path, name: str, dependency: str = "") -> Executor:
    """Return the executor of a batch; no plan: the report's."""
    job = plan.jobs[0] if plan else None
    cluster = job.cluster if job else suite.report
    executor = Executor(suite.root / "slurm" / name, RESTARTS, python=python_command(cluster))
    executor.update_parameters(**parameters(cluster, job, code, suite.root, name, dependency))
    if plan:
        executor.update_parameters(array_parallelism=len(plan.jobs))  # all at once: how many there are is launch.py's
    executor._throttling = 0.0  # submitit's pause of 0.2 s between submissions; a suite has few, and big ones
    return executor


def script(suite: Suite, plan: Plan, code: Path, name: str, dependency: str) -> str:
    """Return the text that sbatch would get."""
    executor = make_executor(suite, plan, code, name, dependency)
    if len(plan.jobs) > 1:
        executor.parameters["map_count"] = len(plan.jobs)
    return executor._make_submission_file_text(executor._submitit_command_str, name)


def _submit(executor: SlurmExecutor, calls: Sequence[tuple[Any, ...]]) -> str:
    """Submit calls, several as one array; SchedulerError with what sbatch said."""
    try:
        # what sbatch says goes into the message, not past it
        with contextlib.redirect_stderr(io.StringIO()), executor.batch():
            handles = [executor.submit(*call) for call in calls]
        return handles[0].job_id.partition("_")[0]
    except (FailedJobError, FailedSubmissionError) as error:
        said = [line.partition("sbatch: error: ")[2] for line in str(error).splitlines() if "sbatch: error: " in line]
        words = " / ".join(said) or " ".join(str(error).split())[-300:]
        kind = QueueFull if re.search(FULL, words) else SchedulerError
        raise kind(f"sbatch refused a batch: {words}; what was submitted before it stays, run again") from None
    except OSError as error:
        raise SchedulerError(
            f"{error.filename or executor.folder}: {error.strerror}; the suite's root must be a folder that this "
            "machine and every node can write to"
        ) from None
