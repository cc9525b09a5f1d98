"""A user's own data: the layout is found by what the folder holds, classes and files come from the data."""

import json
from pathlib import Path

import pytest

from twinbench.data.errors import DataError
from twinbench.data.folders.own import KNOWN_BY, sniff_layout
from twinbench.data.identity import contents
from twinbench.data.layouts import read_labelled


def write(root: Path, *names: str, text: str = "x") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("task", "tree", "layout"),
    [
        ("classification", "imagenet", "imagenet"),
        ("classification", "inat", "inat"),
        ("classification", "places", "places"),
        ("classification", "VOCdevkit", "voc"),
        ("classification", ".", "voc"),  # the folder above VOCdevkit
        ("detection", "VOCdevkit", "voc"),
        ("detection", "coco", "coco"),
    ],
)
def test_the_scenes_are_told_apart(scenes: Path, task: str, tree: str, layout: str) -> None:
    assert sniff_layout(scenes / tree, task) == layout


@pytest.mark.parametrize("task", KNOWN_BY)
def test_what_was_looked_for_is_told(tmp_path: Path, task: str) -> None:
    write(tmp_path, "readme.txt", "images/a.jpg", "train.txt")
    with pytest.raises(DataError) as caught:
        sniff_layout(tmp_path, task)
    for layout, sign in KNOWN_BY[task].items():
        assert f"{sign} ({layout})" in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}: no data for {task}; looked for ")


def test_two_layouts_in_one_folder(scenes: Path, tmp_path: Path) -> None:
    for tree in ("imagenet/train", "imagenet/val", "VOCdevkit"):
        (tmp_path / Path(tree).name).symlink_to(scenes / tree)
    with pytest.raises(DataError, match="both imagenet and voc; looked for .*; give a folder that holds one"):
        sniff_layout(tmp_path, "classification")
    assert sniff_layout(tmp_path, "detection") == "voc"


def test_no_folder_and_no_task(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; expected the folder that holds a data set for detection"):
        sniff_layout(tmp_path / "absent", "detection")
    with pytest.raises(DataError, match="not a folder"):
        sniff_layout(write(tmp_path, "file") / "file", "detection")
    with pytest.raises(DataError, match="unknown task 'classifcation'. Did you mean 'classification'"):
        sniff_layout(tmp_path, "classifcation")


def test_class_folders_with_a_test_part(tmp_path: Path) -> None:
    write(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "test/cat/c.jpg", "test/dog/d.jpg")
    assert sniff_layout(tmp_path, "classification") == "imagenet"
    images = read_labelled("imagenet", tmp_path, "test")
    assert images.classes == ("cat", "dog")
    assert list(images.paths) == [tmp_path / "test/cat/c.jpg", tmp_path / "test/dog/d.jpg"]
    write(tmp_path, "test/eel/e.jpg")
    with pytest.raises(DataError, match="2 classes in train, 3 in test; eel is in one only"):
        read_labelled("imagenet", tmp_path, "test")


def test_val_is_read_where_there_is_a_test_part_too(tmp_path: Path) -> None:
    write(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg", "val/dog/d.jpg", "test/0001.jpg")
    assert sniff_layout(tmp_path, "classification") == "imagenet"
    assert [path.name for path in read_labelled("imagenet", tmp_path, "test").paths] == ["c.jpg", "d.jpg"]


def test_lists_in_json_by_any_name(tmp_path: Path) -> None:
    lists = {
        "images": [{"id": 1, "file_name": "images/a.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5}],
        "categories": [{"id": 5, "name": "cell"}],
    }
    write(tmp_path, "train_v2.json", "test.json", text=json.dumps(lists))
    write(tmp_path, "images/a.jpg")
    assert sniff_layout(tmp_path, "classification") == "inat"
    for split in ("train", "test"):
        images = read_labelled("inat", tmp_path, split)
        assert images.classes == ("cell",)
        assert list(images.paths) == [tmp_path / "images/a.jpg"]
    write(tmp_path, "train_v3.json")
    with pytest.raises(DataError, match=r"2 lists for train: train_v2\.json, train_v3\.json; expected one"):
        read_labelled("inat", tmp_path, "train")


def test_lists_in_csv_by_any_name(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", "val.csv", text="cat/a.jpg 0\ndog/b.jpg 1\n")
    write(tmp_path, "cat/a.jpg", "dog/b.jpg")
    assert sniff_layout(tmp_path, "classification") == "places"
    found = contents("places", tmp_path)
    assert found["train"] == found["test"]
    assert (found["train"].images, found["train"].classes) == (2, 2)


def class_list(root: Path, text: str) -> Path:
    main = root / "VOC2007" / "ImageSets" / "Main"
    write(main, "trainval.txt", "test.txt", text="1\n2\n3\n")
    write(main, "cat_trainval.txt", text="1 1\n2 -1\n3 0\n")
    write(main, "cat_test.txt", text=text)
    write(root / "VOC2007", *(f"JPEGImages/{name}.jpg" for name in (1, 2, 3)))
    return root


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1 1\n2 0\n3 0\n", r"marked -1 \(1 times 1, 0 times -1, 2 times 0\)"),
        ("1 -1\n2 -1\n3 0\n", r"marked 1 \(0 times 1, 2 times -1, 1 times 0\)"),
    ],
)
def test_a_class_needs_positives_and_negatives(tmp_path: Path, text: str, complaint: str) -> None:
    root = class_list(tmp_path, text)
    assert read_labelled("voc", root, "train").targets.tolist() == [[1], [0], [-1]]
    with pytest.raises(DataError, match=rf"cat_test\.txt: no image is {complaint}; expected 1 where"):
        read_labelled("voc", root, "test")
