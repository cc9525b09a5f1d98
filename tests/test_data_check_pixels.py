"""What a check, a plan and a worker say of images with masks: one rule."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinbench.data.checking.checks import check
from twinbench.data.errors import DataError
from twinbench.data.required import require_fit
from twinbench.data.source import Source
from twinbench.protocols.catalogue import find_protocol
from twinbench.suite.expected import TrialData
from twinbench.suite.inputs import Inputs

PROTOCOL = find_protocol("demo-voc12aug-fcn-20k")


@pytest.fixture
def masks(scenes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scenes / "masks", tmp_path / "masks"))


def folder_of(masks: Path) -> Path:
    return next(masks.rglob("SegmentationClass"))


def test_masks_that_are_whole_are_no_problem(masks: Path) -> None:
    report = check("scenes-voc12aug-seg", masks, fast=True, processes=1)
    assert [problem for problem in report.problems if problem.kind != "counts"] == []


def test_every_problem_of_masks_is_listed(masks: Path) -> None:
    files = sorted(folder_of(masks).glob("*.png"))
    small, strange, coloured, missing = files[:4]
    pixels = np.asarray(Image.open(small))
    Image.fromarray(pixels[:-1]).save(small)
    Image.fromarray(np.full_like(pixels, 200)).save(strange)
    Image.fromarray(np.zeros((*pixels.shape, 3), np.uint8)).save(coloured)
    missing.unlink()
    (problem,) = [p for p in check("scenes-voc12aug-seg", masks, fast=True, processes=1).problems if p.kind == "masks"]
    assert problem.count == 4


def test_a_plan_reads_masks_as_the_worker_does(masks: Path) -> None:
    source = Source.of(str(masks))
    assert TrialData(PROTOCOL.data_set, "detection", Inputs())(source)
    require_fit(PROTOCOL, source, "", None, partial=False)
    with pytest.raises(DataError, match="11 classes, but voc12aug-fcn-20k@voc12-seg is about 21"):
        require_fit(find_protocol("voc12aug-fcn-20k@voc12-seg"), source, "", None, partial=False)
