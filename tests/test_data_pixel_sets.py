"""COCO-Stuff's and NYUv2's layouts: where images and masks lie, and what the numbers in a mask mean."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinbench
from twinbench.data.errors import DataError
from twinbench.data.folders.own import sniff_layout
from twinbench.data.identity import contents
from twinbench.data.pixels.coco_stuff import GROUPS
from twinbench.data.pixels.pairs import UNLABELLED, read_labels
from twinbench.data.pixels.read import read_pixels
from twinbench.data.pixels.split import PixelImages
from twinbench.data.source import Source

# PiCIE, fine_to_coarse_dict.pickle: the group of each number from 0 to 181
PICIE = """
9 11 11 11 11 11 11 11 11 8 8 8 8 8 8 7 7 7 7 7 7 7 7 7 7 6 6 6 6 6 6 6 6 10 10 10 10 10 10 10 10 10 10 5 5
5 5 5 5 5 5 2 2 2 2 2 2 2 2 2 2 3 3 3 3 3 3 3 3 3 3 0 0 0 0 0 0 1 1 1 1 1 1 4 4 4 4 4 4 4 4 17 17 22 20 20
22 15 25 16 13 12 12 17 17 23 15 15 17 15 21 15 25 13 13 13 13 13 22 26 14 14 15 22 21 21 24 20 22 15 17 16
15 22 24 21 17 25 16 21 17 22 16 21 21 25 21 26 21 24 20 17 14 21 26 15 23 20 21 24 15 24 22 25 15 20 17 17
22 14 18 18 18 18 18 18 18 26 26 19 19 24
"""
TAKEN_BACK = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)  # ids, "Removed from COCO": nightrome/cocostuff, labels.md
KEPT = [number for number in range(182) if number + 1 not in TAKEN_BACK]
SIDE = (6, 4)  # width, height


def pair(image: Path, mask: Path, numbers: list[int]) -> None:
    """Write an image and a mask, each of whose rows shows these numbers."""
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIDE).save(image)
    Image.fromarray(np.array([numbers] * SIDE[1], np.uint8)).save(mask)


def stuff(root: Path, images: str = "images/", masks: str = "annotations/") -> Path:
    for part in ("train2017", "val2017"):
        for name in ("000000000009", "000000000025"):
            shown = [0, 12, 91, 181, 255, 255]
            pair(root / f"{images}{part}/{name}.jpg", root / f"{masks}{part}/{name}.png", shown)
    return root


def nyu(root: Path, form: str) -> Path:
    for split, names in (("train", ("3", "1")), ("test", ("2",))):
        for name in names:
            image, mask = root / "RGB" / f"{name}.jpg", root / "Label" / f"{name}.png"
            if form == "split":
                image, mask = root / split / "rgb" / f"{name}.png", root / split / "labels_40" / f"{name}.png"
            pair(image, mask, [0, 1, 40, 40, 40, 40])
        if form == "listed":
            (root / f"{split}.txt").write_text("".join(f"RGB/{name}.jpg\tLabel/{name}.png\n" for name in names))
    return root


def read(layout: str, root: Path, split: str = "train") -> PixelImages:
    return read_pixels(layout, Source.of(str(root)), split)


def shown(images: PixelImages) -> list[int]:
    return read_labels(images.masks.one(0), images.decode)[0].tolist()


@pytest.mark.parametrize("images", ["images/", ""])
@pytest.mark.parametrize("masks", ["annotations/", "stuffthingmaps/"])
def test_coco_stuff_lies_as_mmsegmentation_has_it_or_as_it_unpacks(tmp_path: Path, images: str, masks: str) -> None:
    root = stuff(tmp_path, images, masks)
    assert sniff_layout(root, "segmentation") == "coco-stuff-pixels"
    found = read("coco-stuff-pixels", root, "test")
    assert [found.paths.name(0), found.masks.name(0)] == [
        f"{images}val2017/000000000009.jpg",
        f"{masks}val2017/000000000009.png",
    ]


def test_coco_stuff_s_numbers_are_counted_without_the_eleven_that_are_gone(tmp_path: Path) -> None:
    """MMSegmentation's coco_stuff164k.py: 12 becomes 11, 91 becomes 80, 181 becomes 170."""
    found = read("coco-stuff-pixels", stuff(tmp_path))
    assert shown(found) == [0, 11, 80, 170, UNLABELLED, UNLABELLED]
    names = [found.classes[place] for place in (0, 11, 80, 170)]  # ids 1, 13, 92 and 182 of labels.txt
    assert (len(found.classes), names) == (171, ["person", "stop sign", "banner", "wood"])


def test_every_number_is_in_its_group(tmp_path: Path) -> None:
    root = stuff(tmp_path)
    groups = [int(group) for group in PICIE.split()]
    path = tmp_path / "all.png"
    Image.fromarray(np.array([KEPT], np.uint8)).save(path)
    assert read("coco-stuff-pixels", root).decode(path)[0].tolist() == list(range(171))
    assert read("coco-stuff27-pixels", root).decode(path)[0].tolist() == [groups[number] for number in KEPT]


