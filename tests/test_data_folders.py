"""Folders as people have them: deep, with leavings and links, splits of any name, labels in a file; pools of images."""

import os
from pathlib import Path

import numpy as np
import pytest

from twinbench.data.errors import DataError
from twinbench.data.folders import walk
from twinbench.data.folders.leavings import LEAVINGS, is_leaving
from twinbench.data.folders.own import sniff_layout
from twinbench.data.folders.pool import read_pool
from twinbench.data.labelled import told_left_out
from twinbench.data.layouts import read_labelled
from twinbench.data.source import Source


def put(root: Path, *names: str, text: str = "x") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def names(images) -> list[str]:
    return [path.relative_to(images.root).as_posix() for path in images.paths]


def is_as_image_folder(root: Path) -> None:
    from torchvision.datasets import ImageFolder

    ours, theirs = read_labelled("imagenet", root, "train"), ImageFolder(str(root / "train"))
    assert [str(path) for path in ours.paths] == [path for path, _ in theirs.samples]
    assert ours.targets.tolist() == theirs.targets
    assert list(ours.classes) == theirs.classes


def test_deeper_folders_are_walked_as_by_image_folder(tmp_path: Path) -> None:
    put(tmp_path, "train/b/z.jpg", "train/b/deep/a.PNG", "train/b/deep-er/a.jpeg", "train/b/deep/more/0.webp")
    put(tmp_path, "train/a/images/2.jpg", "train/a/images/10.jpg", "train/a/notes.txt", "train/a-b/x.bmp")
    is_as_image_folder(tmp_path)


def test_linked_folders_and_files_are_followed_as_by_image_folder(tmp_path: Path) -> None:
    store = put(tmp_path / "store", "cats/1.jpg", "cats/more/2.jpg", "one.jpg")
    put(tmp_path / "data", "train/dog/3.jpg")
    (tmp_path / "data/train/cat").symlink_to(store / "cats")
    (tmp_path / "data/train/dog/also").symlink_to(store / "cats" / "more")
    (tmp_path / "data/train/dog/4.jpg").symlink_to(store / "one.jpg")
    is_as_image_folder(tmp_path / "data")


def test_folders_that_look_like_images_are_folders(tmp_path: Path) -> None:
    put(tmp_path, "train/a/x.jpg/1.jpg", "train/a/2.jpg", "train/b/3.jpg")
    is_as_image_folder(tmp_path)


@pytest.mark.parametrize("target", [".", "..", "../..", "/"])
def test_links_that_lead_in_circles_are_not_followed(tmp_path: Path, target: str) -> None:
    root = put(tmp_path, "train/a/1.jpg", "train/b/2.jpg")
    (root / "train/a/circle").symlink_to(target)
    images = read_labelled("imagenet", root, "train")
    assert names(images) == ["train/a/1.jpg", "train/b/2.jpg"]
    assert images.left_out == {walk.CIRCLE: 1}


def test_a_class_that_is_a_link_to_everything_is_none(tmp_path: Path) -> None:
    root = put(tmp_path, "train/a/1.jpg", "train/b/2.jpg")
    (root / "train/c").symlink_to("/")
    assert read_labelled("imagenet", root, "train").classes == ("a", "b")


def test_links_side_by_side_do_not_multiply(tmp_path: Path) -> None:
    for depth in range(30):  # each reaches the next twice: a thousand million ways to the end
        (tmp_path / f"store/{depth}").mkdir(parents=True)
        for name in ("x", "y"):
            (tmp_path / f"store/{depth}/{name}").symlink_to(tmp_path / f"store/{depth + 1}")
    put(tmp_path, "store/30/1.jpg", "data/train/b/2.jpg")
    (tmp_path / "data/train/a").symlink_to(tmp_path / "store/0")
    images = read_labelled("imagenet", tmp_path / "data", "train")
    assert [path.name for path in images.paths] == ["1.jpg", "2.jpg"]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.jpg", "train/a/2.xyz", "train/a/b/3.gif", "train/a/._1.jpg", "train/readme.txt")
    put(tmp_path, "train/4.jpg")
    os.mkfifo(tmp_path / "train/a/pipe.jpg")
    images = read_labelled("imagenet", tmp_path, "train")
    assert names(images) == ["train/a/1.jpg"]
    told = f"3 {walk.FOREIGN}, 1 {walk.LEAVING}, 1 {walk.OUTSIDE}, 1 {walk.NO_FILE}"
    assert told_left_out(images) == told


