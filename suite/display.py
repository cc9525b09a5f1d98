"""What a running suite shows: a bar on a terminal, one line per ended job everywhere."""

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from twinbench.suite.graph import Job
from twinbench.suite.record import Record

INTERVAL = 1.0  # seconds between refreshes


class Display:
    """Speaks on stderr; stdout stays free for the answer."""

    def __init__(self, total: int, done: int):
        """Show `total` jobs, of which `done` were finished before."""
        self.interactive = sys.stderr.isatty()
        self.running: dict[str, Job] = {}
        self._bar = tqdm(total=total, initial=done, desc="suite", unit="job", disable=not self.interactive)
        self._ended, self._total = done, total

    def started(self, job: Job) -> None:
        """Show that a job has begun."""
        self.running[job.name] = job
        self.refresh()

    def finished(self, job: Job, record: Record) -> None:
        """Print one line on how a job ended."""
        self.running.pop(job.name, None)
        self._ended += 1
        seconds = f" in {record.ended - record.started:.0f} s" if record.started else ""
        reason = f": {record.reason}" if record.reason else ""
        line = f"{time.strftime('%H:%M:%S')} [{self._ended}/{self._total}] {record.state} {job.name}{seconds}{reason}"
        tqdm.write(line, file=sys.stderr)
        self._bar.update()
        self.refresh()

    def refresh(self) -> None:
        """Redraw the bar: the time runs on while jobs do."""
        self._bar.set_postfix_str(short_list(list(self.running)), refresh=True)

    def close(self) -> None:
        """Leave the terminal in order."""
        self._bar.close()


def short_list(names: Sequence[str], most: int = 3) -> str:
    """Return the first names and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
