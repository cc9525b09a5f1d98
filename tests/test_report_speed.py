"""Two thousand results in every format: seconds, memory and the size of the page are promises.

Seconds are the processor's: a busy machine answers later, but computes no more.
"""

import json
import os
import subprocess
import sys
import time
from random import Random

import pytest

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report.beside import Options
from twinbench.report.command import FORMATS, render
from twinbench.report.files import find
from twinbench.report.result import Result
from twinbench.report.table import build

METHODS, SEEDS = 72, 4


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """72 methods x 7 protocols x 4 seeds, each with curves and details as the rooms write them."""
    root = tmp_path_factory.mktemp("suite")
    noise = Random(0)
    protocols = [entry for name, entry in PROTOCOLS.items() if not name.startswith("demo-")][:7]
    for number in range(METHODS * len(protocols) * SEEDS):
        method, rest = divmod(number, len(protocols) * SEEDS)
        protocol, seed = protocols[rest // SEEDS], rest % SEEDS
        result = Result(
            protocol=protocol.name,
            version=protocol.version,
            fingerprint=protocol.fingerprint,
            method=f"method-{method:02}",
            seed=seed,
            metrics={protocol.metric: 40 + method / 3 + noise.gauss(0, 0.5)} | {name: 30.0 for name in protocol.also},
            headline=protocol.metric,
            backbone_sha256=f"{method:064}",
            architecture="resnet50",
            convention={"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "order": "rgb", "scale": 1.0},
            data="complete",
            data_sha256="d" * 64,
            precision="fp32",
            curves={name: [[i, 5 / (i + 1) + seed] for i in range(100)] for name in ("loss", "top1")},
            details={"per_class": {str(i): i / 7 for i in range(20)}},
            command=f"twinbench transfer {protocol.name} /models/{method}/resnet50.pth /data /suite --seed {seed}",
            versions={name: "1.2.3" for name in ("python", "torch", "torchvision", "numpy", "scikit-learn")},
            finished=f"2026-11-22T23:00:{seed:02}+00:00",
        )
        folder = root / result.method / protocol.name / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(vars(result)))  # Result.write would wait for the disk
    return root


# getrusage's peak would begin with that of the process that started this one; VmHWM begins anew with each program.
MEASURED = """
import sys, twinbench
code = twinbench.main(sys.argv[1:])
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("form", FORMATS)
def test_two_thousand_results(suite, form, tmp_path):
    out = tmp_path / "out"
    more = ["--published", "--baseline", "method-00"]
    command = [sys.executable, "-c", MEASURED, "report", str(suite), "--format", form, "--out", str(out), *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    peak_kb = int(process.stderr.read().split()[-1])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_utime + usage.ru_stime < 3
    assert peak_kb < 300 * 1024
    if form == "html":
        assert out.stat().st_size < 3_000_000


def test_every_format_together(suite):
    """Read once and written six times."""
    started = time.process_time()
    table = build(find([suite]), Options(published=True, baseline="method-00"))
    pages = {form: render(table, form, "all", to_file=True) for form in FORMATS}
    assert time.process_time() - started < 3
    assert all("method-71" in page for page in pages.values())
