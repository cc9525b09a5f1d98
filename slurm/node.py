"""What a Slurm job does on its node: watch over the worker, which is a process of its own, and tell the files.

Slurm may start it any number of times (requeue, preemption, a dead node): it skips what is finished, and the worker
resumes from its own files. Nothing here holds state. Slurm warns the shell of `outside.sh`, which leaves word; a signal
that goes to the step reaches every process of it, the loaders too, so that here one only sets a flag.
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
from types import FrameType

import submitit

from twinbench.protocols.house import UserError, resolved
from twinbench.runtime.stopping import EXIT_CODE
from twinbench.slurm import outside, scheduler
from twinbench.slurm.ledger import FOLDER, TOP_UP_LOG
from twinbench.slurm.snapshot import require_code
from twinbench.suite import history
from twinbench.suite import record as records
from twinbench.suite.backbone import PRODUCT, write_made
from twinbench.suite.child import failure_reason, signal_group, start_logged, worker_environment
from twinbench.suite.record import read_record

PUT_BACK = "out of time or preempted; Slurm starts it again"
SAVE_SECONDS = 60  # for a worker to save its state; the cluster's signal_delay_s should be longer
LOOK_SECONDS = 0.5  # between two looks whether the shell was warned
FIRST_PORT, PORTS = 20_000, 40_000
TRIES, TRY_SECONDS = 6, 5.0  # at putting a job back; a controller that is started anew is away for some seconds
# Whoever needs more than one time limit from one checkpoint to the next never ends. Three such runs are no accident; a
# preemption may come early by chance, again and again.
MOST_OVERDUE, MOST_FRUITLESS = 3, 20
TOP_UP = "slurm.launch:top_up"  # by its name: what it submits is jobs of this file


class JobFailed(UserError):
    """The worker has failed; its log has the details."""


class NodeTask:
    """One job of a suite, as Slurm starts it. Its arguments are plain, and so outlive any change of our classes."""

    record: records.Record | None = None
    warned = False  # asked to make room
    terminated = False  # by a SIGTERM: perhaps preempted, perhaps cancelled

    def __call__(
        self,
        code: str,
        argv: Sequence[str],
        out: str,
        identity: str,
        product: str,
        threads: int,
        root: str,
        length: tuple[str, int],
        delay: int,
    ) -> None:
        """Run `twinbench *argv` with the code in `code`; JobFailed unless `product`, a path, is there afterwards.

        `root` is the suite's, `length` its job's, `delay` how many seconds before the time limit Slurm warns.
        """
        self.place = submitit.JobEnvironment()
        self.main = self.place.global_rank == 0
        self._take_signals()
        require_code(code)
        self.folder, self.product, self.identity = Path(out), Path(product), identity
        self.length, self.delay, self.threads = length, delay, threads
        self.folder.mkdir(parents=True, exist_ok=True)
        failure = "" if self._done_before() else self._work(argv, threads)
        if self.main:
            outside.tell("settled")
            _top_up(Path(root))
        if failure:
            raise JobFailed(f"{self.folder}: {failure}")

    def _take_signals(self) -> None:
        """From now on a signal only leaves word; tell the shell outside that its warnings are heard, too."""

        def note_warning(number: int, frame: FrameType | None) -> None:
            self.warned = True

        def note_end(number: int, frame: FrameType | None) -> None:
            self.terminated = True

        signal.signal(signal.SIGUSR2, note_warning)
        signal.signal(signal.SIGTERM, note_end)
        if self.main:
            outside.tell("ready")

    def _done_before(self) -> bool:
        """Say whether the job had taken its last step when it was put back in the queue."""
        before = read_record(self.folder)
        if not self.product.exists() or (before and before.identity != self.identity):
            return False
        if before and before.state != "done" and self.main:
            self._write_made()
            replace(before, state="done", reason="").write(self.folder)
        return True

    def _work(self, argv: Sequence[str], threads: int) -> str:
        """Run the worker; return why it failed, if it did. A job that is put back in the queue does not come back."""
        if self.main:
            gpus, node = _gpus(self.place), os.environ.get("SLURM_JOB_NODELIST", "")
            self.record = records.begin(self.folder, self.identity, argv, gpus, scheduler.own_id(), node, self.length)
            if futile := _futile(self.record):
                records.end(self.folder, self.record, "failed", reason=futile, cause="fruitless")
                return futile
        environment = {**worker_environment(threads), **_group(self.place)}
        log = records.LOG if self.main else f"job.{self.place.global_rank}.log"
        # A signal to the step is for us: a worker without a handler would die of it, so it inherits it blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        child = start_logged([sys.executable, "-m", "twinbench.worker", *argv], self.folder, environment, log)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        return self._settle(self._watch(child))

    def _watch(self, child: subprocess.Popen[bytes]) -> int:
        """Return the worker's exit code. Once warned, end it: it saves what it can."""
        while not self._is_warned():
            try:
                return child.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        signal_group(child, signal.SIGTERM)
        try:
            return child.wait(SAVE_SECONDS)
        except subprocess.TimeoutExpired:
            signal_group(child, signal.SIGKILL)
            return child.wait()

    def _is_warned(self) -> bool:
        """Say whether the job should make room. Of several tasks the first one decides: their workers agree."""
        self.warned = self.main and (self.warned or outside.told("warned") is not None)
        return self.warned

    def _settle(self, code: int) -> str:
        """Record how the worker ended; return why it failed, if it did."""
        if code == 0 and (self.product.exists() or not self.main):
            if self.record:
                self._write_made()
                records.end(self.folder, self.record, "done")
                history.remember(self.folder, self.identity, self.place.num_tasks, self.threads)
            return ""
        self._await_slurm(code)
        if not self.record:
            rank = self.place.global_rank
            said = records.last_line(self.folder / f"job.{rank}.log")
            reason = f"process {rank} ended with exit code {code}: {said}"
            outside.tell("settled", reason)
            return reason
        reason = failure_reason(self.folder, code, self.product.name)
        if self.warned or self.terminated or code in (EXIT_CODE, -signal.SIGTERM):
            # srun ends all tasks when one has failed, by the signal that preempts
            failed = None if self.warned else outside.told("settled")
            if failed is None:
                return self._put_back(self.record, code, reason)
            reason = failed
        records.end(self.folder, self.record, "failed", code, reason, records.cause_of(self.folder, code))
        return reason

    def _await_slurm(self, code: int) -> None:
        """Wait where a worker was ended by somebody else: Slurm ends the whole step now, or has a word for us."""
        if code in (EXIT_CODE, -signal.SIGTERM, -signal.SIGKILL):
            end = time.monotonic() + (5 if self.main else 60)
            while time.monotonic() < end and not (self.main and (self.terminated or self._is_warned())):
                time.sleep(0.1)

    def _write_made(self) -> None:
        """Write down what a backbone's job has made."""
        if self.product.name == PRODUCT:
            write_made(self.folder, json.loads(self.identity))

    def _put_back(self, record: records.Record, code: int, reason: str) -> str:
        """Have Slurm start this job again, and end. Return why it does not: the job got no further too often, or Slurm
        can't be asked. One that is ending anyway, as when it is cancelled, has failed and nothing follows from it.

        Nobody else does it where a site preempts by cancelling, or where the job ends within its grace time, which
        counts as its failure.
        """
        failure = reason
        for left in reversed(range(TRIES)):
            try:
                state, late = self._standing()
                if state != "RUNNING":
                    records.end(self.folder, record, "stopped", code, reason)
                    raise JobFailed(f"{self.folder}: {reason}")
                told = records.counted(self.folder, record, self.length, overdue=late)
                if futile := _futile(told):
                    records.end(self.folder, told, "failed", code, futile, "fruitless")
                    return futile
                records.end(self.folder, told, "stopped", code, PUT_BACK)
                scheduler.ask("scontrol", "requeue", scheduler.own_id())
                raise SystemExit(EXIT_CODE)
            except scheduler.SchedulerError as error:
                failure = f"{reason}, and could not be put back in the queue: {error}"
                if left:
                    time.sleep(TRY_SECONDS)
        records.end(self.folder, record, "failed", code, failure)
        return failure

    def _standing(self) -> tuple[str, bool]:
        """Return the job's state as Slurm sees it, and whether its time is over; a preemption does not shorten that."""
        said = scheduler.ask("squeue", "--noheader", f"--jobs={scheduler.own_id()}", "--format=%T|%L")
        state, _, left = said[0].partition("|") if said else ("", "", "")
        try:
            return state, scheduler.minutes_of(left) * 60 <= self.delay + outside.EARLY_SECONDS
        except ValueError:
            return state, False  # `NOT_SET`, and the like


def _futile(record: records.Record) -> str:
    """Say why a job should not be started again, if so."""
    if record.overdue >= MOST_OVERDUE:
        return (
            f"ran out of time {record.overdue} times in a row and got no further: it needs more time from one "
            "checkpoint to the next; raise minutes"
        )
    if record.fruitless >= MOST_FRUITLESS:
        return (
            f"was interrupted {record.fruitless} times in a row and got no further; raise minutes, or choose a "
            "partition that interrupts it less often"
        )
    return ""


def _top_up(root: Path) -> None:
    """Have the suite's next jobs submitted; what goes wrong there is not this job's failure."""
    try:
        resolved(TOP_UP)(root)
    except Exception as error:
        with (root / FOLDER / TOP_UP_LOG).open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} job {scheduler.own_id()}: {error!r}\n")


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


def _gpus(place: submitit.JobEnvironment) -> int:
    """Return how many GPUs the whole job holds."""
    return place.num_tasks if os.environ.get("CUDA_VISIBLE_DEVICES") else 0
