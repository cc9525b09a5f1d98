"""A batch as sbatch gets it: submitit's script and pickles, with the size, the limits and the set-up that the suite
asks for, in the shell of `outside.sh`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit.core.utils import DelayedSubmission
from submitit.slurm.slurm import _make_sbatch_string

from twinbench.slurm import outside, scheduler
from twinbench.slurm.batches import Plan
from twinbench.slurm.ledger import FOLDER
from twinbench.slurm.node import NodeTask, run_steward
from twinbench.slurm.parameters import parameters, python_command
from twinbench.slurm.scheduler import SchedulerError
from twinbench.suite.job import Job
from twinbench.suite.local import loader_flags
from twinbench.suite.suite import Suite

SCRIPT = "submission.sh"  # in the batch's folder


def submit_trials(suite: Suite, plan: Plan, code: Path, name: str, dependency: str) -> str:
    """Submit a batch called `name` and return Slurm's id of it."""
    calls = [DelayedSubmission(NodeTask(), *task_arguments(suite, job, code)) for job in plan.jobs]
    return _submit(suite.root / FOLDER / name, script(suite, plan, code, name, dependency), calls)


def submit_report(suite: Suite, file: Path, code: Path, name: str, dependency: str, begin: str = "") -> str:
    """Submit the steward of the suite in `file`, not to start before `begin`, and return its id."""
    text = script(suite, None, code, name, dependency, begin)
    return _submit(suite.root / FOLDER / name, text, [DelayedSubmission(run_steward, str(code), str(file))])


def task_arguments(suite: Suite, job: Job, code: Path) -> tuple[Any, ...]:
    """Return what NodeTask takes, plain values all of them."""
    cluster = job.cluster
    argv = [*job.argv, *loader_flags(job, cluster.cpus_per_gpu)]
    product, root = str(job.product), str(suite.root)
    return (
        *(str(code), argv, str(job.out), job.identity, product, cluster.cpus_per_gpu),
        *(root, job.length, cluster.signal_delay_s),
    )


def script(suite: Suite, plan: Plan | None, code: Path, name: str, dependency: str, begin: str = "") -> str:
    """Return the text that sbatch gets for a batch; no plan: for the steward's."""
    job = plan.jobs[0] if plan else None
    cluster = job.cluster if job else suite.report
    folder = suite.root / FOLDER / name
    options = parameters(cluster, job, code, suite.root, name, dependency)
    setup = options.pop("setup")
    # only the shell is warned, see outside.sh
    options["additional_parameters"] |= {"signal": f"B:USR2@{cluster.signal_delay_s}"}
    if begin:
        options["additional_parameters"] |= {"begin": begin}
    if plan and len(plan.jobs) > 1:
        # all at once: how many there are is launch.py's
        options |= {"map_count": len(plan.jobs), "array_parallelism": len(plan.jobs)}
    start = f"{python_command(cluster)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    text = _make_sbatch_string(command=start, folder=folder, **options)
    header, command = text.split("\n# command\nexport SUBMITIT_EXECUTOR=slurm\n")
    late = options["time"] * 60 - cluster.signal_delay_s - outside.EARLY_SECONDS
    return outside.batch_script(header, setup, command.strip(), folder, code, late)


def _submit(folder: Path, text: str, calls: Sequence[DelayedSubmission]) -> str:
    """Submit calls, several as one array; SchedulerError with what sbatch said. All is there before sbatch is asked, so
    that whoever is killed meanwhile leaves whole jobs or none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index, call in enumerate(calls):
            call.dump(folder / f"{index}.pkl")
        (folder / SCRIPT).write_text(text)
    except OSError as error:
        raise SchedulerError(
            f"{error.filename or folder}: {error.strerror}; the suite's root must be a folder that this "
            "machine and every node can write to"
        ) from None
    try:
        said = scheduler.ask("sbatch", "--parsable", str(folder / SCRIPT))
    except SchedulerError as error:
        words = str(error).removeprefix("sbatch: ").replace("sbatch: error: ", "")
        kind = type(error)  # a full queue is another matter than a mistake
        raise kind(f"sbatch refused a batch: {words}; what was submitted before it stays, run again") from None
    return said[-1].partition(";")[0]  # of several clusters it says which
