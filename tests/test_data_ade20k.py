"""ADE20K's layout: numbers from 1, 0 for no class, names in a list of their own."""

import json

import numpy as np
import pytest
from PIL import Image

import twinbench
from twinbench.data.errors import DataError
from twinbench.data.folders.own import sniff_layout
from twinbench.data.pixels.pairs import UNLABELLED, read_labels
from twinbench.data.pixels.read import read_pixels
from twinbench.data.source import Source

NAMES = ["wall", "building, edifice", *(f"thing {number}" for number in range(3, 151))]


@pytest.fixture
def ade(tmp_path):
    """Three training images and two of validation, whose masks show 0, 1 and 150."""
    root = tmp_path / "ADEChallengeData2016"
    for part, count in (("training", 3), ("validation", 2)):
        for folder in ("images", "annotations"):
            (root / folder / part).mkdir(parents=True)
        for number in range(count):
            name = f"ADE_{part}_{number:08}"
            Image.new("RGB", (6, 4)).save(root / "images" / part / f"{name}.jpg")
            mask = np.zeros((4, 6), np.uint8)
            mask[:, 2:4], mask[:, 4:] = 1, 150
            Image.fromarray(mask).save(root / "annotations" / part / f"{name}.png")
    lines = ["Idx\tRatio\tTrain\tVal\tName"] + [f"{n}\t0.1\t10\t2\t{name}" for n, name in enumerate(NAMES, 1)]
    (root / "objectInfo150.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def read(root, split="train"):
    return read_pixels("ade20k-pixels", Source.of(root), split)


def test_splits_are_the_folders_of_the_benchmark(ade):
    assert [len(read(ade, split).paths) for split in ("train", "test")] == [3, 2]
    assert len(read(ade / "ADEChallengeData2016").paths) == 3


def test_0_is_no_class_and_1_the_first(ade):
    found = read(ade)
    labels = read_labels(found.masks.one(0), found.decode)
    assert labels[0].tolist() == [UNLABELLED, UNLABELLED, 0, 0, 149, 149]


def test_classes_are_called_by_the_first_of_their_names(ade):
    classes = read(ade).classes
    assert len(classes) == 150
    assert classes[:2] == ("wall", "building")


def test_without_the_list_classes_are_numbers(ade):
    (ade / "ADEChallengeData2016" / "objectInfo150.txt").unlink()
    assert read(ade).classes[149] == "150"


def test_a_copy_is_known_by_its_list(ade):
    assert sniff_layout(ade / "ADEChallengeData2016", "segmentation") == "ade20k-pixels"


def test_a_number_above_150_is_told(ade):
    path = ade / "ADEChallengeData2016" / "annotations" / "training" / "ADE_training_00000001.png"
    Image.fromarray(np.full((4, 6), 151, np.uint8)).save(path)
    with pytest.raises(DataError, match="number 151 in a mask; expected 0 for no class, or 1 to 150"):
        read(ade).decode(path)


def test_a_list_of_other_classes_is_told(ade):
    (ade / "ADEChallengeData2016" / "objectInfo150.txt").write_text("Idx\tName\n1\twall\n")
    with pytest.raises(DataError, match=r"objectInfo150.txt: not the numbers 1 to 150; expected a number"):
        read(ade)


def test_a_folder_without_it_says_what_was_expected(tmp_path):
    with pytest.raises(
        DataError, match="no images/training beside annotations/training; expected ADEChallengeData2016"
    ):
        read(tmp_path)


def test_check_counts_it_and_decodes_each_mask(ade, capsys):
    assert twinbench.main(["data", "check", "ade20k", str(ade), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"train": 3, "val": 2, "classes": 150}
    assert found["expected"] == {"train": 20_210, "val": 2000, "classes": 150}
    path = ade / "ADEChallengeData2016" / "annotations" / "validation" / "ADE_validation_00000000.png"
    Image.fromarray(np.full((4, 6), 200, np.uint8)).save(path)
    assert twinbench.main(["data", "check", "ade20k", str(ade)]) == 2
    assert "number 200 in a mask" in capsys.readouterr().out
