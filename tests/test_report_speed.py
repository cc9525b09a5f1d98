"""Two thousand results in every format: memory and the size of the page. Seconds: `python -m benchmarks report`."""

import subprocess
import sys

import pytest

from benchmarks.report import write_results
from twinbench.report.beside import Options
from twinbench.report.command import TABLES, render
from twinbench.report.files import find
from twinbench.report.table import build


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """72 methods x 7 protocols x 4 seeds, each with curves and details as the rooms write them."""
    return write_results(tmp_path_factory.mktemp("suite"))


# getrusage's peak would begin with that of the process that started this one; VmHWM begins anew with each program.
MEASURED = """
import sys, twinbench
code = twinbench.main(sys.argv[1:])
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("form", TABLES)
def test_two_thousand_results(suite, form, tmp_path):
    out = tmp_path / "out"
    more = ["--published", "--baseline", "method-00"]
    command = [sys.executable, "-c", MEASURED, "report", str(suite), "--format", form, "--out", str(out), *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    peak_kb = int(process.stderr.read().split()[-1])
    assert process.wait() == 0
    assert peak_kb < 300 * 1024
    if form == "html":
        assert out.stat().st_size < 3_000_000


def test_every_format_together(suite):
    """Read once and written six times."""
    table = build(find([suite]), Options(published=True, baseline="method-00"))
    pages = {form: render(table, form, "all", to_file=True) for form in TABLES}
    assert all("method-71" in page for page in pages.values())
