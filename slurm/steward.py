"""The suite's last job on Slurm: it goes on with the round while there is anything to do, and then writes the table."""

import time
from pathlib import Path

from twinbench.protocols.house import UserError
from twinbench.slurm.launch import go_on, own_id, turn
from twinbench.slurm.scheduler import SchedulerError
from twinbench.suite.suite import Suite, read_suite

TRIES, TRY_SECONDS = 20, 30.0  # a controller may be away for some minutes


class ReportFailed(UserError):
    """The table could not be written."""


def steward(suite_file: Path) -> None:
    """Submit what is left of the suite or worth another try, with a steward after it; else write the table.

    What is missing in the table is said why.
    """
    suite = read_suite(suite_file)
    if _more_to_do(suite):
        return
    import twinbench

    if twinbench.main(["suite", "report", str(suite_file)]):
        raise ReportFailed(f"{suite_file}: the table could not be written; see above")


def _more_to_do(suite: Suite) -> bool:
    """Go on with the round; return whether there is anything left of it, and a steward after it."""
    for left in reversed(range(TRIES)):
        try:
            with turn(suite.root):
                return go_on(suite, own_id())
        except SchedulerError:
            if not left:
                raise
            time.sleep(TRY_SECONDS)
    raise AssertionError
