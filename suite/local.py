"""The local runner: a suite's jobs as subprocesses on this machine, as many at once as it carries.

A GPU takes one job at a time; without GPUs the cores are shared out. A job that fails stops only those that need it.
However this process ends, its children end with it, and the same command goes on from what is finished. Ctrl-C and
SIGTERM let them save their state first; asked a second time, the runner does not wait for that.
"""

import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

from twinbench.suite import history
from twinbench.suite import record as records
from twinbench.suite.backbone import write_made
from twinbench.suite.child import bounded_threads, failure_reason, signal_group, start_logged, worker_environment
from twinbench.suite.display import INTERVAL, Display
from twinbench.suite.job import Job
from twinbench.suite.missing import missing_jobs
from twinbench.suite.record import Record

CANCELLED = "cancelled; `run` goes on from there"
CANCEL = "cancel"  # a file in a job's folder that asks a runner to stop it
GRACE_SECONDS = 30.0  # from SIGTERM to SIGKILL
POLL_SECONDS = 0.1  # between two looks at children that are to end
GB_PER_JOB = 2  # of memory, to bound how many jobs run at once where there is no GPU


@dataclass(frozen=True)
class Machine:
    """What jobs share. Each slot is a GPU, named as CUDA_VISIBLE_DEVICES does, or an empty name for a part of the
    cores."""

    slots: tuple[str, ...]
    cores: int

    def slots_for(self, job: Job) -> int:
        """Return how many slots a job takes: a pretraining takes all, others one for each of their processes.

        Without GPUs a pretraining takes as many as OMP_NUM_THREADS leaves it threads for.
        """
        wanted = max(1, job.gpus)
        if job.kind == "pretrain":
            of_threads = math.ceil(bounded_threads(self.cores) * len(self.slots) / self.cores)
            wanted = len(self.slots) if self.has_gpus else of_threads
        return min(wanted, len(self.slots))

    def processes_and_threads(self, job: Job) -> tuple[int, int]:
        """Return how many processes a job has here, one on each of its GPUs, and how many threads each of them."""
        slots = self.slots_for(job)
        processes = slots if self.has_gpus else 1
        share = self.cores * slots // len(self.slots) // processes
        return processes, bounded_threads(max(1, share))

    @property
    def has_gpus(self) -> bool:
        """True if slots are GPUs."""
        return any(self.slots)


def this_machine(parallel: int = 0) -> Machine:
    """Return this machine's slots; `parallel` (0: no bound) limits them."""
    cores = len(os.sched_getaffinity(0))
    gpus = _visible_gpus()
    if gpus:
        return Machine(gpus[: parallel or None], cores)
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Machine(("",) * (parallel or max(1, min(cores, int(memory_gb / GB_PER_JOB)))), cores)


def _visible_gpus() -> tuple[str, ...]:
    """Return the GPUs this process may use, without importing torch."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        names = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
        return tuple(name.strip() for name in names if name.strip() not in ("", "-1"))
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ()
    return tuple(str(index) for index, line in enumerate(listing.splitlines()) if line.startswith("GPU "))


Command = Callable[[Job, int, int], Sequence[str]]


def worker_command(job: Job, processes: int, threads: int) -> list[str]:
    """Return the command line of a job's process(es); loader workers where there are threads to spare."""
    words = ["--processes", str(processes)] if processes > 1 else []
    return [sys.executable, "-m", "twinbench.worker", *words, *job.argv, *loader_flags(job, threads)]


def loader_flags(job: Job, threads: int) -> list[str]:
    """Return `--workers` for commands that read images: none beside a single thread, at most 8."""
    return [] if job.kind in ("convert", "report") else ["--workers", str(min(threads, 8) if threads > 1 else 0)]


@dataclass
class _Running:
    """A job at work: its process, the slots it holds and the record of this run."""

    job: Job
    child: subprocess.Popen[bytes]
    slots: list[str]
    record: Record


