"""The table of two thousand results: CPU seconds of each format, beside what parsing the same files as JSON takes.

72 methods on 7 protocols with 4 seeds, each with curves and details as the rooms write them. The ratio carries over to
other machines, seconds do not.
"""

import json
import tempfile
import time
from pathlib import Path
from random import Random

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.schema import Protocol
from twinbench.report.beside import Options
from twinbench.report.command import TABLES, render
from twinbench.report.files import find
from twinbench.report.result import Result
from twinbench.report.table import build

METHODS, SEEDS = 72, 4
MOST_TIMES_JSON = 12.0  # all six formats together, reading included: 3 s where parsing takes 0.25


def write_results(root: Path) -> Path:
    """Write the results of a suite below `root` and return it."""
    noise = Random(0)
    protocols = [entry for name, entry in PROTOCOLS.items() if not name.startswith("demo-")][:7]
    for number in range(METHODS * len(protocols) * SEEDS):
        method, rest = divmod(number, len(protocols) * SEEDS)
        protocol, seed = protocols[rest // SEEDS], rest % SEEDS
        value = 40 + method / 3 + noise.gauss(0, 0.5)
        result = typical_result(protocol, f"method-{method:02}", seed, value, f"{method:064}")
        folder = root / result.method / protocol.name / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(vars(result)))  # Result.write would wait for the disk
    return root


def typical_result(protocol: Protocol, method: str, seed: int, value: float, backbone: str) -> Result:
    """Return a result with curves and details as the rooms write them."""
    return Result(
        protocol=protocol.name,
        version=protocol.version,
        fingerprint=protocol.fingerprint,
        method=method,
        seed=seed,
        metrics={protocol.metric: value} | {name: 30.0 for name in protocol.also},
        headline=protocol.metric,
        backbone_sha256=backbone,
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


def main() -> bool:
    """Print the seconds of each step and the ratio; return whether the target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        root = write_results(Path(folder))
        files = list(root.rglob("result.json"))
        started = time.process_time()
        for file in files:
            json.loads(file.read_text())
        plain = time.process_time() - started
        print(f"report: {len(files)} results; parsing them as JSON {plain:.2f} s")
        started = time.process_time()
        table = build(find([root]), Options(published=True, baseline="method-00"))
        whole = time.process_time() - started
        print(f"  read and tabled   {whole:5.2f} s")
        for form in TABLES:
            started = time.process_time()
            render(table, form, "all", to_file=True)
            seconds = time.process_time() - started
            whole += seconds
            print(f"  {form:17} {seconds:5.2f} s")
    ratio = whole / plain
    print(f"  all together      {whole:5.2f} s, {ratio:.1f} times the parsing (target {MOST_TIMES_JSON:g})")
    return ratio > MOST_TIMES_JSON
