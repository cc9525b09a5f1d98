"""VOC devkits that are not VOC2007's: other suffixes, names, splits and folders, marks in lists, no class lists."""

import shutil
from pathlib import Path

import pytest

from twinbench.data.errors import DataError
from twinbench.data.folders.own import sniff_layout
from twinbench.data.layouts import read_images, read_labelled
from twinbench.data.source import Source

BOM = b"\xef\xbb\xbf"


def devkit(
    folder: Path, splits: dict[str, str], lists: dict[str, str], images: str = "1.jpg 2.jpg 3.jpg 4.jpg"
) -> Path:
    """Write ImageSets/Main with image lists and class lists, and empty images."""
    main = folder / "ImageSets" / "Main"
    for place in (main, folder / "JPEGImages"):
        place.mkdir(parents=True)
    for name, text in (splits | lists).items():
        (main / f"{name}.txt").write_text(text)
    for name in images.split():
        (folder / "JPEGImages" / name).touch()
    return folder


def annotate(folder: Path, image: str, *objects: tuple[str, str]) -> None:
    """Write an annotation with the name and <difficult> of each object."""
    things = "".join(f"<object><name>{name}</name>{difficult}</object>" for name, difficult in objects)
    (folder / "Annotations").mkdir(exist_ok=True)
    (folder / "Annotations" / f"{image}.xml").write_text(f"<annotation>{things}</annotation>")


BOTH = {"trainval": "1\n2\n", "test": "3\n4\n"}
CAT = {"cat_trainval": "1 1\n2 -1\n", "cat_test": "3 -1\n4 1\n"}