class LocalRunner:
    """Runs jobs in their order, each when those it needs are done and slots are free."""

    def __init__(self, jobs: Sequence[Job], machine: Machine, display: Display, command: Command):
        """Take the jobs that are to run; those they need are among them or done already."""
        self.machine = machine
        self.display = display
        self.command = command
        self.waiting = {job.name: job for job in jobs}
        self.running: dict[str, _Running] = {}
        self.failed: dict[str, Record] = {}
        self.free = list(machine.slots)
        self._endings: queue.Queue[tuple[str, int]] = queue.Queue()
        for job in jobs:
            with suppress(OSError):
                (job.out / CANCEL).unlink()  # which was asked of another runner
        self._stop = _Stop()

    def run(self) -> dict[str, Record]:
        """Run everything that can run; return the records of the jobs that failed or are blocked, by name."""
        with self._stop:
            try:
                while self.waiting or self.running:
                    self._start_what_fits()
                    if self.running:
                        name, code = self._next_ending()
                        self._settle(self.running.pop(name), code)
            finally:
                self._stop_children()
        return self.failed

    def _start_what_fits(self) -> None:
        """Start ready jobs in order, up to the first for which there is no room, so that a wide one is not starved.

        What `cancel` asked of a job that waits is looked up when its turn comes: thousands may wait.
        """
        self._stop_cancelled()
        for job in list(self.waiting.values()):
            blocked = job.name not in self.waiting  # by one before it, which could not be started
            if blocked or any(name in self.waiting or name in self.running for name in (*job.needs, *job.after)):
                continue
            if (job.out / CANCEL).exists():
                (job.out / CANCEL).unlink()
                del self.waiting[job.name]
                self._fail(job, _ended("stopped", job, CANCELLED))
                continue
            if self.machine.slots_for(job) > len(self.free):
                return
            del self.waiting[job.name]
            try:
                self._start(job)
            except OSError as error:  # a folder closed to us, a full disk
                place = f"{error.filename}: " if error.filename else ""
                self._fail(job, _ended("failed", job, f"could not be started: {place}{error.strerror}"))

    def _start(self, job: Job) -> None:
        """Start a job's process on free slots; after an OSError they are free still."""
        slots = self.free[: self.machine.slots_for(job)]
        processes, threads = self.machine.processes_and_threads(job)
        environment = worker_environment(threads)
        if self.machine.has_gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(slots)
        argv = list(self.command(job, processes, threads))
        record = records.begin(job.out, job.identity, job.argv, gpus=len(slots) if self.machine.has_gpus else 0)
        child = start_logged(argv, job.out, environment)
        del self.free[: len(slots)]
        self.running[job.name] = _Running(job, child, slots, record)
        threading.Thread(target=lambda: self._endings.put((job.name, child.wait())), daemon=True).start()
        self.display.started(job)

    def _next_ending(self) -> tuple[str, int]:
        """Wait until a job ends; return its name and exit code.

        Never without a limit: a signal that arrives on the way into a wait is only seen when the wait is over.
        """
        while True:
            try:
                return self._endings.get(timeout=INTERVAL)
            except queue.Empty:
                self._stop_cancelled()
                self.display.refresh()

    def _stop_cancelled(self) -> None:
        """End the running jobs that `cancel` named."""
        for run in self.running.values():
            if (run.job.out / CANCEL).exists():
                signal_group(run.child, signal.SIGTERM)

    def _settle(self, run: _Running, code: int) -> None:
        """Record how a job ended, free its slots and block what needed it if it failed."""
        self.free += run.slots
        job = run.job
        if code == 0 and job.product.exists():
            if job.kind != "trial":
                write_made(job.out, job.parts())
            self.display.finished(job, records.end(job.out, run.record, "done"))
            history.remember(job.out, job.identity, *self.machine.processes_and_threads(job))
            return
        if (job.out / CANCEL).exists():
            (job.out / CANCEL).unlink()
            self._fail(job, records.end(job.out, run.record, "stopped", code, CANCELLED))
            return
        reason = failure_reason(job.out, code, job.product.name)
        self._fail(job, records.end(job.out, run.record, "failed", code, reason))

    def _fail(self, job: Job, failure: Record) -> None:
        """Tell that a job has failed, and take those that need it out of the queue; their folders say why."""
        self._give_up(job, failure)
        for other in [other for other in self.waiting.values() if job.name in other.needs]:
            del self.waiting[other.name]
            self._give_up(other, _ended("blocked", other, f"{job.name} failed: {failure.reason}"))

    def _give_up(self, job: Job, record: Record) -> None:
        """Keep and show why a job will not run."""
        with suppress(OSError):  # what kept it from starting may keep this from being written
            record.write(job.out)
        self.failed[job.name] = record
        self.display.finished(job, record)

    def _stop_children(self) -> None:
        """End what still runs: SIGTERM, upon which it saves its state, then SIGKILL for what has not gone in time, or
        as soon as somebody asks again."""
        self._stop.in_progress = True
        if self.running:
            self.display.stopping(list(self.running), GRACE_SECONDS)
        for run in self.running.values():
            signal_group(run.child, signal.SIGTERM)
        end = time.monotonic() + GRACE_SECONDS
        for run in self.running.values():
            while run.child.poll() is None:
                if self._stop.again or time.monotonic() > end:
                    signal_group(run.child, signal.SIGKILL)
                time.sleep(POLL_SECONDS)
            with suppress(OSError):  # the others are to be ended, too
                records.end(run.job.out, run.record, "stopped", run.child.returncode, "the suite was interrupted")
        self.running.clear()


def _ended(state: records.State, job: Job, reason: str) -> Record:
    """Return the record of a job that was never started."""
    return Record(state, job.identity, job.argv, reason, ended=time.time())


class _Stop:
    """Within its block Ctrl-C and SIGTERM raise KeyboardInterrupt, once; while jobs are being stopped they only set a
    flag, `again`."""

    def __init__(self) -> None:
        self.in_progress = self.again = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:  # a shell starts what goes to the background like that
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.in_progress:
            self.again = True
            return
        self.in_progress = True
        raise KeyboardInterrupt


def run_missing(jobs: Sequence[Job], parallel: int = 0) -> dict[str, Record]:
    """Run what is not done, in order; return the records of the jobs that failed or are blocked.

    A backbone that is gone is made again only if a trial still needs it.
    """
    missing = missing_jobs(jobs)
    display = Display(len(jobs), len(jobs) - len(missing))
    try:
        return LocalRunner(missing, this_machine(parallel), display, worker_command).run()
    finally:
        display.close()
