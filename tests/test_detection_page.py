"""The page "Detection on your own data": its lines run, its Python runs, and its errors are what is said."""

import contextlib
import json
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest

import twinbench

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "your-boxes.md").read_text()


def block(language):
    """Return the only block of a language on the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    return found


def rows(heading):
    """Return the first cells of the table below a heading."""
    part = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("|")]
    return cells[2:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the page's lines ran."""
    folder = tmp_path_factory.mktemp("page")
    with contextlib.chdir(folder):
        for line in block("sh").splitlines():
            assert twinbench.main(shlex.split(line)[1:]) == 0, line
    return folder


def test_the_lines_lead_to_pictures(folder):
    images = json.loads((folder / "pictures/images.json").read_text())["images"]
    assert len(images) > 0
    assert all((folder / "pictures" / image["picture"]).exists() for image in images)


def test_detectron2_reads_the_files_as_the_page_says(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {}
    exec(
        block("python").replace("DefaultPredictor(config)", "DefaultPredictor(on_cpu(config))"),
        {"on_cpu": on_cpu},
        names,
    )
    found = names["predictor"](np.zeros((96, 96, 3), np.uint8))
    assert "instances" in found


def test_the_example_prints_and_draws_what_the_command_found(folder, monkeypatch, capsys):
    photograph = json.loads((folder / "pictures/images.json").read_text())["images"][0]
    found = json.loads((folder / "pictures/predictions.json").read_text())
    words = ["draw_a_detection.py", folder / "results/digits", folder / photograph["path"], folder / "found.png"]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    capsys.readouterr()
    runpy.run_path(str(ROOT / "examples/draw_a_detection.py"))
    printed = [line.split(" at ")[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == [f"{one['category']} {one['score']:.2f}" for one in found if one["image_id"] == photograph["id"]]
    assert (folder / "found.png").exists()


def on_cpu(config):
    config.MODEL.DEVICE = "cpu"
    return config


def test_every_file_of_a_trial_is_on_the_page(folder):
    named = {name for cell in rows("The files of a trial") for name in re.findall(r"`([^`]+)`", cell)}
    there = {path.name for path in (folder / "results/digits").iterdir() if path.is_file()}
    assert there == named


@pytest.mark.parametrize("words", rows("What is refused"))
def test_the_errors_on_the_page_are_those_of_the_code(words):
    """Numbers apart, which are of the moment: each part between them stands in a message of the readers."""
    code = "".join(path.read_text() for room in ("data", "detection") for path in sorted((ROOT / room).rglob("*.py")))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # a text over several lines
    code = re.sub(r"\{[^{}]*\}", "0", code)
    assert re.sub(r"\b(\d+|boxes)\b", "0", words) in re.sub(r"\b\d+\b", "0", code)
