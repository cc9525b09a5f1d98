"""The suite's last job on Slurm: it goes on with the round while there is anything to do, and then writes the table."""

from pathlib import Path

from twinbench.protocols.house import UserError
from twinbench.slurm.launch import go_on, own_id, turn
from twinbench.suite.suite import read_suite


class ReportFailed(UserError):
    """The table could not be written."""


def steward(suite_file: Path) -> None:
    """Submit what is left of the suite or worth another try, with a steward after it; else write the table.

    What is missing in the table is said why.
    """
    suite = read_suite(suite_file)
    with turn(suite.root):
        more = go_on(suite, own_id())
    if more:
        return
    import twinbench

    if twinbench.main(["suite", "report", str(suite_file)]):
        raise ReportFailed(f"{suite_file}: the table could not be written; see above")