def test_lists_with_a_mark_and_windows_line_ends_are_the_same_lists(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit"))
    for path in (root / "VOC2007" / "ImageSets" / "Main").iterdir():
        path.write_bytes(BOM + path.read_bytes().replace(b"\n", b"\r\n"))
    for split in ("train", "test"):
        plain, marked = (read_labelled("voc", place, split) for place in (scenes / "VOCdevkit", root))
        assert [path.name for path in plain.paths] == [path.name for path in marked.paths]
        assert plain.targets.tolist() == marked.targets.tolist()


@pytest.mark.parametrize("suffix", ["png", "JPG", "jpeg", "webp"])
def test_images_of_other_suffixes(tmp_path: Path, suffix: str) -> None:
    names = " ".join(f"{image}.{suffix}" for image in (1, 2, 3, 4))
    devkit(tmp_path / "VOC2007", BOTH, CAT, names)
    assert [path.name for path in read_labelled("voc", tmp_path, "train").paths] == [f"1.{suffix}", f"2.{suffix}"]


def test_jpg_comes_first_where_an_image_is_there_twice(tmp_path: Path) -> None:
    devkit(tmp_path / "VOC2007", BOTH, CAT, "1.png 1.jpg 1.txt ._1.jpg 2.jpg 3.jpg 4.jpg")
    assert [path.name for path in read_labelled("voc", tmp_path, "train").paths] == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize("name", ["red_cell", "red cell", "細胞", "train", "a_trainval", "x[0-9]", "person.1"])
def test_classes_of_any_name(tmp_path: Path, name: str) -> None:
    lists = {f"{name}_trainval": "1 1\n2 -1\n", f"{name}_test": "3 -1\n4 1\n"}
    devkit(tmp_path / "VOC2007", BOTH, lists)
    assert read_labelled("voc", tmp_path, "train").classes == (name,)
    assert read_labelled("voc", tmp_path, "test").targets.tolist() == [[0], [1]]


def test_lists_of_images_are_no_classes_whatever_they_are_called(tmp_path: Path) -> None:
    splits = {"train": "1\n2\n", "val": "3\n4\n", "first_train": "1\n", "first_val": "3\n"}
    devkit(tmp_path / "VOC2007", splits, {"train_train": "1 1\n2 -1\n", "train_val": "3 1\n4 -1\n"})
    images = read_labelled("voc", tmp_path, "train")
    assert images.classes == ("train",)  # VOC's class of that name
    assert images.targets.tolist() == [[1], [0]]


def test_ids_with_blanks(tmp_path: Path) -> None:
    lists = {"cat_trainval": "my cat   1\nno cat  -1\n", "cat_test": "3 1\n4 -1\n"}
    home = devkit(tmp_path / "VOC2007", {"trainval": "my cat\nno cat\n", "test": "3\n4\n"}, lists, "3.jpg 4.jpg")
    for name in ("my cat.jpg", "no cat.jpg"):
        (home / "JPEGImages" / name).touch()
    images = read_labelled("voc", tmp_path, "train")
    assert [path.stem for path in images.paths] == ["my cat", "no cat"]
    assert images.targets.tolist() == [[1], [0]]


@pytest.mark.parametrize("place", ["VOC2007", "VOCdevkit/VOC2007", "VOC2012", "VOCdevkit/cells", "."])
def test_the_folder_of_a_devkit_may_have_any_name_and_place(tmp_path: Path, place: str) -> None:
    devkit(tmp_path / "data" / place, BOTH, CAT)
    (tmp_path / "data" / ".ipynb_checkpoints").mkdir()
    assert sniff_layout(tmp_path / "data", "classification") == "voc"
    assert [path.name for path in read_labelled("", tmp_path / "data", "test").paths] == ["3.jpg", "4.jpg"]


def test_two_folders_are_asked_about_unless_one_is_voc2007(tmp_path: Path) -> None:
    for name in ("VOC2010", "VOC2012"):
        devkit(tmp_path / name, BOTH, CAT)
    with pytest.raises(DataError, match="VOC2010, VOC2012 in it; expected VOC2007 or one such folder; give one"):
        read_labelled("voc", tmp_path, "train")
    devkit(tmp_path / "VOC2007", BOTH, CAT)
    assert read_labelled("voc", tmp_path, "train").paths[0].parent.parent.name == "VOC2007"


@pytest.mark.parametrize(
    ("splits", "query", "train", "test"),
    [
        ("trainval test train val", "", "trainval", "test"),
        ("train val", "", "train", "val"),
        ("train val test", "", "train", "test"),
        ("train val trainval test", "?train=train&test=val", "train", "val"),
        ("mine yours", "?train=mine&test=yours.txt", "mine", "yours"),
    ],
)
def test_which_lists_are_the_splits(tmp_path: Path, splits: str, query: str, train: str, test: str) -> None:
    ids = {name: f"{2 * number}\n{2 * number + 1}\n" for number, name in enumerate(splits.split())}
    lists = {f"cat_{name}": f"{2 * n} 1\n{2 * n + 1} -1\n" for n, name in enumerate(splits.split())}
    devkit(tmp_path / "VOC2007", ids, lists, " ".join(f"{number}.jpg" for number in range(8)))
    source = Source.of(f"{tmp_path}{query}")
    for split, name in (("train", train), ("test", test)):
        found = [path.stem for path in read_labelled("voc", source, split).paths]
        assert found == ids[name].split()


def test_val_is_never_taken_for_the_test_images_of_trainval(tmp_path: Path) -> None:
    devkit(tmp_path / "VOC2012", {"trainval": "1\n2\n3\n4\n", "train": "1\n2\n", "val": "3\n4\n"}, CAT)
    with pytest.raises(DataError, match=r"test\.txt: no such file; .*DATA\?train=NAME&test=NAME"):
        read_labelled("voc", tmp_path, "test")


def test_without_class_lists_the_annotations_say_the_classes(tmp_path: Path) -> None:
    home = devkit(tmp_path / "VOC2007", {"trainval": "1\n2\n", "test": "3\n4\n"}, {})
    easy, hard = "<difficult>0</difficult>", "<difficult>1</difficult>"
    annotate(home, "1", ("red cell", ""), ("dog", hard))
    annotate(home, "2", ("dog", hard), ("dog", easy), ("dog", hard))
    annotate(home, "3", ("dog", easy))
    annotate(home, "4", (" red cell ", easy))
    images = read_images("voc", Source.of(tmp_path), "train")
    assert images.classes == ("dog", "red cell")
    assert images.targets.tolist() == [[-1, 1], [1, 0]]
    with pytest.raises(DataError, match="class 'dog' has 1 positive, 0 negative and 1 ignored train images"):
        read_labelled("voc", tmp_path, "train")


def test_labels_from_annotations_follow_vocs_lists(tmp_path: Path) -> None:
    home = devkit(
        tmp_path / "VOC2007", {"trainval": "1\n2\n3\n", "test": "4\n5\n"}, {}, "1.jpg 2.jpg 3.jpg 4.jpg 5.jpg"
    )
    annotate(home, "1", ("dog", "<difficult>1</difficult>"), ("dog", "<difficult>0</difficult>"))
    annotate(home, "2", ("dog", "<difficult>1</difficult>"))
    annotate(home, "3")
    annotate(home, "4", ("dog", ""))
    annotate(home, "5")
    assert read_labelled("voc", tmp_path, "train").targets.tolist() == [[1], [-1], [0]]
    assert read_labelled("voc", tmp_path, "test").targets.tolist() == [[1], [0]]


def test_the_scenes_lists_are_what_their_annotations_say(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit"))
    for split in ("trainval", "test"):
        for path in (root / "VOC2007" / "ImageSets" / "Main").glob(f"*_{split}.txt"):
            path.unlink()
    for split in ("train", "test"):
        lists, boxes = (read_labelled("voc", place, split) for place in (scenes / "VOCdevkit", root))
        assert lists.classes == boxes.classes
        assert lists.targets.tolist() == boxes.targets.tolist()


def test_an_annotation_that_says_no_class_is_named(tmp_path: Path) -> None:
    home = devkit(tmp_path / "VOC2007", BOTH, {})
    for image in (1, 2, 3, 4):
        annotate(home, str(image), ("dog", "<difficult>maybe</difficult>"))
    with pytest.raises(DataError, match=r"1\.xml, object 1: class 'dog', difficult 'maybe'; expected"):
        read_labelled("voc", tmp_path, "train")


@pytest.mark.parametrize("absent", ["0", "-1"])
@pytest.mark.parametrize("split", ["trainval", "test"])
def test_lists_of_ones_and_another_number_for_absent(tmp_path: Path, absent: str, split: str) -> None:
    """0 is VOC's difficult; -1 is fine."""
    lists = CAT | {f"cat_{split}": CAT[f"cat_{split}"].replace("-1", absent)}
    devkit(tmp_path / "VOC2007", BOTH, lists)
    half = {"trainval": "train", "test": "test"}[split]
    if absent == "-1":
        assert sorted(read_labelled("voc", tmp_path, half).targets.ravel()) == [0, 1]
    else:
        with pytest.raises(DataError, match=r"marked -1 \(1 times 1, 0 times -1, 1 times 0\)"):
            read_labelled("voc", tmp_path, half)


def test_a_class_left_out_by_a_list_need_not_have_both_sides(tmp_path: Path) -> None:
    dog = {"dog_trainval": "1 1\n2 1\n", "dog_test": "3 1\n4 1\n"}
    devkit(tmp_path / "VOC2007", BOTH, CAT | dog)
    with pytest.raises(DataError, match=r"dog_trainval\.txt: no image is marked -1"):
        read_labelled("voc", tmp_path, "train")
    (tmp_path / "kept.txt").write_text("cat\n")
    source = Source.of(f"{tmp_path}?classes={tmp_path}/kept.txt")
    assert read_labelled("voc", source, "train").classes == ("cat",)
