"""COCO's JSON as labels of whole images: presence, crowds, LVIS's unknowns, any names, ids and folders."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from twinbench.data.errors import DataError
from twinbench.data.labelled import LabelledImages
from twinbench.data.layouts import read_images, read_labelled
from twinbench.data.lists.coco_labels import GROUPS
from twinbench.data.source import Source

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 90, "name": "red cell"}]
IMAGES = [{"id": 12, "file_name": "x/2.jpg"}, {"id": 5, "file_name": "1.jpg"}, {"id": 40, "file_name": "3.jpg"}]


def present(image: int, category: int, number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "bbox": [0, 0, 1, 1], **more}


ANNOTATIONS = [present(5, 3, 1), present(5, 3, 2), present(12, 90, 3, iscrowd=1), present(12, 7, 4, segmentation=[[1]])]


def write(root: Path, place: str, folder: str, **changes: Any) -> Path:
    lists = {"images": IMAGES, "annotations": ANNOTATIONS, "categories": CATEGORIES, **changes}
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(json.dumps(lists))
    for image in lists["images"]:
        path = root / folder / image.get("file_name", image.get("coco_url", "").partition("//")[2].partition("/")[2])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return root


def read(spec: object, split: str = "train") -> LabelledImages:
    return read_images("", Source.of(f"coco:{spec}"), split)


def names(images: LabelledImages) -> list[str]:
    return [images.paths.name(index) for index in range(len(images.paths))]


def test_a_class_is_present_where_an_annotation_has_it(tmp_path: Path) -> None:
    images = read(write(tmp_path, "annotations/instances_train2017.json", "train2017"))
    assert names(images) == ["1.jpg", "x/2.jpg", "3.jpg"]  # by id
    assert images.classes == ("cat", "dog", "red cell")  # by id
    assert images.targets.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("place", "folder"),
    [
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_train2017.json", "images/train2017"),
        ("annotations/cells-train.json", "images"),
        ("annotations/train.json", "images/train"),
        ("train.json", "train"),
        ("train.json", ""),
        ("train/_annotations.coco.json", "train"),  # Roboflow
        ("train/labels.json", "train/images"),
    ],
)
def test_files_and_images_are_found_under_their_usual_names(tmp_path: Path, place: str, folder: str) -> None:
    images = read(write(tmp_path, place, folder))
    assert [str(path) for path in images.paths] == [str(tmp_path / folder / name) for name in names(images)]


def test_both_splits_by_their_files(tmp_path: Path) -> None:
    write(tmp_path, "a.json", "pictures")
    write(tmp_path, "b.json", "pictures", images=IMAGES[:2], annotations=ANNOTATIONS[:3])
    source = f"{tmp_path}/a.json,{tmp_path}/b.json?images={tmp_path}/pictures"
    assert names(read(source)) == ["1.jpg", "x/2.jpg", "3.jpg"]
    assert names(read(source, "test")) == ["1.jpg", "x/2.jpg"]


def test_splits_of_other_names(tmp_path: Path) -> None:
    for part in ("train", "val", "minival"):
        write(tmp_path, f"annotations/instances_{part}2014.json", f"{part}2014")
    write(tmp_path, "annotations/captions_train2014.json", "train2014")
    assert read(tmp_path, "test").paths.one(0) == tmp_path / "val2014/1.jpg"
    assert read(f"{tmp_path}?test=minival2014", "test").paths.one(0) == tmp_path / "minival2014/1.jpg"


def test_two_files_of_a_split_are_no_answer(tmp_path: Path) -> None:
    for part in ("val", "test"):
        write(tmp_path, f"{part}/_annotations.coco.json", part)
    with pytest.raises(DataError, match=r"test images 2 \.json files: .*; expected one, .* name it, \?test=NAME"):
        read(tmp_path, "test")
    assert read(f"{tmp_path}?test=test", "test").paths.one(0) == tmp_path / "test/1.jpg"


def test_a_category_that_only_groups_others_is_no_class(tmp_path: Path) -> None:
    grouped = [{**category, "supercategory": "things"} for category in CATEGORIES]
    write(tmp_path, "train.json", "", categories=[{"id": 0, "name": "things", "supercategory": "none"}, *grouped])
    images = read(tmp_path)
    assert (images.classes, images.left_out) == (("cat", "dog", "red cell"), {GROUPS: 1})
    own = [{**category, "supercategory": category["name"]} for category in CATEGORIES]  # as COCO's person
    write(tmp_path, "train.json", "", categories=own, annotations=ANNOTATIONS[:1])
    assert read(tmp_path).classes == ("cat", "dog", "red cell")


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, "train.json", "", categories=[{"id": 7, "name": "bat"}, {"id": 3, "name": "bat"}, CATEGORIES[2]])
    assert read(tmp_path).classes == ("bat (3)", "bat (7)", "red cell")


def test_in_lvis_a_class_is_absent_only_where_the_image_says_so(tmp_path: Path) -> None:
    address = "http://images.cocodataset.org/train2017"
    images = [
        {"id": 5, "coco_url": f"{address}/1.jpg", "neg_category_ids": [7]},
        {"id": 12, "coco_url": f"{address}/2.jpg", "neg_category_ids": [3]},
    ]
    write(tmp_path, "annotations/lvis_v1_train.json", "", images=images)
    found = read(tmp_path)
    assert names(found) == ["train2017/1.jpg", "train2017/2.jpg"]
    assert found.targets.tolist() == [[1, 0, -1], [0, 1, 1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [present(6, 3, 1)]}, "an annotation of image 6 as category 3"),
        ({"annotations": [present(5, 4, 1)]}, "an annotation of image 5 as category 4"),
        ({"annotations": [{"id": 1, "image_id": [5], "category_id": {}}]}, r"an annotation of image \[5\]"),
        ({"images": [*IMAGES, {"id": 6, "file_name": "1.jpg"}]}, "two images of one file_name"),
        ({"images": [*IMAGES, {"id": 6, "file_name": "4.jpg\0"}]}, "image 6 has no file_name"),
        ({"images": [{"id": 5, "file_name": "\ud800/1.jpg"}], "annotations": ANNOTATIONS[:1]}, "its first"),
        ({"categories": [*CATEGORIES, {"id": 3, "name": "cow"}]}, "4 categories, 3 different ids"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path, "train.json", "")
    lists = {"images": IMAGES, "annotations": ANNOTATIONS, "categories": CATEGORIES, **changes}
    (tmp_path / "train.json").write_text(json.dumps(lists))
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_missing_images_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "annotations/train.json", "train")
    shutil.rmtree(tmp_path / "train/x")
    with pytest.raises(DataError, match=r"1 of its 3 images are not in .*/train, the first is 'x/2\.jpg'"):
        read(tmp_path)


def test_a_class_that_no_image_has_is_refused_where_labels_matter(tmp_path: Path) -> None:
    write(tmp_path, "train.json", "", annotations=ANNOTATIONS[:3])
    with pytest.raises(DataError, match="class 'dog' has 0 positive, 3 negative"):
        read_labelled("", Source.of(f"coco:{tmp_path}"), "train")


def test_one_file_has_no_test_images(tmp_path: Path) -> None:
    write(tmp_path, "train.json", "")
    with pytest.raises(DataError, match="expected a folder, or the two files"):
        read(tmp_path / "train.json", "test")
