"""Masks of one's own: where they may lie, what their numbers mean, and what is refused in one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinbench.data.checking.checks import check
from twinbench.data.errors import DataError
from twinbench.data.folders.own import sniff_layout
from twinbench.data.identity import identify
from twinbench.data.pixels.masks import require_masks, seen_classes
from twinbench.data.pixels.numbers import read_classes
from twinbench.data.pixels.read import read_pixels
from twinbench.data.pixels.split import PixelImages
from twinbench.data.source import Source

SIDE = (6, 4)  # width, height


def write(path: Path, numbers: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbers).save(path)


def photograph(path: Path) -> None:
    write(path, np.arange(SIDE[0] * SIDE[1] * 3, dtype=np.uint8).reshape(SIDE[1], SIDE[0], 3))


def mask(value: int, kind: type = np.uint8) -> np.ndarray:
    """A mask of background with one row of `value` and one without a label."""
    found = np.zeros((SIDE[1], SIDE[0]), kind)
    found[1], found[3] = value, 255
    return found


def tree(root: Path, images: str, masks: str, tail: str = "") -> Path:
    """A data set of two classes; `images` and `masks` are patterns of a folder."""
    for split in ("train", "val"):
        for name in ("a", "deep er/Ünï b"):
            photograph(root / images.format(split) / f"{name}.jpg")
            write(root / masks.format(split) / f"{name}{tail}.png", mask(1))
    (root / "classes.txt").write_text("background\ncell wall\n")
    return root


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tree(tmp_path / "mine", "images/{}", "masks/{}")


def read(root: Path, split: str = "train") -> PixelImages:
    return read_pixels("", Source.of(str(root)), split)


def decoded(images: PixelImages, index: int = 0) -> np.ndarray:
    return images.decode(images.masks.one(index))


@pytest.mark.parametrize(
    ("images", "masks", "tail"),
    [
        ("images/{}", "masks/{}", ""),
        ("images/{}", "annotations/{}", ""),
        ("images/{}", "labels/{}", "_mask"),
        ("{}/images", "{}/masks", ""),
        ("{}/images", "{}/labels", ""),
    ],
)
def test_images_and_masks_are_found_wherever_people_put_them(
    tmp_path: Path, images: str, masks: str, tail: str
) -> None:
    root = tree(tmp_path, images, masks, tail)
    assert sniff_layout(root, "segmentation") == "pixels"
    found = read(root)
    assert [found.paths.one(index).name for index in range(2)] == ["a.jpg", "Ünï b.jpg"]
    assert [found.masks.one(index).name for index in range(2)] == [f"a{tail}.png", f"Ünï b{tail}.png"]
    assert found.classes == ("background", "cell wall")
    assert decoded(found)[:, 0].tolist() == [0, 1, 0, 255]


def test_roboflows_masks_lie_beside_their_images(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        photograph(tmp_path / split / "a.jpg")
        write(tmp_path / split / "a_mask.png", mask(2))
        (tmp_path / split / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, pen\n2, lid\n")
    found = read(tmp_path, "test")
    assert found.classes == ("background", "pen", "lid")
    assert len(found.paths) == 1
    assert decoded(found)[1].tolist() == [2] * SIDE[0]


def test_other_names_of_splits_are_given(mine: Path) -> None:
    (mine / "images" / "val").rename(mine / "images" / "holdout")
    (mine / "masks" / "val").rename(mine / "masks" / "holdout")
    assert len(read_pixels("", Source.of(f"{mine}?test=holdout"), "test").paths) == 2


def test_a_list_with_numbers_says_what_each_means(mine: Path) -> None:
    (mine / "classes.txt").unlink()
    (mine / "classes.csv").write_text("300,far\n0,\n255,near\n1,cell wall\n")
    write(mine / "masks" / "train" / "a.png", np.array([[0, 1, 255, 300, 1, 1]] * SIDE[1], np.uint16))
    found = read(mine)
    assert found.classes == ("cell wall", "near", "far")
    assert decoded(found)[0].tolist() == [255, 0, 1, 2, 0, 0]


def test_numbers_of_one_train_id_are_one_class(mine: Path) -> None:
    """Beside classes.txt the map counts: it says more."""
    (mine / "labels.csv").write_text(
        "id,name,trainId\n0,unlabeled,ignore\n255,far,1\n7,road,1\n300,void,ignore\n8,walk,0\n"
    )
    write(mine / "masks" / "train" / "a.png", np.array([[0, 7, 255, 300, 8, 7]] * SIDE[1], np.uint16))
    found = read(mine)
    assert found.classes == ("walk", "road")
    assert decoded(found)[0].tolist() == [255, 1, 1, 255, 0, 1]


def test_another_map_of_the_same_masks_is_other_data(mine: Path) -> None:
    (mine / "labels.csv").write_text("0,background,0\n1,cell wall,1\n")
    before = identify("", mine, task="segmentation")
    (mine / "labels.csv").write_text("0,background,0\n1,cell wall,1\n2,gap,ignore\n")
    after = identify("", mine, task="segmentation")
    assert all(before[split] != after[split] for split in before)


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16"])
def test_numbers_of_any_width_are_read(mine: Path, mode: str) -> None:
    numbers = mask(1, np.uint16 if mode == "I;16" else np.uint8)
    numbers[numbers == 255] = 0
    image = Image.fromarray(numbers.astype(bool) if mode == "1" else numbers)
    if mode == "P":
        image.putpalette([0, 0, 0, 250, 20, 30])
    assert image.mode == mode
    image.save(mine / "masks" / "train" / "a.png")
    assert decoded(read(mine))[1].tolist() == [1] * SIDE[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,a\n0,b\n", "number 0 twice; expected each once"),
        ("0,a\n1,a\n", "class 'a' twice; expected each once"),
        ("0,a\n1;b\n", r"line 2: '1;b'; expected a number from 0 to 65535 and a name: 0,background"),
        ("0,a\n70000,b\n", r"line 2: '70000,b'; expected a number from 0 to 65535"),
        ("0,a\n-1,b\n", r"line 2: '-1,b'; expected a number"),
        ("value,name\n", "an empty list; expected a number and a name a line"),
        ("0,a\n1,\n", "1 classes; expected 2 to 255"),
        ("\n".join(f"{number},c{number}" for number in range(300)), "300 classes; expected 2 to 255"),
        ("0,a,0\n1,b,1\n2,c,255\n", "train id 255, and 3 of them; expected 0 to 2, .*what has no label is `ignore`"),
        ("0,a,1\n1,b,2\n", "train id 1, and 2 of them; expected 0 to 1"),
        ("0,a,0\n1,b\n", "line 2: '1,b'; expected a number .*, and a train id or `ignore`: 0,background,0"),
        ("0,a,0\n1,b,-1\n", "line 2: '1,b,-1'; expected a number"),
        ("0,a,0\n1,,1\n", "line 2: '1,,1'; expected a number"),
        ("0,a,0\n1,a,1\n", "class 'a' twice; .* or give its numbers one train id"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(DataError, match=message) as found:
        read_classes(tmp_path / "classes.csv")
    assert "\n" not in str(found.value)


def test_an_empty_line_between_names_is_refused(mine: Path) -> None:
    """It was left out, and every class after it had the number before its own."""
    (mine / "classes.txt").write_text("background\n\ncell wall\n")
    with pytest.raises(DataError, match=r"classes.txt, line 2: empty; expected a name a line"):
        read(mine)
    (mine / "classes.txt").write_text("\ufeffbackground\r\ncell wall\r\n\n")
    assert read(mine).classes == ("background", "cell wall")


def test_labels_of_boxes_beside_images_are_no_masks(tmp_path: Path) -> None:
    """YOLO's form, images/train beside labels/train with a text an image, was told to bring a list of classes."""
    photograph(tmp_path / "images" / "train" / "a.jpg")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DataError, match="no data for segmentation; looked for"):
        read(tmp_path)


