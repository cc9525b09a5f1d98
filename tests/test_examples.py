"""The examples run as a user runs them: from a folder of one's own, against a clone that is not installed."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinbench.data.pixels.read import read_pixels
from twinbench.data.source import Source

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(folder: Path, *words: str) -> str:
    """Run Python with `words` in `folder` and return what it prints."""
    done = subprocess.run([sys.executable, *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first example ran."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "data").mkdir()  # of one's own, which must do no harm
    run(folder, str(EXAMPLES / "evaluate_a_module.py"))
    return folder


@pytest.fixture(scope="module")
def with_own_protocol(folder: Path) -> Path:
    """The same folder after a protocol of one's own."""
    words = ("transfer", "digits-mean", "random", "scenes/imagenet", "results/mean", "--workers", "0")
    run(folder, "-m", "twinbench", *words, "--protocols", str(EXAMPLES / "own_protocol.py"))
    return folder


def test_a_module_is_measured(folder):
    assert (folder / "results/mine/result.json").exists()


def test_a_script_that_is_started_again_finds_its_results(folder, monkeypatch, capsys):
    """In this process: that it starts in one of its own, the first start has shown."""
    before = (folder / "results/mine/result.json").stat()
    monkeypatch.chdir(folder)
    runpy.run_path(str(EXAMPLES / "evaluate_a_module.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "module:SmallNet-" in printed
    assert (folder / "results/mine/result.json").stat().st_mtime_ns == before.st_mtime_ns


def test_rows_come_from_results(with_own_protocol):
    printed = run(with_own_protocol, str(EXAMPLES / "table_from_results.py"), "results")
    rows = {tuple(line.split()[:3]) for line in printed.splitlines()}
    assert ("demo-imagenet-knn@digits", "top1-k20", "mine") in rows
    assert ("digits-mean", "top1", "random") in rows


def test_coco_s_things_become_masks_whose_classes_are_its_groups(scenes, tmp_path, monkeypatch):
    coco, out = scenes / "coco", tmp_path / "things"
    monkeypatch.setattr(sys, "argv", ["coco_masks.py", str(coco), str(out)])
    runpy.run_path(str(EXAMPLES / "coco_masks.py"), run_name="__main__")
    found = json.loads((coco / "annotations" / "instances_val2017.json").read_text())
    images = read_pixels("", Source.of(str(out)), "test")
    assert (len(images.paths), len(images.classes)) == (len(found["images"]), 13)
    for index, image in enumerate(sorted(found["images"], key=lambda image: image["file_name"])):
        things = [thing for thing in found["annotations"] if thing["image_id"] == image["id"]]
        shown = {255 if thing["iscrowd"] else thing["category_id"] for thing in things}
        numbers = np.asarray(Image.open(images.masks.one(index)))
        assert {0} | shown >= set(numbers.ravel().tolist()) > {0}
        assert set(np.unique(images.decode(images.masks.one(index)))) <= {0, 1, 2, 3, 255}  # ids to 10: three groups


def test_the_page_shows_the_protocol_of_the_example():
    page = (ROOT / "docs" / "your-own.md").read_text()
    assert f"```python\n{(EXAMPLES / 'own_protocol.py').read_text()}```" in page


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path):
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) < 55