def test_a_link_to_nowhere_stays_and_is_told_as_missing(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.jpg")
    (tmp_path / "train/a/2.jpg").symlink_to("nowhere.jpg")
    images = read_labelled("imagenet", tmp_path, "train")
    with pytest.raises(DataError, match=r"2\.jpg: no such image"):
        list(images.paths.sizes())


@pytest.mark.parametrize("name", [name for name in LEAVINGS if "*" not in name] + [".ipynb_checkpoints", "._a.jpg"])
def test_leavings_are_neither_classes_nor_images(tmp_path: Path, name: str) -> None:
    put(tmp_path, "train/a/1.jpg", f"train/{name}/2.jpg", f"train/a/{name}/3.jpg", f"val/{name}/4.jpg", "val/a/5.jpg")
    train, test = (read_labelled("imagenet", tmp_path, split) for split in ("train", "test"))
    assert train.classes == test.classes == ("a",)
    assert names(train) + names(test) == ["train/a/1.jpg", "val/a/5.jpg"]


@pytest.mark.parametrize("name", ["images", "n01440764", "Thumbs", "lost", "a.b", "_x", "~", "icon"])
def test_names_of_classes_are_no_leavings(name: str) -> None:
    assert not is_leaving(name)


def test_splits_of_any_name(tmp_path: Path) -> None:
    put(tmp_path, "part/Train/a/1.jpg", "part/Train/b/2.jpg", "Hold Out/a/3.jpg", "Hold Out/b/4.jpg")
    source = Source.of(f"{tmp_path}?train=part/Train&test=Hold%20Out")
    assert sniff_layout(source, "classification") == "imagenet"
    assert names(read_labelled("", source, "train")) == ["part/Train/a/1.jpg", "part/Train/b/2.jpg"]
    assert names(read_labelled("", source, "test")) == ["Hold Out/a/3.jpg", "Hold Out/b/4.jpg"]


def test_a_split_outside_the_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "data/x", "other/a/1.jpg")
    with pytest.raises(DataError, match="leads out of the folder"):
        read_labelled("imagenet", Source.of(f"{tmp_path}/data?train=../other"), "train")


# ?classes=FILE


def tree(root: Path) -> Path:
    for name in ("ant", "bee", "red_cell"):
        put(root, f"train/{name}/1.jpg", f"train/{name}/2.jpg", f"val/{name}/3.jpg")
    return root


def test_classes_on_a_list_are_kept_in_their_own_order(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfred_cell  a remark\r\nant\r\n")
    source = Source.of(f"{tree(tmp_path)}?classes={tmp_path}/list.txt")
    images = read_labelled("imagenet", source, "train")
    assert images.classes == ("ant", "red_cell")
    assert names(images) == [f"train/{name}/{n}.jpg" for name in ("ant", "red_cell") for n in (1, 2)]
    assert images.targets.tolist() == [0, 0, 1, 1]


def test_a_test_split_may_have_only_the_classes_kept(tmp_path: Path) -> None:
    put(tree(tmp_path), "train/eel/1.jpg", "list.txt", text="bee\nant\n")
    images = read_labelled("imagenet", Source.of(f"{tmp_path}?classes={tmp_path}/list.txt"), "test")
    assert names(images) == ["val/ant/3.jpg", "val/bee/3.jpg"]


@pytest.mark.parametrize(("text", "complaint"), [("ant\nwasp\n", "'wasp' is no class"), ("\n", "an empty list")])
def test_a_list_of_classes_that_does_not_fit(tmp_path: Path, text: str, complaint: str) -> None:
    put(tree(tmp_path), "list.txt", text=text)
    with pytest.raises(DataError, match=complaint):
        read_labelled("imagenet", Source.of(f"{tmp_path}?classes={tmp_path}/list.txt"), "train")


def test_classes_are_kept_in_lists_too(tmp_path: Path) -> None:
    put(tmp_path, "train.csv", text="ant/a.jpg 0\nbee/b.jpg 1\ncow/c.jpg 2\nbee/d.jpg 1\n")
    put(tmp_path, "ant/a.jpg", "bee/b.jpg", "cow/c.jpg", "bee/d.jpg")
    put(tmp_path, "kept", text="cow\nbee\n")
    images = read_labelled("places", Source.of(f"{tmp_path}?classes={tmp_path}/kept&train=train.csv"), "train")
    assert names(images) == ["bee/b.jpg", "cow/c.jpg", "bee/d.jpg"]
    assert images.targets.tolist() == [0, 1, 0]
    assert list(images.left_out.values()) == [1]


# A flat val with a label file


def flat(root: Path, file: str, text: str, *images: str) -> list[int]:
    put(root, "train/ant/1.jpg", "train/bee/2.jpg", "train/cow/3.jpg", *(f"val/{name}" for name in images))
    put(root, file, text=text)
    assert sniff_layout(root, "classification") == "imagenet"
    return read_labelled("imagenet", root, "test").targets.tolist()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("val.txt", "a.jpg 2\nb.jpg 0\n"),  # Caffe
        ("val.txt", "2\n0\n"),  # in the order of the names
        ("val.txt", "b.jpg ant\nval/a.jpg cow\n"),
        ("val/val.txt", "cow\nant\n"),
        ("val/val_annotations.txt", "a.jpg\tcow\t0\t0\t62\t57\nb.jpg\tant\t1\t1\t9\t9\n"),  # Tiny ImageNet
        ("LOC_val_solution.csv", "ImageId,PredictionString\nb,ant 1 2 3 4 ant 5 6 7 8\na,cow 1 2 3 4\n"),  # Kaggle
    ],
)
def test_a_flat_val_is_read_by_its_labels(tmp_path: Path, file: str, text: str) -> None:
    assert flat(tmp_path, file, text, "b.jpg", "a.jpg") == [2, 0]


