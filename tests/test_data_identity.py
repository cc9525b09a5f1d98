"""The identity of data: known answers, what changes it and what does not, and the hint that saves counting again."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twinbench.data import hints, identity
from twinbench.data.errors import DataError
from twinbench.data.folders.pool import read_pool
from twinbench.data.identity import Contents, contents, identify
from twinbench.data.labelled import LabelledImages
from twinbench.data.layouts import read_labelled
from twinbench.data.paths import PathList
from twinbench.data.sizes import CHUNK
from twinbench.data.source import Source
from twinbench.protocols.identity import data_identity

CLASSIFICATION = {"imagenet": "imagenet", "voc": "VOCdevkit", "inat": "inat", "places": "places"}
DETECTION = {"voc": "VOCdevkit", "coco": "coco"}
CASES = [("classification", *case) for case in CLASSIFICATION.items()]
CASES += [("detection", *case) for case in DETECTION.items()]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TWINBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def copy(scenes: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies one tree of the scenes to where a test may change it."""

    def copied(tree: str) -> Path:
        return Path(shutil.copytree(scenes / tree, tmp_path / "own" / tree))

    return copied


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def classes_tree(root: Path) -> Path:
    """Two classes, two training images and one test image each, of 1 to 6 bytes."""
    for number, name in enumerate(("train/cat/a.jpg", "train/dog/b.JPEG", "val/cat/c.png", "val/dog/d.jpg"), 1):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * number)
    return root


# Known answers, from the documented line format.


def identity_of(images: LabelledImages) -> str:
    """The identity of one split that was read already."""
    return identify("", images.root, read={"train": images, "test": images})["train"]


def test_one_label_an_image(tmp_path: Path) -> None:
    found = identify("imagenet", classes_tree(tmp_path / "pets"))
    assert found == {
        "train": sha256('["train/cat/a.jpg",1,"cat"]\n["train/dog/b.JPEG",2,"dog"]\n'),
        "test": sha256('["val/cat/c.png",3,"cat"]\n["val/dog/d.jpg",4,"dog"]\n'),
    }
    assert data_identity(found) == sha256(f'{{"test":"{found["test"]}","train":"{found["train"]}"}}')


def test_several_labels_an_image(tmp_path: Path) -> None:
    main = tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (main / "trainval.txt").write_text("2\n5\n")
    (main / "dog_trainval.txt").write_text("5 1\n2 -1\n")
    (main / "cat_trainval.txt").write_text("2 1\n5 -1\n")
    images = main.parent.parent / "JPEGImages"
    images.mkdir()
    (images / "2.jpg").write_bytes(b"12")
    (images / "5.jpg").write_bytes(b"12345")
    expected = sha256('["VOC2007/JPEGImages/2.jpg",2,[1,0]]\n["VOC2007/JPEGImages/5.jpg",5,[0,1]]\n')
    for root in (tmp_path, tmp_path / "VOCdevkit"):
        assert identity_of(read_labelled("voc", root, "train")) == expected


def test_boxes_in_a_file_an_image(scenes: Path) -> None:
    root = scenes / "VOCdevkit"
    lines = ""
    for year in (2007, 2012):
        folder = root / f"VOC{year}"
        for name in sorted((folder / "ImageSets/Main/trainval.txt").read_text().split()):
            size = (folder / f"JPEGImages/{name}.jpg").stat().st_size
            annotation = sha256((folder / f"Annotations/{name}.xml").read_text())
            lines += f'["VOC{year}/JPEGImages/{name}.jpg",{size},"{annotation}"]\n'
    assert identify("voc", root, task="detection")["train"] == sha256(lines)


def test_boxes_in_a_file_a_split(scenes: Path) -> None:
    file = scenes / "coco" / "annotations" / "instances_val2017.json"
    lines = f'["annotations/instances_val2017.json",{file.stat().st_size},"{sha256(file.read_text())}"]\n'
    for image in sorted(json.loads(file.read_text())["images"], key=lambda image: image["id"]):
        size = (scenes / "coco/val2017" / image["file_name"]).stat().st_size
        lines += f'["val2017/{image["file_name"]}",{size},null]\n'
    assert identify("coco", scenes / "coco", task="detection")["test"] == sha256(lines)


def test_images_without_labels(tmp_path: Path) -> None:
    root = classes_tree(tmp_path / "pets")
    expected = sha256('["train/cat/a.jpg",1,null]\n["train/dog/b.JPEG",2,null]\n')
    assert identify("imagenet", root, task="pretraining") == {"train": expected}


