"""Data sets that only test: where their class folders lie, what they are called, and what of them is left out."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinbench.data.checking.checks import check
from twinbench.data.errors import DataError
from twinbench.data.folders.own import layout_of_tested
from twinbench.data.folders.tested import LEFT_OUT, UNLABELLED
from twinbench.data.identity import contents
from twinbench.data.labelled import no_images
from twinbench.data.layouts import TESTED, read_images
from twinbench.data.source import Source
from twinbench.protocols.datasets import DATA_SETS

WNIDS = ("n01440764", "n01443537", "n01484850")


def write(root: Path, *names: str) -> Path:
    """Write a small image under each name."""
    for place, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 9, 3), 40 + place, np.uint8)).save(root / name)
    return root


def read(layout: str, root: Path):
    return read_images(layout, Source(str(root)), "test")


def names_of(images) -> list[str]:
    return [images.paths.name(index) for index in range(len(images.paths))]


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Three classes of two val images each, whose numbers do not follow the classes, and their labels."""
    order = [2, 0, 1, 1, 2, 0]
    names = [f"val/{WNIDS[label]}/ILSVRC2012_val_{number:08d}.JPEG" for number, label in enumerate(order, 1)]
    write(tmp_path, *names, *(f"train/{name}/{name}_1.JPEG" for name in WNIDS))
    (tmp_path / "real.json").write_text(json.dumps([[2], [0, 1], [], [1], [2, 0], []]))
    return tmp_path


# ------------------------------------------------------------------------------------------------ class folders


def test_class_folders_lie_in_the_folder_itself(tmp_path: Path) -> None:
    images = read("test-classes", write(tmp_path, "n02/a.JPEG", "n01/b.JPEG", "n01/a.JPEG"))
    assert (images.classes, images.targets.tolist()) == (("n01", "n02"), [0, 0, 1])


def test_an_archive_s_own_folder_may_stay(tmp_path: Path) -> None:
    inner = write(tmp_path, "imagenet-r/n01/a.JPEG", "imagenet-r/n02/a.JPEG", "imagenet-r/README.txt.png")
    assert read("test-classes", inner).classes == ("n01", "n02")


def test_around_it_and_in_it_are_the_same_data(tmp_path: Path) -> None:
    write(tmp_path, "imagenet-r/n01/a.JPEG", "imagenet-r/n02/a.JPEG")
    found = [contents("test-classes", root, task="tested") for root in (tmp_path, tmp_path / "imagenet-r")]
    assert found[0] == found[1]


def test_a_data_set_of_one_class_is_no_archive(tmp_path: Path) -> None:
    assert read("test-classes", write(tmp_path, "n01/a.JPEG", "n01/b.JPEG")).classes == ("n01",)


def test_numbers_come_in_their_order(tmp_path: Path) -> None:
    images = read("test-numbers", write(tmp_path, "10/a.JPEG", "2/a.JPEG", "0/a.JPEG"))
    assert images.classes == ("0", "2", "10")


def test_a_name_among_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the folder n01 is no number; expected class folders 0, 1, 2 and so on"):
        read("test-numbers", write(tmp_path, "0/a.JPEG", "n01/a.JPEG"))


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no class folders in it; expected a folder for each class"):
        read("test-classes", write(tmp_path, "a.png"))


@pytest.mark.parametrize("layout", TESTED)
def test_they_have_no_training_images(layout: str, imagenet: Path) -> None:
    with pytest.raises(DataError, match="has no train images, it only tests"):
        read_images(layout, Source(str(imagenet)), "train")


def test_a_test_trains_on_no_image_of_the_same_classes(tmp_path: Path) -> None:
    images = read("test-classes", write(tmp_path, "n01/a.JPEG", "n02/a.JPEG"))
    none = no_images(images)
    assert (len(none.paths), none.classes) == (0, images.classes)


# ------------------------------------------------------------------------------------------------ ReaL


def test_reassessed_labels_go_by_the_images_numbers(imagenet: Path) -> None:
    images = read("imagenet-real", imagenet)
    said = {name[-13:-5]: row.tolist() for name, row in zip(names_of(images), images.targets, strict=True)}
    assert said == {"00000001": [0, 0, 1], "00000002": [1, 1, 0], "00000004": [0, 1, 0], "00000005": [1, 0, 1]}