def test_without_a_list_the_numbers_mean_nothing(mine: Path) -> None:
    (mine / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"no classes.txt or classes.csv; expected what the numbers in the masks mean"):
        read(mine)


def test_a_number_that_is_not_on_the_list_is_named(mine: Path) -> None:
    write(mine / "masks" / "train" / "a.png", mask(7))
    with pytest.raises(DataError, match=r"a.png: number 7 in a mask; expected one that classes.txt has, or 255"):
        decoded(read(mine))


def test_a_mask_in_colours_is_told_what_to_become(mine: Path) -> None:
    photograph(mine / "masks" / "train" / "a.png")
    with pytest.raises(DataError, match="a mask of mode RGB; expected one number of 8 or 16 bits a pixel"):
        decoded(read(mine))


def test_a_folder_of_another_form_is_told_what_was_looked_for(tmp_path: Path) -> None:
    photograph(tmp_path / "train" / "cat" / "a.jpg")
    with pytest.raises(DataError, match=r"no data for segmentation; looked for .*images/train/ beside masks/train/"):
        read(tmp_path)


def test_the_check_lists_every_mask_that_is_wrong(mine: Path) -> None:
    assert check("pixels", mine, fast=True, processes=1).problems == ()
    write(mine / "masks" / "train" / "a.png", mask(7))
    (mine / "masks" / "val" / "a.png").unlink()
    write(mine / "masks" / "val" / "deep er" / "Ünï b.png", mask(1)[:-1])
    (problem,) = check("pixels", mine, fast=True, processes=1).problems
    assert (problem.kind, problem.count) == ("masks", 3)


