"""The one end-to-end run: every room, from scenes to the table, killed in the middle and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from report.result import read_results
from slurm.demo import SUITE

ROOT = Path(__file__).resolve().parent.parent
CELLS = {(method, protocol) for method in SUITE["methods"] for protocol in SUITE["protocols"]}


def demo(folder: Path) -> subprocess.Popen:
    """Start the demo at its smallest sizes, in a session of its own so that it can be killed whole."""
    words = [sys.executable, "-m", "twinbench", "demo", str(folder), "--quick"]
    return subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finished(folder: Path) -> dict[Path, int]:
    """Return the results there are, with the time each was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}


@pytest.fixture(scope="module")
def killed_and_resumed(tmp_path_factory):
    """Kill the demo once two trials are measured, run it again; return its folder, its first results and its words."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    first = demo(folder)
    deadline = time.monotonic() + 300
    while len(finished(folder)) < 2 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    before = finished(folder)
    second = demo(folder)
    out, err = second.communicate(timeout=600)
    assert second.returncode == 0, err
    return folder, before, out


def test_every_cell_is_measured(killed_and_resumed):
    folder, _, _ = killed_and_resumed
    results = read_results([folder])
    assert {(result.method, result.protocol) for result in results} == CELLS
    assert all(result.backbone_sha256 and result.fingerprint and result.command for result in results)


def test_what_was_measured_before_the_kill_is_not_measured_again(killed_and_resumed):
    folder, before, _ = killed_and_resumed
    assert 2 <= len(before) < len(CELLS)
    after = finished(folder)
    assert {path: after[path] for path in before} == before


def test_both_methods_share_a_protocol_but_no_backbone(killed_and_resumed):
    results = read_results([killed_and_resumed[0]])
    assert len({(result.protocol, result.fingerprint) for result in results}) == len(SUITE["protocols"])
    backbones = {(result.method, result.backbone_sha256) for result in results}
    assert len(backbones) == 2 and len({sha256 for _, sha256 in backbones}) == 2


def test_it_ends_with_the_table_and_the_page(killed_and_resumed):
    folder, _, out = killed_and_resumed
    for word in ("barlow-twins", "random", "voc07-svm", "imagenet-knn", "frcnn-c4", "mrcnn-c4", "report.html"):
        assert word in out
    page = (folder / "report.html").read_text()
    assert "<svg" in page and "data:image/png;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_the_pictures_are_there(killed_and_resumed):
    pictures = list(killed_and_resumed[0].rglob("predictions.png"))
    assert len(pictures) == 4
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_again_changes_nothing(killed_and_resumed):
    folder, _, _ = killed_and_resumed
    before = finished(folder)
    again = demo(folder)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert finished(folder) == before
