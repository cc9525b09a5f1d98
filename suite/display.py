"""What a running suite shows: a bar on a terminal, elsewhere a line a minute, and one for each job's start and end."""

import os
import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from twinbench.runtime.duration import duration
from twinbench.suite.advance import advance
from twinbench.suite.job import Job
from twinbench.suite.record import Record

INTERVAL = 0.5  # seconds between two looks at what has ended, or was asked
BAR_SECONDS = 2.0  # between two readings of the running jobs' logs, on a terminal
LINE_SECONDS = 60.0  # between two lines on them where there is none


class Display:
    """Speaks on stderr; stdout stays free for the answer."""

    def __init__(self, total: int, done: int):
        """Show `total` jobs, of which `done` were finished before."""
        self.interactive = has_screen()
        self.running: dict[str, Job] = {}
        self._bar = tqdm(total=total, initial=done, desc="suite", unit="job", disable=not self.interactive)
        self._ended, self._total = done, total
        self._seconds = BAR_SECONDS if self.interactive else LINE_SECONDS
        self._told = time.monotonic()

    def started(self, job: Job) -> None:
        """Print that a job has begun."""
        self.running[job.name] = job
        self._say(f"started {job.name}")
        self._show()

    def finished(self, job: Job, record: Record) -> None:
        """Print one line on how a job ended."""
        self.running.pop(job.name, None)
        self._bar.set_postfix_str(self._progress(), refresh=False)  # the bar is drawn again with each line
        self._ended += 1
        seconds = f" in {record.ended - record.started:.0f} s" if record.started else ""
        reason = f": {record.reason}" if record.reason else ""
        self._say(f"{record.state} {job.name}{seconds}{reason}")
        self._bar.update()
        self._show()

    def stopping(self, names: Sequence[str], seconds: float) -> None:
        """Print that jobs are being ended, and how long that may take."""
        self._say(
            f"stopping {short_list(names)}: state is being saved, which may take {duration(seconds)}; "
            "Ctrl-C again ends them at once, and what they did since they last saved is lost"
        )

    def refresh(self) -> None:
        """Show how far the running jobs have come, now and then."""
        if time.monotonic() - self._told < self._seconds:
            return
        self._told = time.monotonic()
        if self.interactive:
            self._show()
        elif self.running:
            self._say(f"running {self._progress()}")

    def close(self) -> None:
        """Leave the terminal in order."""
        self._bar.close()

    def _say(self, text: str) -> None:
        """Print a line above the bar."""
        tqdm.write(f"{time.strftime('%H:%M:%S')} [{self._ended}/{self._total}] {text}", file=sys.stderr)
        sys.stderr.flush()

    def _show(self) -> None:
        """Redraw the bar: the time runs on while jobs do."""
        if self.interactive:
            self._bar.set_postfix_str(self._progress(), refresh=True)

    def _progress(self) -> str:
        """Return the running jobs, each with how far it has come and how long it has to go."""
        told: list[str] = []
        for name, job in self.running.items():
            far = advance(job.out / "log.jsonl", *job.length)
            told.append(f"{name} {far}" if far else name)
        return short_list(told)


def has_screen() -> bool:
    """Say whether stderr is a terminal that shows a bar: those that containers and logs make up have no size."""
    try:
        return sys.stderr.isatty() and 0 not in os.get_terminal_size(sys.stderr.fileno())
    except OSError:  # it does not tell
        return True


def short_list(names: Sequence[str], most: int = 3) -> str:
    """Return the first names and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
