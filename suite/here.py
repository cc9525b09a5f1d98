"""This machine as a launcher: jobs run at once, below the process that asks for them, and end with it."""

import os
import signal
import socket
from collections.abc import Collection, Sequence
from pathlib import Path

from twinbench.suite.job import Job
from twinbench.suite.launcher import Submission, View
from twinbench.suite.local import CANCEL, run_missing, this_machine
from twinbench.suite.lock import running_holder
from twinbench.suite.suite import Suite, SuiteError


class LocalLauncher:
    """Runs what is missing and waits for it. Files say all there is to know: it adds nothing to them."""

    name = "this machine"
    lag_seconds = 0.0

    def __init__(self, parallel: int = 0):
        """Run at most `parallel` jobs at once; 0: what the suite says, or as many as the machine takes."""
        self.parallel = parallel

    def available(self) -> bool:
        """Say that a machine is there."""
        return True

    def about(self) -> list[str]:
        """Tell how much it does at once."""
        return [f"{len(this_machine(self.parallel).slots)} jobs at once"]

    def problems(self, suite: Suite, jobs: Sequence[Job]) -> list[str]:
        """Find nothing that the suite has not found itself."""
        return []

    def remarks(self, suite: Suite) -> list[str]:
        """Remark nothing."""
        return []

    def scripts(self, suite: Suite, jobs: Sequence[Job]) -> list[str]:
        """Write no scripts."""
        return []

    def submit(self, suite: Suite, jobs: Sequence[Job]) -> Submission:
        """Run what is missing to its end."""
        failed = run_missing(jobs, self.parallel or suite.cluster.max_running)
        return Submission(len(jobs), 1, failed)

    def look(self, suite: Suite, names: Sequence[str], *, fresh: bool = False) -> View:
        """Add nothing to the files."""
        return View()

    def active(self, suite: Suite) -> dict[str, str]:
        """Name none: whoever runs a suite here holds its lock."""
        return {}

    def cancel(self, suite: Suite, names: Collection[str] = ()) -> int:
        """Tell the process that runs the suite to stop, or by a file in their folders, to stop the named jobs.

        Return how many were told; SuiteError if all are to stop and the process is another machine's.
        """
        runner = running_holder(suite.root)
        if not runner:
            return 0
        for name in names:
            (suite.root / name).mkdir(parents=True, exist_ok=True)
            (suite.root / name / CANCEL).touch()
        if names:
            return len(names)
        if runner.host != socket.gethostname():
            raise SuiteError(f"{suite.root}: runs as process {runner.pid} on {runner.host}; cancel it there")
        os.kill(runner.pid, signal.SIGTERM)
        return 1

    def logs(self, suite: Suite, name: str) -> list[Path]:
        """Name none: a worker here begins at once, and all it says is in its folder."""
        return []