def test_images_that_lie_elsewhere_are_none_of_the_data_sets(tmp_path: Path) -> None:
    train = read_labelled("imagenet", classes_tree(tmp_path / "pets"), "train")
    with pytest.raises(DataError, match=r"pets.*; expected images below the data set's root"):
        identity_of(replace(train, root=tmp_path / "pets" / "val"))


# What is the same, and what is not.


@pytest.mark.parametrize(("task", "layout", "tree"), CASES)
def test_a_copy_elsewhere_is_the_same_data(scenes: Path, copy, task: str, layout: str, tree: str) -> None:
    assert identify(layout, copy(tree), task=task) == identify(layout, scenes / tree, task=task)


def test_every_layout_and_split_is_another(scenes: Path) -> None:
    found = [sha256 for task, layout, tree in CASES for sha256 in identify(layout, scenes / tree, task=task).values()]
    assert len(set(found)) == 2 * len(CASES)


@pytest.mark.parametrize("layout", CLASSIFICATION)
def test_splits_that_are_read_already_are_the_same(scenes: Path, layout: str) -> None:
    root = scenes / CLASSIFICATION[layout]
    read = {split: read_labelled(layout, root, split) for split in ("train", "test")}
    expected = identify(layout, root)
    assert {split: identity_of(images) for split, images in read.items()} == expected
    assert identify(layout, root, read=read) == expected