def test_tiny_imagenets_val_has_a_folder_between(tmp_path: Path) -> None:
    text = "val_0.JPEG\tbee\t0\t0\t1\t1\nval_1.JPEG\tant\t0\t0\t1\t1\n"
    assert flat(tmp_path, "val/val_annotations.txt", text, "images/val_0.JPEG", "images/val_1.JPEG") == [1, 0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1\n3\n2\n", r"labels up to 3; expected 0 to 2"),  # ILSVRC's ground truth counts from 1
        ("0\n1\n", "2 labels for 3 images"),
        ("a.jpg 0\nb.jpg 1\n", r"no class for c\.jpg, of 2 named"),
        ("a.jpg 0\nb.jpg 1\nc.jpg wasp\n", r"class 'wasp' of c\.jpg is none of train's"),
    ],
)
def test_labels_that_do_not_fit_a_flat_val(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        flat(tmp_path, "val.txt", text, "a.jpg", "b.jpg", "c.jpg")


def test_a_flat_val_without_labels_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no class folders in it, and none of val\.txt, .*; ImageNet's val images must"
    ):
        flat(tmp_path, "other.txt", "", "a.jpg")


# Pools to pretrain on


def test_a_flat_folder_is_a_pool(tmp_path: Path) -> None:
    put(tmp_path, "b.jpg", "a.jpg", "more/deep/c.png", ".hidden/d.jpg", "notes.txt")
    pool = read_pool(tmp_path)
    assert names(pool) == ["a.jpg", "b.jpg", "more/deep/c.png"]
    assert sum(pool.left_out.values()) == 2


def test_a_pool_is_the_training_folder_where_there_is_one(tmp_path: Path) -> None:
    put(tmp_path, "train/x/1.jpg", "train/2.jpg", "val/x/3.jpg")
    assert names(read_pool(tmp_path)) == ["train/2.jpg", "train/x/1.jpg"]


def test_a_pool_of_class_folders_has_the_readers_order(scenes: Path) -> None:
    pool, images = (read(scenes / "imagenet") for read in (read_pool, lambda root: read_labelled("", root, "train")))
    assert names(pool) == names(images)


@pytest.mark.parametrize(("layout", "root"), [("inat", "inat"), ("places", "places"), ("voc", "VOCdevkit")])
def test_a_pool_leaves_the_test_images_of_a_published_set_alone(scenes: Path, layout: str, root: str) -> None:
    train = read_labelled(layout, scenes / root, "train")
    assert list(read_pool(scenes / root).paths) == list(train.paths)


def test_an_empty_pool_is_told(tmp_path: Path) -> None:
    put(tmp_path, "a.gif")
    with pytest.raises(DataError, match="no images in it or below, but 1 files that are no images"):
        read_pool(tmp_path)


def test_targets_are_whole_numbers(tmp_path: Path) -> None:
    assert read_labelled("imagenet", tree(tmp_path), "train").targets.dtype == np.int64
