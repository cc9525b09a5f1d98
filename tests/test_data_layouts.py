"""Readers: the order and the targets they promise, and one clear line for each thing that does not fit."""

import errno
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twinbench.data.errors import DataError
from twinbench.data.folders.voc import class_names
from twinbench.data.layouts import read_labelled, require_counts
from twinbench.data.objects.find import find_objects
from twinbench.data.objects.split import Findings
from twinbench.data.paths import PathList
from twinbench.data.source import Source

ROOTS = {"imagenet": "imagenet", "voc": "VOCdevkit", "inat": "inat", "places": "places"}


@pytest.fixture
def copy(scenes: Path, tmp_path: Path):
    """Return a function that copies one tree of the scenes to where a test may damage it."""

    def copied(tree: str) -> Path:
        return Path(shutil.copytree(scenes / tree, tmp_path / tree))

    return copied


@pytest.mark.parametrize("layout", ROOTS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_layout_reads_in_a_stable_order(scenes: Path, layout: str, split: str) -> None:
    images = read_labelled(layout, scenes / ROOTS[layout], split)
    assert len(images.paths) == len(images.targets)
    assert len(images.classes) == 10
    assert all(path.is_file() for path in images.paths)
    again = read_labelled(layout, scenes / ROOTS[layout], split)
    assert list(images.paths) == list(again.paths)
    assert (images.targets == again.targets).all()
    if layout != "voc":
        assert images.targets.dtype == np.int64
        assert np.bincount(images.targets).tolist() == [len(images.paths) // 10] * 10


def test_imagenet_is_what_torchvision_reads(scenes: Path) -> None:
    from torchvision.datasets import ImageFolder

    ours, theirs = read_labelled("imagenet", scenes / "imagenet", "test"), ImageFolder(str(scenes / "imagenet" / "val"))
    assert [str(path) for path in ours.paths] == [path for path, _ in theirs.samples]
    assert ours.targets.tolist() == theirs.targets
    assert list(ours.classes) == theirs.classes


def test_fractions_are_the_listed_images(scenes: Path) -> None:
    images = read_labelled("imagenet", scenes / "imagenet", "train", "1%")
    assert [path.name for path in images.paths] == (scenes / "imagenet" / "1percent.txt").read_text().split()
    assert images.targets.tolist() == list(range(10))
    with pytest.raises(DataError, match="only the training images of imagenet have subset lists"):
        read_labelled("voc", scenes / "VOCdevkit", "train", "1%")


def test_voc_targets_are_recoded_as_in_vissl(tmp_path: Path) -> None:
    main = tmp_path / "VOC2007" / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (main / "trainval.txt").write_text("000009\n000002\n000005\n")
    (main / "dog_trainval.txt").write_text("000009  0\n000002 -1\n000005  1\n")
    (main / "cat_trainval.txt").write_text("000002  1\n000005 -1\n000009 -1\n")
    (main / "cat_with_hat_trainval.txt").write_text("not a class\n")
    (tmp_path / "VOC2007" / "JPEGImages").mkdir()
    for name in ("000009", "000002", "000005"):
        (tmp_path / "VOC2007" / "JPEGImages" / f"{name}.jpg").touch()
    images = read_labelled("voc", tmp_path, "train")
    assert images.classes == ("cat", "dog") == class_names(tmp_path, 2007)
    assert [path.stem for path in images.paths] == ["000002", "000005", "000009"]
    assert images.targets.dtype == np.int8
    assert images.targets.tolist() == [[1, 0], [0, 1], [0, -1]]  # 1 present, 0 absent, -1 difficult only


def test_voc_root_may_be_the_folder_above_the_devkit(scenes: Path) -> None:
    above, devkit = (read_labelled("voc", root, "test") for root in (scenes, scenes / "VOCdevkit"))
    assert list(above.paths) == list(devkit.paths)


def test_places_is_read_in_both_forms(scenes: Path, tmp_path: Path) -> None:
    listed = read_labelled("places", scenes / "places", "train")
    assert listed.classes == ("eight", "five", "four", "nine", "one", "seven", "six", "three", "two", "zero")
    for split in ("train", "test"):
        images = read_labelled("places", scenes / "places", split)
        for path in images.paths:
            target = tmp_path / {"train": "train", "test": "val"}[split] / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    folders = read_labelled("places", tmp_path, "train")
    assert folders.classes == listed.classes

    def by_name(images):
        return {path.name: int(target) for path, target in zip(images.paths, images.targets, strict=True)}

    assert by_name(folders) == by_name(listed)


def test_inat_labels_follow_the_category_ids(tmp_path: Path) -> None:
    lists = {
        "images": [{"id": 8, "file_name": "a.jpg"}, {"id": 3, "file_name": "b.jpg"}],
        "annotations": [{"id": 1, "image_id": 8, "category_id": 70}, {"id": 2, "image_id": 3, "category_id": 900}],
        "categories": [{"id": 900, "name": "Ursus"}, {"id": 70, "name": "Apis"}],
    }
    (tmp_path / "train2018.json").write_text(json.dumps(lists))
    images = read_labelled("inat", tmp_path, "train")
    assert list(images.paths) == [tmp_path / "b.jpg", tmp_path / "a.jpg"]
    assert images.targets.tolist() == [1, 0]
    assert images.classes == ("Apis", "Ursus")


@pytest.mark.parametrize("layout", ROOTS)
def test_missing_empty_and_wrong_folders(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; expected the folder that holds"):
        read_labelled(layout, tmp_path / "absent", "train")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="not a folder; expected"):
        read_labelled(layout, tmp_path / "file", "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="the folder is empty; expected .*; unpack"):
        read_labelled(layout, tmp_path / "empty", "train")
    with pytest.raises(DataError, match="but empty, file; expected"):
        read_labelled(layout, tmp_path, "train")


@pytest.mark.parametrize("layout", ROOTS)
def test_a_closed_folder_is_told(scenes: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("os.listdir", closed)
    monkeypatch.setattr("pathlib.Path.stat", closed)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\); expected"):
        read_labelled(layout, scenes / ROOTS[layout], "train")


def test_unknown_layouts_and_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown layout 'imagnet'. Did you mean 'imagenet'"):
        read_labelled("imagnet", tmp_path, "train")
    with pytest.raises(DataError, match="unknown split 'val'"):
        read_labelled("imagenet", tmp_path, "val")


def test_a_folder_inside_the_data_set_points_at_its_root(scenes: Path) -> None:
    for inside in ("train", "train/n00000003"):
        with pytest.raises(DataError, match=f"inside the data set: give {scenes}/imagenet"):
            read_labelled("imagenet", scenes / "imagenet" / inside, "train")
    with pytest.raises(DataError, match=f"inside the data set: give {scenes}/VOCdevkit"):
        read_labelled("voc", scenes / "VOCdevkit" / "VOC2007" / "JPEGImages", "train")


def test_imagenet_problems_are_named(copy) -> None:
    root = copy("imagenet")
    (root / "1percent.txt").write_text("n00000001_1.JPEG\nn00000077_3.JPEG\n")
    with pytest.raises(DataError, match=r"1percent\.txt: n00000077_3\.JPEG belongs to no class folder"):
        read_labelled("imagenet", root, "train", "1%")
    (root / "1percent.txt").write_text("n00000001_999.JPEG\n")
    with pytest.raises(DataError, match=r"n00000001_999\.JPEG is not in .*/train"):
        read_labelled("imagenet", root, "train", "1%")
    (root / "1percent.txt").write_text("n00000001_1.JPEG\n" * 2)
    with pytest.raises(DataError, match="2 lines, 1 different ones"):
        read_labelled("imagenet", root, "train", "1%")
    (root / "1percent.txt").unlink()
    with pytest.raises(
        DataError, match="no such file; expected SimCLR's list; fetch it with `twinbench data lists FOLDER`"
    ):
        read_labelled("imagenet", root, "train", "1%")
    shutil.rmtree(root / "val" / "n00000004")
    with pytest.raises(DataError, match="10 classes in train, 9 in val; n00000004 is in one only"):
        read_labelled("imagenet", root, "test")
    shutil.rmtree(root / "train" / "n00000004")
    (root / "train" / "n00000004").mkdir()
    with pytest.raises(DataError, match="n00000004: no images in it"):
        read_labelled("imagenet", root, "train")


def test_voc_problems_are_named(copy) -> None:
    root = copy("VOCdevkit")
    main, image = root / "VOC2007" / "ImageSets" / "Main", next((root / "VOC2007" / "JPEGImages").iterdir())
    image.rename(image.with_suffix(".lost"))
    with pytest.raises(DataError, match=rf"JPEGImages: lacks 1 of the \d+ images of \w+, {image.name} first"):
        for split in ("train", "test"):
            read_labelled("voc", root, split)
    image.with_suffix(".lost").rename(image)
    (main / "two_test.txt").rename(main / "twelve_test.txt")
    with pytest.raises(DataError, match="10 class lists for trainval, 10 for test; 'twelve' has only one"):
        read_labelled("voc", root, "test")
    with (main / "two_trainval.txt").open("a") as file:
        file.write("009999 -1\n")
    with pytest.raises(DataError, match=r"two_trainval\.txt: 21 images, the split has 20; 009999 is in one only"):
        read_labelled("voc", root, "train")
    (main / "one_trainval.txt").write_text("000001 yes\n")
    with pytest.raises(
        DataError, match=r"one_trainval\.txt, line 1: '000001 yes'; expected an image id and 1, -1 or 0"
    ):
        read_labelled("voc", root, "train")
    (main / "test.txt").unlink()
    with pytest.raises(DataError, match=r"test\.txt: no such file; .* in an archive of their own"):
        read_labelled("voc", root, "test")


def read_objects(root, split: str) -> list:
    """Read every annotation of a split as a worker does."""
    return list(find_objects("voc", Source.of(root), split).read(Findings(), ("box",)))


@pytest.mark.parametrize(
    ("found", "put", "complaint"),
    [
        ("<difficult>0</difficult>", "<difficult>no</difficult>", "<difficult> is 'no'; expected 0 or 1"),
        ("<xmin>", "<xmin>-", "expected four numbers from 0"),
        ("<ymin>", "<ymin>x", "expected four numbers from 0"),
        ("<name>", "<name>twenty-", "has no class list; expected one of eight, five"),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY b "bb">]><annotation>', "declares a document type"),
        ("</annotation>", "", "not a readable annotation"),
    ],
)
def test_voc_annotations_that_no_evaluator_could_use(copy, found: str, put: str, complaint: str) -> None:
    root = copy("VOCdevkit")
    read_objects(root, "train")
    path = root / "VOC2007" / "Annotations" / "000003.xml"
    path.write_text(path.read_text().replace(found, put, 1))
    with pytest.raises(DataError, match=rf"000003\.xml.*{complaint}"):
        read_objects(root, "train")
    path.unlink()
    with pytest.raises(DataError, match=r"000003\.xml: no such file; expected an annotation for each"):
        read_objects(root, "train")


def test_inat_and_places_problems_are_named(copy) -> None:
    root = copy("inat")
    lists = json.loads((root / "train2018.json").read_text())
    for change, complaint in (
        ({"annotations": lists["annotations"][1:]}, "image 1 has no annotation"),
        ({"annotations": [{"image_id": 1, "category_id": 99}]}, "an annotation of image 1 as category 99"),
        ({"annotations": [{"image_id": [], "category_id": {}}]}, r"an annotation of image \[\] as category {}"),
        ({"images": [*lists["images"], lists["images"][0]]}, "21 images, 20 different ids"),
        ({"categories": []}, "the list 'categories' is empty"),
        ({"categories": "all"}, "no list 'categories' in it"),
    ):
        (root / "train2018.json").write_text(json.dumps({**lists, **change}))
        with pytest.raises(DataError, match=complaint):
            read_labelled("inat", root, "train")
    (root / "train2018.json").write_text("{")
    with pytest.raises(DataError, match="not readable as JSON"):
        read_labelled("inat", root, "train")

    root = copy("places")
    path = root / "trainvalsplit_places205" / "val_places205.csv"
    path.write_text(path.read_text().replace(" 9\n", " 8\n", 1))
    with pytest.raises(DataError, match="has label 8, which is not its folder's"):
        read_labelled("places", root, "test")
    path.write_text("a/abbey/x.jpg\n")
    with pytest.raises(DataError, match=r"line 1: 'a/abbey/x\.jpg'; expected an image and its label"):
        read_labelled("places", root, "test")
    shutil.rmtree(root / "data")
    with pytest.raises(DataError, match="unpack imagesPlaces205_resize"):
        read_labelled("places", root, "train")


def test_counts_are_required(scenes: Path) -> None:
    train, test = (read_labelled("voc", scenes / "VOCdevkit", split) for split in ("train", "test"))
    require_counts(scenes, train, test, (20, 20), 10)
    require_counts(scenes, train, test, (0, 0), 10)  # of own data, whose images nobody has counted
    with pytest.raises(DataError, match=r"expects any number, any number and 20;"):
        require_counts(scenes, train, test, (0, 0), 20)
    with pytest.raises(
        DataError, match=r"20 training and 20 test images of 10 classes; .* 5011, 4952 and 20; .*--partial"
    ):
        require_counts(scenes, train, test, (5011, 4952), 20)


def test_train_and_test_need_the_same_classes(scenes: Path) -> None:
    train = read_labelled("inat", scenes / "inat", "train")
    for classes, complaint in (
        (train.classes[1:], "'zero' is in one only"),
        (train.classes[::-1], "their order differs"),
    ):
        with pytest.raises(DataError, match=complaint):
            require_counts(scenes, train, replace(train, classes=classes), (20, 20), 10)


def test_a_list_of_paths_is_a_sequence_of_them(tmp_path: Path) -> None:
    names = ["a/b.jpg", "c.jpg", "d\udcff.jpg", "e/f/g.jpg"]  # one with a byte that is no UTF-8
    paths, plain = PathList(tmp_path, names), [tmp_path / name for name in names]
    assert list(paths) == plain
    assert len(paths) == 4
    assert paths[-1] == plain[-1]
    assert plain[2] in paths
    for part in (slice(1, 3), slice(None, None, 2), slice(3, 0, -1), slice(9, 12)):
        assert list(paths[part]) == plain[part]
    with pytest.raises(IndexError):
        paths[4]
    assert list(pickle.loads(pickle.dumps(paths))) == plain


@pytest.mark.parametrize("name", ["/etc/passwd", "../../etc/passwd", "a/../../b.jpg", "", "a\0b.jpg", "\ud800.jpg"])
def test_a_list_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="a list names the file"):
        PathList(tmp_path, ["fine..jpg", name])