def test_the_order_of_the_disk_does_not_matter(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = identify("imagenet", scenes / "imagenet")
    listdir, scandir = os.listdir, os.scandir
    monkeypatch.setattr("os.listdir", lambda path: sorted(listdir(path), reverse=True))
    monkeypatch.setattr("os.scandir", lambda path: sorted(scandir(path), key=lambda e: e.name, reverse=True))
    assert identify("imagenet", scenes / "imagenet") == expected


def test_adding_removing_resizing_and_relabelling(tmp_path: Path) -> None:
    root = classes_tree(tmp_path / "pets")
    (root / "train/cat/z.jpg").write_bytes(b"12")
    seen = [identify("imagenet", root)["train"]]

    def changed() -> bool:
        seen.append(identify("imagenet", root)["train"])
        return len(set(seen)) == len(seen)

    image = root / "train/dog/new.jpg"
    image.write_bytes(b"1")
    assert changed(), "added"
    image.write_bytes(b"12")
    assert changed(), "resized in place"
    image.rename(root / "train/cat/new.jpg")
    assert changed(), "relabelled"
    (root / "train/cat/z.jpg").unlink()
    assert changed(), "another one removed"
    (root / "train/cat").rename(root / "train/cats")
    (root / "val/cat").rename(root / "val/cats")
    assert changed(), "a class renamed"


def test_a_list_is_part_of_the_identity(scenes: Path, tmp_path: Path) -> None:
    root = scenes / "imagenet"
    own, names = tmp_path / "own.txt", (root / "1percent.txt").read_text().split()
    whole, listed = identify("imagenet", root), identify("imagenet", root, fraction="1%")
    assert whole["train"] != listed["train"]
    assert whole["test"] == listed["test"]
    own.write_text("\r\n".join(names))
    assert identify("imagenet", root, fraction="1%", subset=own) == listed
    own.write_text("\n".join(names[1:]))
    assert identify("imagenet", root, fraction="1%", subset=own)["train"] != listed["train"]


def test_a_label_in_a_class_list(copy) -> None:
    root = copy("VOCdevkit")
    before = identify("voc", root)
    path = root / "VOC2007/ImageSets/Main/two_trainval.txt"
    first = path.read_text().split()[0]
    lines = [f"{first} 0" if line.startswith(first) else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    after = identify("voc", root)
    assert after["train"] != before["train"]
    assert after["test"] == before["test"]


@pytest.mark.parametrize(
    ("layout", "file", "found", "put"),
    [
        ("voc", "VOCdevkit/VOC2007/Annotations/000001.xml", "<difficult>0", "<difficult>1"),
        ("voc", "VOCdevkit/VOC2012/Annotations/2012_000001.xml", "<xmin>", "<xmin>1"),
        ("coco", "coco/annotations/instances_train2017.json", '"iscrowd": 0', '"iscrowd": 1'),
    ],
)
def test_an_annotation_is_part_of_the_identity(copy, layout: str, file: str, found: str, put: str) -> None:
    tree = file.partition("/")[0]
    root = copy(tree)
    before = identify(layout, root, task="detection")
    path = root.parent / file
    assert found in path.read_text()
    path.write_text(path.read_text().replace(found, put, 1))
    after = identify(layout, root, task="detection")
    assert after["train"] != before["train"]
    assert after["test"] == before["test"]


def test_detectors_train_without_voc2012_where_it_is_not(copy) -> None:
    root = copy("VOCdevkit")
    both = contents("voc", root, task="detection")
    shutil.rmtree(root / "VOC2012")
    one = contents("voc", root, task="detection")
    assert (both["train"].images, one["train"].images) == (40, 20)
    assert one["test"] == both["test"]


def test_two_classes_of_one_name_are_two() -> None:
    def labelled(targets: list[int]) -> str:
        here = Path(__file__)
        return identity_of(
            LabelledImages(PathList(here.parent, [here.name] * 2), np.array(targets), ("cat", "cat"), root=here.parent)
        )

    assert labelled([0, 1]) != labelled([0, 0])


def test_counts_and_classes(scenes: Path) -> None:
    assert contents("imagenet", scenes / "imagenet", fraction="10%")["train"].images == 10
    found = contents("coco", scenes / "coco", task="detection")
    assert {split: part.images for split, part in found.items()} == {"train": 20, "test": 20}
    assert {part.classes for part in found.values()} == {10}


# What does not fit is one line.


def test_a_missing_image_is_named(copy) -> None:
    root = copy("inat")
    image = read_labelled("inat", root, "test").paths[7]
    image.unlink()
    with pytest.raises(DataError, match=rf"{image}: no such image; the data set is incomplete"):
        identify("inat", root)


def test_a_missing_annotation_is_named(copy) -> None:
    root = copy("VOCdevkit")
    path = root / "VOC2007/Annotations/000002.xml"
    path.unlink()
    with pytest.raises(DataError, match=rf"{path}: no such file; expected an annotation for each"):
        identify("voc", root, task="detection")


def test_words_that_nobody_knows(scenes: Path) -> None:
    with pytest.raises(DataError, match="unknown task 'detecton'. Did you mean 'detection'"):
        identify("voc", scenes, task="detecton")
    with pytest.raises(DataError, match="unknown layout with boxes 'imagenet'"):
        identify("imagenet", scenes / "imagenet", task="detection")


def test_threads_answer_in_order(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(3 * CHUNK + 5)]
    for number, name in enumerate(names):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, number)
    assert list(PathList(tmp_path, names).sizes()) == list(range(len(names)))
    (tmp_path / names[2 * CHUNK]).unlink()
    with pytest.raises(DataError, match=f"{names[2 * CHUNK]}: no such image"):
        list(PathList(tmp_path, names).sizes())


def test_no_torch_is_needed(scenes: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from twinbench.data.identity import *; print(identify("
    code += f"'imagenet', Path({str(scenes / 'imagenet')!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert eval(done.stdout) == identify("imagenet", scenes / "imagenet")


# The hint.


@pytest.fixture
def hinted(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ImageNet scenes, large enough for a hint, and settled."""
    monkeypatch.setattr(identity, "HINTED_FROM", 1)
    monkeypatch.setattr(hints, "SETTLED_SECONDS", -3600)
    return Path(shutil.copytree(scenes / "imagenet", tmp_path / "own"))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that were read from the disk so far."""
    splits: list[str] = []

    def read(layout: str, root: Path, split: str, *rest) -> LabelledImages:
        splits.append(split)
        return read_labelled(layout, root, split, *rest)

    def pool(source: Source) -> LabelledImages:
        splits.append("train")
        return read_pool(source)

    monkeypatch.setattr(identity, "read_labelled", read)
    monkeypatch.setattr(identity, "read_pool", pool)
    return splits


def test_a_large_set_is_counted_once(hinted: Path, counted: list[str]) -> None:
    found = [identify("imagenet", hinted) for _ in range(3)]
    assert found[0] == found[1] == found[2]
    assert counted == ["train", "test"]


def test_hints_are_of_one_question(hinted: Path, counted: list[str]) -> None:
    every = [identify("imagenet", hinted, fraction=fraction)["train"] for fraction in ("100%", "10%", "100%", "10%")]
    assert every[:2] == every[2:]
    assert every[0] != every[1]
    assert identify("imagenet", hinted, task="pretraining")["train"] not in every
    assert len(counted) == 5


def test_a_small_set_is_always_counted(scenes: Path, cache: Path, counted: list[str]) -> None:
    for _ in range(2):
        identify("imagenet", scenes / "imagenet")
    assert len(counted) == 4
    assert not cache.exists()


@pytest.mark.parametrize("change", ["add", "remove", "rename", "list", "class"])
def test_a_hint_ends_when_something_moves(hinted: Path, change: str) -> None:
    before = identify("imagenet", hinted, fraction="10%")
    image = read_labelled("imagenet", hinted, "test").paths[0]
    listed = hinted / "10percent.txt"
    match change:
        case "add":
            shutil.copy(image, image.with_name("new.JPEG"))
        case "remove":
            image.unlink()
        case "rename":
            image.rename(image.with_name("new.JPEG"))
        case "list":
            listed.write_text("".join(listed.read_text().splitlines(keepends=True)[::-1]))
        case "class":
            for split in ("train", "val"):
                shutil.copytree(hinted / split / "n00000001", hinted / split / "n00000077")
    after = identify("imagenet", hinted, fraction="10%")
    assert after != before
    assert after == identify("imagenet", hinted, fraction="10%", anew=True)


def test_every_image_written_over_in_place(hinted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "WATCHED", 2)
    before = identify("imagenet", hinted)
    for path in read_labelled("imagenet", hinted, "test").paths:
        path.write_bytes(path.read_bytes() + b"\0")
    after = identify("imagenet", hinted)
    assert after["train"] == before["train"]
    assert after["test"] != before["test"]


def test_who_measures_asks_the_files(hinted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image written over in place moves no folder: the hint is wrong until somebody asks the files."""
    monkeypatch.setattr(identity, "WATCHED", 2)
    before = identify("imagenet", hinted)
    image = read_labelled("imagenet", hinted, "train").paths[3]
    image.write_bytes(image.read_bytes() + b"\0")
    assert identify("imagenet", hinted) == before
    read = {split: read_labelled("imagenet", hinted, split) for split in ("train", "test")}
    after = identify("imagenet", hinted, read=read, anew=True)
    assert after != before
    assert identify("imagenet", hinted) == after


def test_what_has_just_changed_is_not_kept(hinted: Path, counted: list[str], monkeypatch) -> None:
    monkeypatch.setattr(hints, "SETTLED_SECONDS", 2)
    for _ in range(2):
        identify("imagenet", hinted)
    assert len(counted) == 4


@pytest.mark.parametrize("damage", ["{", "[]", '{"question": 1}', "replace", "unreadable"])
def test_a_damaged_hint_is_no_hint(hinted: Path, cache: Path, damage: str) -> None:
    expected = identify("imagenet", hinted)
    (path,) = (cache / "data").iterdir()
    if damage == "replace":
        damage = json.dumps(json.loads(path.read_text()) | {"answer": {"train": {"sha256": 1}}})
    if damage == "unreadable":
        path.unlink()
        path.mkdir()
    else:
        path.write_text(damage)
    assert identify("imagenet", hinted) == expected


@pytest.mark.parametrize("place", ["/proc/none", "{tmp}/file/cache"])
def test_an_unwritable_cache_is_no_error(hinted: Path, place: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TWINBENCH_CACHE", place.format(tmp=tmp_path))
    assert identify("imagenet", hinted) == identify("imagenet", hinted)


def test_a_hint_knows_the_place_by_its_real_path(hinted: Path, counted: list[str], tmp_path: Path, monkeypatch) -> None:
    identify("imagenet", hinted)
    (tmp_path / "link").symlink_to(hinted)
    identify("imagenet", tmp_path / "link")
    monkeypatch.chdir(hinted.parent)
    identify("imagenet", Path(hinted.name))
    assert counted == ["train", "test"]


def test_detection_is_hinted_until_an_annotation_changes(scenes: Path, tmp_path: Path, hinted: Path) -> None:
    root = Path(shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit"))
    before = identify("voc", root, task="detection")
    assert identify("voc", root, task="detection") == before
    path = root / "VOC2007/Annotations/000002.xml"
    path.write_text(path.read_text().replace("<xmax>", "<xmax>1", 1))
    assert identify("voc", root, task="detection")["test"] != before["test"]


def test_contents_are_plain() -> None:
    assert Contents("ab", 2, 1) == Contents(**{"sha256": "ab", "images": 2, "classes": 1})