def test_images_without_one_are_left_out_and_told(imagenet: Path) -> None:
    assert read("imagenet-real", imagenet).left_out[UNLABELLED] == 2


def test_other_labels_are_other_data(imagenet: Path) -> None:
    before = contents("imagenet-real", imagenet, task="tested")["test"].sha256
    (imagenet / "real.json").write_text(json.dumps([[2], [0], [], [1], [2, 0], []]))
    assert contents("imagenet-real", imagenet, task="tested")["test"].sha256 != before


def test_without_the_labels_it_is_told_what_fetches_them(imagenet: Path) -> None:
    (imagenet / "real.json").unlink()
    with pytest.raises(DataError, match=r"real\.json: No such file .*`twinbench data fetch imagenet-real"):
        read("imagenet-real", imagenet)


@pytest.mark.parametrize("labels", [{"a": 1}, [[0], 1], [[0, 3]], [["0"]], [[True]], [[-1]]])
def test_labels_that_are_no_classes_are_refused(imagenet: Path, labels: object) -> None:
    (imagenet / "real.json").write_text(json.dumps(labels))
    with pytest.raises(DataError, match="expected a list of classes, numbers from 0 to 2, for each val image"):
        read("imagenet-real", imagenet)


def test_labels_for_fewer_images_are_refused(imagenet: Path) -> None:
    (imagenet / "real.json").write_text("[[0], [1]]")
    with pytest.raises(DataError, match="has labels for the images 1 to 2, and nothing for .*_0000000[3-6].JPEG"):
        read("imagenet-real", imagenet)


# ------------------------------------------------------------------------------------------------ corruptions


@pytest.fixture
def corrupted(tmp_path: Path) -> Path:
    parts = [f"{kind}/{severity}" for kind in ("fog", "snow") for severity in (1, 2)]
    return write(tmp_path, *(f"{part}/{name}/a.JPEG" for part in parts for name in WNIDS))


def test_every_kind_and_degree_is_read(corrupted: Path) -> None:
    images = read("corruptions", corrupted)
    assert images.targets.tolist() == [0, 1, 2] * 4
    assert names_of(images)[3] == "fog/2/n01440764/a.JPEG"


def test_the_extra_ones_are_left_out_and_told(corrupted: Path) -> None:
    write(corrupted, "saturate/1/n01440764/a.JPEG")
    images = read("corruptions", corrupted)
    assert (len(images.paths), images.left_out[LEFT_OUT]) == (12, 1)


def test_a_degree_with_other_classes_is_refused(corrupted: Path) -> None:
    write(corrupted, "snow/2/n09/a.JPEG")
    with pytest.raises(DataError, match="snow/2: 4 classes, but 3 in fog/1; n09 is in one only"):
        read("corruptions", corrupted)


def test_archives_in_folders_of_their_own_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "weather/fog/1/n01/a.JPEG")
    with pytest.raises(DataError, match="weather: expected folders of severities, 1 to 5, .* unpack the archives"):
        read("corruptions", tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folders in it; expected <corruption>/<severity>/<class>/"):
        read("corruptions", tmp_path)


# ------------------------------------------------------------------------------------------------ checks


def test_own_data_to_test_on_are_class_folders(tmp_path: Path) -> None:
    write(tmp_path, "n01/a.JPEG", "n02/a.JPEG")
    assert layout_of_tested("", Source(str(tmp_path)), "test-classes") == "test-classes"


def test_own_data_in_a_layout_keep_it(imagenet: Path) -> None:
    assert layout_of_tested("", Source(str(imagenet)), "test-classes") == "imagenet"


def test_own_data_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        layout_of_tested("", Source(str(tmp_path / "none")), "test-classes")


@pytest.mark.parametrize("name", [name for name, entry in DATA_SETS.items() if entry.trains_on])
def test_every_sibling_has_a_reader(name: str) -> None:
    assert DATA_SETS[name].layout in TESTED


def test_a_check_counts_the_images_that_have_a_label(imagenet: Path) -> None:
    report = check("imagenet-real", imagenet, processes=1)
    assert report.counts == {"test": 4, "classes": 3}
