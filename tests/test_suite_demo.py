"""The whole pipeline once, at the smallest sizes, through every room: the one end-to-end test."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from twinbench.report.result import read_results

ROOT = Path(__file__).parent.parent
# The command with sizes at which its numbers mean nothing, and detection, too.
TINY = """
import sys
import twinbench
from twinbench.suite import demo

demo.QUICK_SCALE = 0.04
demo.QUICK_PRETRAINING = {"epochs": 1, "batch_size": 32, "projector": [32, 32], "crop": 32}
demo.QUICK_PROTOCOLS = {
    "demo-imagenet-knn": {"partial": True},
    "demo-voc07-svm": {"partial": True, "seeds": 1, "set": {"costs": [0.1, 1.0], "folds": 2}},
    "demo-imagenet-1pct": {"partial": True, "seeds": 1, "set": {"epochs": 1}},
    "demo-voc0712-frcnn-c4": {"seeds": 1, "set": {"iterations": 2, "steps": [1], "precise_bn_iterations": 1}},
    "demo-coco-mrcnn-c4-1x": {"seeds": 1, "set": {"iterations": 2, "steps": [1], "precise_bn_iterations": 1}},
}
demo.QUICK_DATA = demo.SUITE["data"]
sys.exit(twinbench.main(["demo", "quick", "--quick"]))
"""


def kill_after_first_result(command: list[str], demo: Path, environment: dict[str, str]) -> dict[Path, int]:
    """Start the demo, kill it without warning once it has results, and return them with their times."""
    run = subprocess.Popen(command, cwd=demo.parent, env=environment, stderr=subprocess.DEVNULL)
    # Not among the scenes, whose folders are renamed while one looks.
    methods = [demo / "barlow-twins", demo / "random"]
    while run.poll() is None and not any(list(method.rglob("result.json")) for method in methods):
        time.sleep(0.1)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    return {path: path.stat().st_mtime_ns for path in demo.rglob("result.json")}


def test_the_demo_makes_a_table_and_goes_on_where_it_was(tmp_path):
    command = [sys.executable, "-c", TINY]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    demo = tmp_path / "quick"
    kept = kill_after_first_result(command, demo, environment)
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # what was finished was not measured again
    results = read_results([demo])
    methods = {result.method for result in results}
    assert methods == {"barlow-twins", "random"}
    assert len(results) == 2 * 5
    assert {result.backbone_sha256 for result in results if result.method == "random"} != {
        result.backbone_sha256 for result in results if result.method == "barlow-twins"
    }
    assert all(0 <= value <= 100 for result in results for value in result.metrics.values())
    for word in ("barlow-twins", "random", "voc07-svm", "coco-mrcnn-c4-1x", f"page:     {demo / 'report.html'}"):
        assert word in run.stdout
    pictures = [demo / line.split()[1] for line in run.stdout.splitlines() if line.startswith("pictures:")]
    assert pictures
    assert all(list(folder.glob("*.png")) for folder in pictures)
    # the same command again, one trial lost: that one is measured again, to the same number, and nothing else
    lost = demo / "random/demo-imagenet-knn/seed0/result.json"
    before = json.loads(lost.read_text())["metrics"]
    lost.unlink()
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert [line.split()[2:4] for line in again.stderr.splitlines() if "] done " in line] == [
        ["done", "random/demo-imagenet-knn/seed0"]
    ]
    assert json.loads(lost.read_text())["metrics"] == before
