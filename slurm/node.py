"""What a Slurm job does on its node: watch over the worker, which is a process of its own, and tell the files.

Slurm may start it any number of times (requeue, preemption, a dead node): it skips what is finished, and the worker
resumes from its own files. Nothing here holds state. The warning signal of submitit reaches every process of the job
step; a worker that were the same process would run submitit's handler in each of its loader processes.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import submitit
from submitit.helpers import DelayedSubmission

from twinbench.protocols.house import UserError, resolved
from twinbench.runtime.stopping import EXIT_CODE
from twinbench.slurm import scheduler
from twinbench.slurm.snapshot import require_code
from twinbench.suite import record as records
from twinbench.suite.backbone import PRODUCT, write_made
from twinbench.suite.child import failure_reason, signal_group, start_logged, worker_environment
from twinbench.suite.record import read_record

PUT_BACK = "out of time or preempted; Slurm starts it again"
SAVE_SECONDS = 60  # for a worker to save its state; the cluster's signal_delay_s should be longer
FIRST_PORT, PORTS = 20_000, 40_000


class JobFailed(UserError):
    """The worker has failed; its log has the details."""


class NodeTask(submitit.helpers.Checkpointable):
    """One job of a suite, as Slurm starts it. Its arguments are plain, and so outlive any change of our classes."""

    child: subprocess.Popen[bytes] | None = None
    record: records.Record | None = None

    def __call__(self, code: str, argv: Sequence[str], out: str, identity: str, product: str, threads: int) -> None:
        """Run `twinbench *argv` with the code in `code`; JobFailed unless `product`, a path, is there afterwards."""
        require_code(code)
        place = submitit.JobEnvironment()
        self.folder, self.main = Path(out), place.global_rank == 0
        self.folder.mkdir(parents=True, exist_ok=True)
        before = read_record(self.folder)
        if Path(product).exists() and (before is None or before.identity == identity):
            if before and before.state != "done" and self.main:
                self._write_made(product, identity)
                replace(before, state="done", reason="").write(self.folder)
            return  # requeued after its last step
        self.record = (
            records.begin(self.folder, identity, argv, gpus=_gpus(place), job_id=_slurm_id()) if self.main else None
        )
        environment = {**worker_environment(threads), **_group(place)}
        log = records.LOG if self.main else f"job.{place.global_rank}.log"
        # Slurm's warning is for us: a worker without a handler would die of it, so it inherits the signal blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        self.child = start_logged([sys.executable, "-m", "twinbench.worker", *argv], self.folder, environment, log)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        self._settle(self.child.wait(), product, identity)

    def checkpoint(self, *arguments: object) -> DelayedSubmission:
        """End the worker, which saves what it can, when time runs out or the job is preempted; ask to be requeued."""
        if self.child and self.child.returncode is None:
            signal_group(self.child, signal.SIGTERM)
            end = time.monotonic() + SAVE_SECONDS
            while _is_alive(self.child.pid) and time.monotonic() < end:
                time.sleep(0.05)  # no wait(): this is a signal handler, and below it stands wait() with its lock
            signal_group(self.child, signal.SIGKILL)
        if self.record:
            records.end(self.folder, self.record, "stopped", reason=PUT_BACK)
        return DelayedSubmission(NodeTask(), *arguments)

    def _settle(self, code: int, product: str, identity: str) -> None:
        """Record how the worker ended; raise unless it did what it should."""
        if code in (EXIT_CODE, -signal.SIGTERM, -signal.SIGKILL):
            time.sleep(5 if self.main else 60)  # Slurm ends the whole step now, or its warning is on the way
        if code == 0 and (Path(product).exists() or not self.main):
            if self.record:
                self._write_made(product, identity)
                records.end(self.folder, self.record, "done")
            return
        stopped = code in (EXIT_CODE, -signal.SIGTERM)
        reason = failure_reason(self.folder, code, Path(product).name)
        try:
            if self.record and stopped:
                self._put_back(self.record)
        except scheduler.SchedulerError as error:
            reason = f"{reason}, and could not be put back in the queue: {error}"
        if self.record:
            records.end(self.folder, self.record, "stopped" if stopped else "failed", code, reason)
        raise JobFailed(f"{self.folder}: {reason}")

    def _write_made(self, product: str, identity: str) -> None:
        """Write down what a backbone's job has made."""
        if Path(product).name == PRODUCT:
            write_made(self.folder, json.loads(identity))

    def _put_back(self, record: records.Record) -> None:
        """Have Slurm start this job again after a SIGTERM that no warning came with: where a site preempts like that, a
        job that ends in its grace time has failed. Return if the job is ending anyway, as when it is cancelled."""
        if scheduler.ask("squeue", "--noheader", f"--jobs={_slurm_id()}", "--format=%T") != ["RUNNING"]:
            return
        records.end(self.folder, record, "stopped", reason=PUT_BACK)
        scheduler.ask("scontrol", "requeue", _slurm_id())
        time.sleep(60)  # Slurm ends the whole step now


def run_steward(code: str, suite_file: str) -> None:
    """Look after the suite in `suite_file` when its other jobs have ended, see steward.py."""
    require_code(code)
    resolved("slurm.steward:steward")(Path(suite_file))  # by its path: it submits jobs, and so stands on this file


def _group(place: submitit.JobEnvironment) -> dict[str, str]:
    """Return what a process group of several tasks is described by; nothing for one task."""
    if place.num_tasks == 1:
        return {}
    return {
        "RANK": str(place.global_rank),
        "WORLD_SIZE": str(place.num_tasks),
        "LOCAL_RANK": str(place.local_rank),
        "MASTER_ADDR": place.hostnames[0] if place.num_nodes > 1 else "localhost",
        # neighbours in the queue have neighbouring ids, so jobs that share a node never share a port
        "MASTER_PORT": str(FIRST_PORT + int(os.environ["SLURM_JOB_ID"]) % PORTS),
    }


def _is_alive(pid: int) -> bool:
    """Say whether a child runs, without taking the exit code that somebody else waits for."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _slurm_id() -> str:
    """Return Slurm's id of this job, as squeue writes it."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def _gpus(place: submitit.JobEnvironment) -> int:
    """Return how many GPUs the whole job holds."""
    return place.num_tasks if os.environ.get("CUDA_VISIBLE_DEVICES") else 0
