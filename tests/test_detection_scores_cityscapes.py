"""Cityscapes' scores against the program of its authors, on made-up masks with groups, small objects and void."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask

from twinbench.data.objects.packed import Records
from twinbench.detection.evaluation.cityscapes import cityscapes_scores

CLASSES = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
NUMBERS = (24, 25, 26, 27, 28, 31, 32, 33)  # of the data set's labels
SIDE = 96
VOID = 4  # static: ignored


def coded(pixels: np.ndarray) -> dict[str, Any]:
    """Return the run lengths of a mask."""
    found: Any = mask.encode(np.asfortranarray(pixels, np.uint8))
    return {"size": [SIDE, SIDE], "counts": found["counts"].decode()}


def rectangle(rng: np.random.Generator) -> tuple[slice, slice]:
    """Return rows and columns of 5 to 40 pixels."""
    (height, width), at = rng.integers(5, 40, 2), rng.integers(0, SIDE - 40, 2)
    return slice(at[0], at[0] + height), slice(at[1], at[1] + width)


def truth(rng: np.random.Generator) -> np.ndarray:
    """Return a map of instances as the data set has them: label * 1000 + number, groups and void by their label."""
    pixels = np.full((SIDE, SIDE), 7, np.int32)
    for number in range(rng.integers(0, 9)):
        label = NUMBERS[rng.integers(4)]
        pixels[rectangle(rng)] = label if rng.random() < 0.2 else label * 1000 + number
    pixels[rectangle(rng)] = VOID
    return pixels


def record(pixels: np.ndarray, image: int) -> dict[str, Any]:
    """Return the record of a map of instances."""
    things: list[dict[str, Any]] = []
    for value in np.unique(pixels):
        label = int(value if value < 1000 else value // 1000)
        if label in NUMBERS:
            thing = {"category_id": NUMBERS.index(label), "iscrowd": int(value < 1000), "bbox": [0, 0, 1, 1]}
            things.append(thing | {"bbox_mode": 1, "segmentation": coded(pixels == value)})
    form = {"file_name": f"/{image}.png", "image_id": image, "width": SIDE, "height": SIDE, "annotations": things}
    return form | {"void": coded(pixels == VOID)}


def detections(pixels: np.ndarray, rng: np.random.Generator) -> list[tuple[int, float, np.ndarray]]:
    """Return class, score and mask of objects moved a little, some twice, of rectangles, and of nothing."""
    found: list[tuple[int, float, np.ndarray]] = []
    for value in np.unique(pixels[pixels >= 24]).tolist() * 2:
        moved = np.roll(pixels == value, tuple(rng.integers(-3, 4, 2)), (0, 1))
        found.append((NUMBERS.index(value if value < 1000 else value // 1000), round(rng.random(), 1), moved))
    for _ in range(4):
        made = np.zeros((SIDE, SIDE), bool)
        made[rectangle(rng)] = True
        found.append((int(rng.integers(5)), round(rng.random(), 1), made))
    return [*found, (0, 0.9, np.zeros((SIDE, SIDE), bool))]


def by_the_authors(folder: Path, maps: list[np.ndarray], found: list[Any], patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the averages of cityscapesScripts, from files as it wants them."""
    from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as program

    module: Any = program
    patch.setattr(module, "writeDict2JSON", lambda *_: None)  # cannot write today's numpy integers; only a cache
    args = module.args
    args.predictionPath, args.quiet, args.JSONOutput = str(folder), True, False
    args.gtInstancesFile = str(folder / "gtInstances.json")
    truths, lists = list[str](), list[str]()
    for image, (pixels, those) in enumerate(zip(maps, found, strict=True)):
        path = folder / f"town_{image:06}_000000_gtFine_instanceIds.png"
        Image.fromarray(pixels.astype(np.uint16)).save(path)
        truths.append(str(path))
        lines: list[str] = []
        for number, (label, score, made) in enumerate(those):
            name = f"{image}_{number}.png"
            Image.fromarray(made.astype(np.uint8) * 255).save(folder / name)
            lines.append(f"{name} {NUMBERS[label]} {score}\n")
        (folder / f"{image}.txt").write_text("".join(lines))
        lists.append(str(folder / f"{image}.txt"))
    return module.evaluateImgLists(lists, truths, args)["averages"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(8))
def test_each_number_is_that_of_the_authors_program(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SimpleNamespace(Quaternion=None)  # of boxes in space, which nobody asks for here
    monkeypatch.setitem(sys.modules, "pyquaternion", stand_in)
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # gone from numpy since the program was written
    rng = np.random.default_rng(seed)
    maps = [truth(rng) for _ in range(6)]
    found = [detections(pixels, rng) for pixels in maps]
    expected = by_the_authors(tmp_path, maps, found, monkeypatch)
    records = Records.of([record(pixels, image) for image, pixels in enumerate(maps)])
    predictions = [
        [{"category_id": label, "score": score, "segmentation": coded(made)} for label, score, made in those]
        for those in found
    ]
    scores = cityscapes_scores(records, predictions, CLASSES)
    wanted = {"mask-AP": 100 * expected["allAp"], "mask-AP50": 100 * expected["allAp50%"]}
    assert scores.metrics == pytest.approx(wanted, abs=1e-9)
    each = {name: 100 * what["ap"] for name, what in expected["classes"].items() if not math.isnan(what["ap"])}
    assert scores.per_class["mask-AP"] == pytest.approx(each, abs=1e-9)


def test_a_detector_that_found_nothing_is_told() -> None:
    pixels = truth(np.random.default_rng(0))
    scores = cityscapes_scores(Records.of([record(pixels, 1)]), [[]], CLASSES)
    assert "no mask was detected at all: AP is 0" in scores.notes


def test_a_detector_that_found_something_is_not() -> None:
    pixels = np.full((SIDE, SIDE), 7, np.int32)
    pixels[:40, :40] = 24_000
    found = {"category_id": 0, "bbox": [0.0, 0.0, 40.0, 40.0], "score": 1.0, "segmentation": coded(pixels == 24_000)}
    scores = cityscapes_scores(Records.of([record(pixels, 1)]), [[found]], CLASSES)
    assert not any("at all" in note for note in scores.notes)