def test_a_check_of_nothing_in_particular_sees_masks(mine: Path, tmp_path: Path) -> None:
    """train/images beside train/masks would be two classes of a classifier."""
    other = tree(tmp_path / "other", "{}/images", "{}/masks")
    for root in (mine, other):
        report = check("", root, fast=True, processes=1)
        assert report.counts == {"train": 2, "val": 2, "classes": 2}


def test_masks_of_0_and_255_are_told_before_they_teach_nothing(mine: Path) -> None:
    for path in (mine / "masks").rglob("*.png"):
        write(path, mask(255))
    told = r"no mask shows 1 of 2 classes: cell wall \(255 is no label\)"
    assert any("no mask shows 1 of 2 classes: cell wall" in note for note in check("pixels", mine, fast=True).notes)
    with pytest.raises(DataError, match=told):
        require_masks(Source.of(str(mine)), "", "train", read(mine))


def test_tests_without_a_label_are_told_before_anything_trains(mine: Path) -> None:
    """They ended in a traceback after the training: no pixel, no number."""
    for path in (mine / "masks" / "val").rglob("*.png"):
        write(path, np.full((SIDE[1], SIDE[0]), 255, np.uint8))
    told = "no mask shows 2 of 2 classes: background, cell wall .*; expected masks with classes to test on"
    with pytest.raises(DataError, match=told):
        require_masks(Source.of(str(mine)), "", "test", read(mine, "test"))


def test_classes_that_nothing_shows_are_noted(mine: Path) -> None:
    (mine / "classes.txt").write_text("background\ncell wall\nnucleus\n")
    (note,) = require_masks(Source.of(str(mine)), "", "train", read(mine))
    assert note == "train: no mask shows 1 of 3 classes: nucleus (255 is no label)"
    assert seen_classes(read(mine), lambda problem: pytest.fail(problem)).tolist() == [True, True, False]


def test_other_meanings_of_the_same_numbers_are_other_data(mine: Path) -> None:
    before = identify("", mine, task="segmentation")
    (mine / "classes.txt").write_text("cell wall\nbackground\n")
    after = identify("", mine, task="segmentation")
    assert all(before[split] != after[split] for split in before)


def test_the_same_data_elsewhere_are_the_same_data(mine: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(mine, tmp_path / "copied"))
    assert identify("", mine, task="segmentation") == identify("", copied, task="segmentation")


def test_a_photograph_that_is_shown_turned_has_an_upright_mask(mine: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: 6 x 4 as it is stored, 4 x 6 as people see it
    Image.new("RGB", SIDE).save(mine / "images" / "train" / "a.jpg", exif=exif)
    with pytest.raises(DataError, match=r"a.png: 6 x 4 pixels, its image a.jpg has 4 x 6"):
        read(mine).record(0)
    write(mine / "masks" / "train" / "a.png", mask(1).T)
    assert read(mine).record(0)["height"] == SIDE[0]