def test_groups_are_called_as_in_picie(tmp_path: Path) -> None:
    found = read("coco-stuff27-pixels", stuff(tmp_path))
    names = [GROUPS[place] for place in shown(found)[:4]]  # of person, stop sign, banner, wood
    assert names == ["person-things", "outdoor-things", "textile-stuff", "solid-stuff"]
    assert len(found.classes) == 27


def test_a_thing_that_coco_has_taken_back_is_told(tmp_path: Path) -> None:
    root = stuff(tmp_path)
    found = read("coco-stuff-pixels", root)
    Image.fromarray(np.full((4, 6), TAKEN_BACK[0] - 1, np.uint8)).save(found.masks.one(0))
    with pytest.raises(DataError, match="number 11 in a mask; expected 0 to 181 without the eleven"):
        found.decode(found.masks.one(0))


def test_coco_stuff_that_is_not_there_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images/val2017 or val2017 beside annotations/val2017 or stuffthingmaps/"):
        read("coco-stuff-pixels", tmp_path, "test")


def test_other_classes_of_its_masks_are_data_of_one_s_own(tmp_path: Path) -> None:
    root = stuff(tmp_path)
    (root / "labels.csv").write_text("0,person,0\n12,other,1\n91,other,1\n181,other,1\n")
    source = Source.of(f"{root}?train=train2017&test=val2017")
    assert sniff_layout(source, "segmentation") == "pixels"
    found = read_pixels("", source, "train")
    assert (found.classes, shown(found)[:4]) == (("person", "other"), [0, 1, 1, 1])


def test_the_same_masks_by_other_classes_are_other_data(tmp_path: Path) -> None:
    fine, coarse = (
        contents(layout, stuff(tmp_path), task="segmentation")
        for layout in ("coco-stuff-pixels", "coco-stuff27-pixels")
    )
    for split in ("train", "test"):
        assert fine[split].sha256 != coarse[split].sha256


@pytest.mark.parametrize(
    ("layout", "query", "option"),
    [
        ("coco-stuff-pixels", "train=a&test=b", "train"),
        ("nyuv2-pixels", "test=val", "test"),
        ("pixels", "classes=kept.txt", "classes"),
    ],
)
def test_an_option_that_a_layout_does_not_look_at_is_refused(
    tmp_path: Path, layout: str, query: str, option: str
) -> None:
    with pytest.raises(DataError, match=f"the layout {layout} does not look at {option}; expected it without; leave"):
        read_pixels(layout, Source.of(f"{tmp_path}?{query}"), "train")


@pytest.mark.parametrize("form", ["listed", "split"])
def test_nyuv2_is_read_in_both_of_its_forms(tmp_path: Path, form: str) -> None:
    root = nyu(tmp_path, form)
    assert sniff_layout(root, "segmentation") == "nyuv2-pixels"
    found = read("nyuv2-pixels", root)
    names = [path.stem for path in found.paths[:]]
    assert names == (["3", "1"] if form == "listed" else ["1", "3"])
    assert len(read("nyuv2-pixels", root, "test").paths) == 1


def test_nyuv2_counts_its_classes_from_1(tmp_path: Path) -> None:
    found = read("nyuv2-pixels", nyu(tmp_path, "listed"))
    assert shown(found) == [UNLABELLED, 0, 39, 39, 39, 39]
    assert (len(found.classes), found.classes[0], found.classes[39]) == (40, "wall", "otherprop")


def test_a_copy_that_counts_from_0_is_told(tmp_path: Path) -> None:
    found = read("nyuv2-pixels", nyu(tmp_path, "split"))
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save(found.masks.one(0))
    with pytest.raises(DataError, match="number 255 in a mask; expected 0 for no class, or 1 to 40"):
        found.decode(found.masks.one(0))


def test_nyuv2_that_is_not_there_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither RGB/ beside Label/ with test.txt, nor test/rgb beside test/labels_40"):
        read("nyuv2-pixels", tmp_path, "test")


@pytest.mark.parametrize(("name", "classes", "images"), [("coco-stuff", 171, 118_287), ("nyuv2", 40, 795)])
def test_a_check_counts_a_copy_and_tells_of_masks_of_another_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, classes: int, images: int
) -> None:
    root = nyu(tmp_path, "split") if name == "nyuv2" else stuff(tmp_path)
    mask = read(f"{name}-pixels", root).masks.one(0)
    Image.fromarray(np.ones((3, 6), np.uint8)).save(mask)
    assert twinbench.main(["data", "check", name, str(root), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["expected"]["classes"], found["counts"]["classes"], found["expected"]["train"]) == (
        classes,
        classes,
        images,
    )
    (masks,) = [problem for problem in found["problems"] if problem["kind"] == "masks"]
    assert "6 x 3 pixels, its image" in masks["examples"][0]
