"""Images by list: what lines, columns and labels say, where the images lie, and what is refused in one line."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinbench.data.errors import DataError
from twinbench.data.folders.own import sniff_layout
from twinbench.data.folders.pool import read_pool
from twinbench.data.identity import contents, identify
from twinbench.data.labelled import LabelledImages
from twinbench.data.layouts import read_images, read_labelled
from twinbench.data.lists import lines, placed
from twinbench.data.lists.listed import REPEATED
from twinbench.data.source import Source

NAMES = ("a/1.jpg", "a/2.jpg", "b/1.png", "b/my cat.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the images NAMES."""
    put(tmp_path, *NAMES)
    return tmp_path


def put(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name, "PNG")


def read(root: Path, text: str, query: str = "", name: str = "train.txt", split: str = "train") -> LabelledImages:
    (root / name).write_bytes(text.encode(errors="surrogateescape"))
    return read_labelled("", Source.of(f"list:{root / name}{query}"), split)


def refused(root: Path, text: str, query: str = "", name: str = "train.txt", split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        read(root, text, query, name, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def told(images: LabelledImages) -> dict[str, object]:
    """Name of each image -> its class, or its row of targets."""
    if images.targets.ndim > 1:
        labels = images.targets.tolist()
    else:
        labels = [images.classes[target] for target in images.targets]
    return dict(zip(map(images.paths.name, range(len(images.paths))), labels, strict=True))


CATS = {"a/1.jpg": "cat", "b/my cat.jpg": "dog"}


@pytest.mark.parametrize(
    "text",
    [
        "a/1.jpg cat\nb/my cat.jpg dog\n",
        "\ufeffa/1.jpg cat\nb/my cat.jpg dog",  # Windows' mark: the first name was not found for it
        "a/1.jpg cat\r\nb/my cat.jpg dog\r\n\r\n",
        "a/1.jpg cat\rb/my cat.jpg dog",
        "a/1.jpg\tcat\nb/my cat.jpg\tdog\n",
        "a/1.jpg,cat\nb/my cat.jpg,dog\n",
        'a/1.jpg,"cat"\n"b/my cat.jpg", dog\n',
        "./a/1.jpg cat\na/../b//my cat.jpg dog\n",
        "a\\1.jpg cat\nb\\my cat.jpg dog\n",
    ],
)
def test_a_line_is_an_image_and_its_label(root: Path, text: str) -> None:
    assert told(read(root, text)) == CATS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.csv", "path,label\na/1.jpg,cat\nb/my cat.jpg,dog\n"),
        ("train.csv", "\ufeffImage Path;Class Name\na/1.jpg;cat\nb/my cat.jpg;dog\n"),
        ("train.csv", 'label,filename\n"cat","a/1.jpg"\r\n"dog","b/my cat.jpg"\r\n'),
        ("train.tsv", "img\tcategory\na/1.jpg\tcat\nb/my cat.jpg\tdog\n"),
        ("train.txt", "file,label\na/1.jpg,cat\nb/my cat.jpg,dog\n"),
        ("train.csv", "id,breed\na/1,cat\nb/my cat,dog\n"),  # Kaggle: no suffixes, a label by no name of ours
        ("train.csv", ",id,path,label\n0,x,a/1.jpg,cat\n1,y,b/my cat.jpg,dog\n"),  # pandas' row numbers
        ("train.csv", "a/1.jpg,cat\nb/my cat.jpg,dog\n"),
    ],
)
def test_a_table_is_read_by_the_names_of_its_columns(root: Path, name: str, text: str) -> None:
    assert told(read(root, text, name=name)) == CATS


def test_columns_can_be_named(root: Path) -> None:
    text = "label,path,where,what\n9,x,a/1.jpg,cat\n9,y,b/my cat.jpg,dog\n"
    assert told(read(root, text, "?path=where&label=what", "train.csv")) == CATS


def test_a_label_of_several_words_is_one_where_the_user_says_so(root: Path) -> None:
    text = "path,labels\na/1.jpg,tabby cat\nb/1.png,dog|cat\n"
    assert told(read(root, text, "?separator=none", "train.csv")) == {"a/1.jpg": "tabby cat", "b/1.png": "dog|cat"}


def test_numbers_are_sorted_by_value_and_names_as_text(root: Path) -> None:
    numbers = read(root, "a/1.jpg 10\na/2.jpg 9\nb/1.png 0\n")
    assert (numbers.classes, numbers.targets.tolist()) == (("0", "9", "10"), [2, 1, 0])
    names = read(root, "a/1.jpg 010\na/2.jpg 9\nb/1.png x9\n")
    assert names.classes == ("010", "9", "x9")


def test_names_of_any_letters(root: Path) -> None:
    odd = os.fsdecode(b"b/\xff.jpg")  # no UTF-8
    put(root, "c/käse\u2028brot.jpg", odd)
    found = told(read(root, f"c/käse\u2028brot.jpg käse\n{odd} 猫\n"))
    assert found == {"c/käse\u2028brot.jpg": "käse", odd: "猫"}


ROWS = {"a/1.jpg": [1, 0, 1], "a/2.jpg": [0, 1, 0], "b/1.png": [0, 0, 0]}


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("path,labels\na/1.jpg,x|z\na/2.jpg,y\nb/1.png,\n", ""),
        ("path,labels\na/1.jpg,z; x\na/2.jpg,y\nb/1.png,\n", ""),
        ('path,labels\na/1.jpg,"x,z"\na/2.jpg,y\nb/1.png,\n', "?separator=comma"),
        ("path,tags\na/1.jpg,x z\na/2.jpg,y\nb/1.png,\n", "?separator=space"),
        ("path,x,y,z\na/1.jpg,1,0,1\na/2.jpg,0,1,0\nb/1.png,0,0,0\n", ""),
        ("path,x,y,z\na/1.jpg,1.0,,1.0\na/2.jpg,,1.0,\nb/1.png,,,\n", "?blank=0"),
        ("path,age,x,y,z\na/1.jpg,67,1,0,1\na/2.jpg,68,0,1,0\nb/1.png,69,0,0,0\n", "?label=x..z"),
        ("path,age,z,y,x\na/1.jpg,67,1,0,1\na/2.jpg,68,0,1,0\nb/1.png,69,0,0,0\n", "?label=x,y,z"),
    ],
)
def test_several_labels_an_image(root: Path, text: str, query: str) -> None:
    (root / "train.csv").write_text(text)
    images = read_images("", Source.of(f"list:{root}/train.csv{query}"), "train")
    assert (images.classes, told(images), images.targets.dtype) == (("x", "y", "z"), ROWS, np.int8)


def test_columns_behind_the_name_are_a_class_each(root: Path) -> None:
    images = read(root, "a/1.jpg 1 0 -1\na/2.jpg 0 1 1\nb/1.png -1 0 0\n")
    assert (images.classes, images.targets.tolist()) == (("0", "1", "2"), [[1, 0, -1], [0, 1, 1], [-1, 0, 0]])


def test_columns_of_the_test_table_go_by_their_names(root: Path) -> None:
    (root / "val.csv").write_text("path,y,x\na/1.jpg,1,0\na/2.jpg,0,1\n")
    images = read(root, "path,x,y\nb/1.png,1,0\na/2.jpg,0,1\n", name="train.csv", split="test")
    assert told(images) == {"a/1.jpg": [0, 1], "a/2.jpg": [1, 0]}


def test_a_class_without_negatives_is_refused(root: Path) -> None:
    assert "class 'x' has 1 positive, 0 negative and 1 ignored" in refused(
        root, "path,x,y\na/1.jpg,1,0\na/2.jpg,-1,1\n", name="train.csv"
    )


TABLE = "path,label,split\na/1.jpg,cat,train\na/2.jpg,dog,train\nb/1.png,cat,val\nb/my cat.jpg,dog,test\n"


def test_a_column_of_splits(root: Path) -> None:
    assert told(read(root, TABLE, name="all.csv")) == {"a/1.jpg": "cat", "a/2.jpg": "dog"}
    assert "several splits that could be the test images: 'train' (2), 'val' (1), 'test' (1)" in refused(
        root, TABLE, name="all.csv", split="test"
    )
    images = read(root, TABLE, "?test=test", "all.csv", "test")
    assert (told(images), images.left_out) == ({"b/my cat.jpg": "dog"}, {"lines of other splits": 3})
    both = read(root, TABLE, "?train=train+val&test=test", "all.csv")
    assert told(both) == {"a/1.jpg": "cat", "a/2.jpg": "dog", "b/1.png": "cat"}
    assert "no split 'tests'; expected one of 'train' (2)" in refused(root, TABLE, "?test=tests", "all.csv", "test")


@pytest.mark.parametrize(
    ("train", "test"),
    [("train.txt", "val.txt"), ("my_train_list.txt", "my_test_list.txt"), ("Train.csv", "Test.csv")],
)
def test_the_list_of_test_images_beside_that_of_training_images(root: Path, train: str, test: str) -> None:
    (root / test).write_text("b/1.png cat\n")
    images = read(root, "a/1.jpg cat\na/2.jpg dog\n", name=train, split="test")
    assert (told(images), images.classes) == ({"b/1.png": "cat"}, ("cat", "dog"))


def test_two_lists_beside_are_no_answer(root: Path) -> None:
    (root / "val.txt").write_text("b/1.png cat\n")
    (root / "test.txt").write_text("b/1.png cat\n")
    assert "both val.txt and test.txt beside it; expected one; give both lists" in refused(
        root, "a/1.jpg cat\n", split="test"
    )
    given = Source.of("list:train.txt, test.txt", base=root)
    assert told(read_labelled("", given, "test")) == {"b/1.png": "cat"}


def test_places_of_two_lists_start_from_the_folder_of_a_suite(root: Path) -> None:
    source = Source.of("list:x/train.txt,y/val.txt?root=images&classes=keep.txt", base=root)
    assert source.places == (root / "x/train.txt", root / "y/val.txt")
    assert source.options == {"root": f"{root}/images", "classes": f"{root}/keep.txt"}
    assert str(Source.of(str(source))) == str(source)


def test_a_list_with_a_comma_in_its_name_is_one(root: Path) -> None:
    assert told(read(root, "a/1.jpg cat\nb/my cat.jpg dog\n", name="a,b.txt")) == CATS


def test_pretraining_needs_names_only_and_a_measurement_labels(root: Path) -> None:
    (root / "train.txt").write_text("a/1.jpg\nb/my cat.jpg\n")
    pool = read_pool(Source.of(f"list:{root}/train.txt"))
    assert [pool.paths.name(index) for index in range(2)] == ["a/1.jpg", "b/my cat.jpg"]
    assert "train images without labels" in refused(root, "a/1.jpg\nb/my cat.jpg\n")


def test_a_folder_and_its_list_are_the_same_data(tmp_path: Path) -> None:
    files = [f"{part}/{label}/{number}.png" for part in ("train", "val") for label in "ab" for number in range(3)]
    put(tmp_path, *files)
    for part in ("train", "val"):
        lines = [f"{name} {name.split('/')[1]}\n" for name in files if name.startswith(part)]
        (tmp_path / f"{part}.txt").write_text("".join(lines))
    source = Source.of(f"list:{tmp_path}/train.txt")
    assert identify("", source) == identify("imagenet", tmp_path)


def test_the_same_list_elsewhere_is_the_same_data_and_a_file_of_its_name_is_not(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinbench.data.identity.HINTED_FROM", 0)
    monkeypatch.setattr("twinbench.data.hints.SETTLED_SECONDS", 0)
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    other = tmp_path_factory.mktemp("other")
    put(other, *NAMES)
    found = []
    for folder, lists in ((root, "a/1.jpg cat\na/2.jpg dog\n"), (other, "a/1.jpg dog\na/2.jpg cat\n")):
        (folder / "train.txt").write_text(lists)
        (folder / "val.txt").write_text("b/1.png cat\n")
        monkeypatch.chdir(folder)
        found.append(contents("", Source.of("list:train.txt,val.txt")))
    assert found[0]["train"] != found[1]["train"]
    assert found[0]["test"] == found[1]["test"]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("train.csv", "1.png"),  # Kaggle: train/ beside train.csv
        ("meta/train.txt", "train/1.png"),  # mmpretrain: meta/ beside the images
        ("meta/train.txt", "1.png"),
        ("train.txt", "DATA/train/1.png"),  # CheXpert: names begin with their own folder
    ],
)
def test_images_are_found_near_their_list(tmp_path: Path, place: str, name: str) -> None:
    root = tmp_path / "DATA"
    put(root, "train/1.png", "train/2.png")
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).write_text(f"{name} a\n{name.replace('1', '2')} b\n")
    images = read_labelled("", Source.of(f"list:{root / place}"), "train")
    assert [Path(str(path)).resolve() for path in images.paths] == [root / "train/1.png", root / "train/2.png"]


def test_images_in_another_folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    lists = tmp_path_factory.mktemp("lists")
    assert "no image 'a/1.jpg', its first" in refused(lists, "a/1.jpg cat\nb/my cat.jpg dog\n")
    assert told(read(lists, "a/1.jpg cat\nb/my cat.jpg dog\n", f"?root={root}")) == CATS


def test_absolute_names_and_names_above_the_list_start_from_what_they_share(root: Path) -> None:
    (root / "lists").mkdir()
    for text in (f"{root}/a/1.jpg cat\n{root}/b/my cat.jpg dog\n", "../a/1.jpg cat\n../b/my cat.jpg dog\n"):
        images = read(root / "lists", text)
        assert (told(images), images.root) == (CATS, root)


@pytest.mark.parametrize("listed", [False, True])
def test_missing_images_are_counted(root: Path, listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placed, "ONE_BY_ONE", 0 if listed else 10)
    (root / "c.jpg").mkdir()
    (root / "a/3.jpg").symlink_to("nowhere")
    text = "a/1.jpg x\na/3.jpg y\nz/4.jpg x\nc.jpg x\na/2.jpg y\n"
    assert "3 of its 5 images are not in" in (line := refused(root, text))
    assert "the first is 'a/3.jpg'" in line


def test_two_images_of_one_stem_are_told(root: Path) -> None:
    put(root, "a/1.png")
    assert "expected one image a/1; add its suffix" in refused(root, "id,label\na/1,x\na/2,y\n", name="train.csv")


def test_a_repeated_line_counts_once_and_another_label_is_refused(root: Path) -> None:
    images = read(root, "a/1.jpg x\na/2.jpg y\n./a/1.jpg x\n")
    assert (told(images), images.left_out) == ({"a/1.jpg": "x", "a/2.jpg": "y"}, {REPEATED: 1})
    assert "a/1.jpg is there twice, labelled 'x' and 'y'" in refused(root, "a/1.jpg x\na/2.jpg y\na/1.jpg y\n")


def test_classes_to_keep(root: Path) -> None:
    (root / "keep.txt").write_text("cat\ndog\n")
    (root / "val.txt").write_text("a/1.jpg cat\na/2.jpg snake\n")
    text, query = "a/1.jpg cat\na/2.jpg bird\nb/1.png dog\n", f"?classes={root}/keep.txt"
    assert told(read(root, text, query)) == {"a/1.jpg": "cat", "b/1.png": "dog"}
    assert told(read(root, text, query, split="test")) == {"a/1.jpg": "cat"}


REFUSED = [
    ("a/1.jpg cat\na/2.jpg\n", "", "train.txt", "line 2: 'a/2.jpg' has no label"),
    ("a/1.jpg tabby cat\n", "", "train.txt", "line 1: 'a/1.jpg tabby cat': several words"),
    ("a/1.jpg,cat,3\n", "", "train.txt", "more than two columns without a header"),
    ("a/1.jpg 1 0\na/2.jpg 1\n", "", "train.txt", "2 columns of 1, 0 or -1 behind some images"),
    ('"a/1.jpg cat\n', "", "train.txt", "a quote that does not end"),
    ("", "", "train.txt", "an empty list"),
    ("\n\n", "", "train.csv", "an empty list"),
    ("path,label\n", "", "train.csv", "an empty list"),
    ("a/1.jpg\0 cat\n", "", "train.txt", "no plain text (is it UTF-16?)"),
    ("what,ever,here\n1,2,3\n", "", "train.csv", "no column of what, ever, here is called image"),
    ("path,image,label\na,b,c\n", "", "train.csv", "columns path, image may each hold the images"),
    ("path,label,class\na,b,c\n", "", "train.csv", "columns label, class may each hold the labels"),
    ("path,label\na/1.jpg\n", "", "train.csv", "line 2: 1 columns"),
    ("path,label\na/1.jpg,\na/2.jpg,x\n", "", "train.csv", "a/1.jpg has no label"),
    ("path,x,x\na/1.jpg,1,0\n", "", "train.csv", "two columns are called 'x'"),
    ("path,x,y\na/1.jpg,1,\n", "", "train.csv", "nothing in column 'y'"),
    ("path,x,age\na/1.jpg,1,67\n", "", "train.csv", "'67' in column 'age'"),
    ("path,labels\na/1.jpg,a|b;c\n", "", "train.csv", "both | and ; in labels"),
    ("path,tags\na/1.jpg,haze primary\n", "", "train.csv", "'haze primary' in a column of labels"),
    ("path,labels\na/1.jpg,a|b\n", "?separator=pipes", "train.csv", "expected one letter"),
    ("path,label\na/1.jpg,x\n", "?label=lable", "train.csv", "Did you mean 'label'?"),
    ("path,x,y\na/1.jpg,1,0\n", "?label=y..x", "train.csv", "names 0 columns"),
    ("a/1.jpg x\n", "?train=train", "train.txt", "?train= is about a column of splits"),
    ('path,label\n"a/1.jpg,x\n' + "y" * 200_000, "", "train.csv", "not readable as a table"),
]


@pytest.mark.parametrize(("text", "query", "name", "expected"), REFUSED)
def test_what_cannot_be_told_is_refused(root: Path, text: str, query: str, name: str, expected: str) -> None:
    assert expected in refused(root, text, query, name)


def test_a_test_label_that_no_training_image_has(root: Path) -> None:
    (root / "val.txt").write_text("b/1.png cat\na/1.jpg snake\n")
    assert "a/1.jpg is labelled 'snake', as no training image is; expected one of 2 classes such as cat" in refused(
        root, "a/1.jpg cat\na/2.jpg dog\n", split="test"
    )


def test_remarks_taken_for_labels_do_not_take_the_memory(root: Path) -> None:
    text = "".join(f"{number}.jpg,remark {number}|other\n" for number in range(40_000))
    assert "40,000 images by 40,001 classes; expected 1,000,000,000 labels at most" in refused(
        root, f"path,labels\n{text}", name="train.csv"
    )


def test_a_table_that_places_would_read_is_places_still(root: Path) -> None:
    for part in ("train", "val"):
        (root / f"{part}.csv").write_text("a/1.jpg,0\nb/1.png,1\n")
    assert sniff_layout(root, "classification") == "places"


def test_what_is_no_list(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe")
    with open(root / "sparse", "wb") as file:
        file.truncate(1 << 40)
    (root / "long").write_text("a" * (lines.MAX_LINE + 1))
    monkeypatch.setattr(lines, "MAX_LINES", 3)
    (root / "many").write_text("a\n" * 4)
    expected = {
        "pipe": "no such list",
        "sparse": "too many",
        "long": "more than 1,000,000 letters",
        "many": "than 3 lines",
    }
    for name, message in {**expected, "nowhere": "no such list", "a": "a folder"}.items():
        with pytest.raises(DataError, match=message):
            read_labelled("", Source.of(f"list:{root}/{name}"), "train")


@pytest.mark.parametrize(
    ("files", "spec"),
    [
        ({"train.csv": "path,label\n", "val.csv": ""}, "list:{root}/train.csv,{root}/val.csv"),
        ({"labels.csv": "path,label,split\n"}, "list:{root}/labels.csv"),
        ({"meta_train.txt": "", "meta_test.txt": ""}, "list:{root}/meta_train.txt,{root}/meta_test.txt"),
        ({"annotations/instances_train.json": "", "annotations/instances_val.json": ""}, "coco:{root}"),
    ],
)
def test_a_folder_without_a_layout_names_the_spec_to_give(tmp_path: Path, files: dict[str, str], spec: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        read_labelled("", tmp_path, "train")
    assert f"give {spec.format(root=tmp_path)}" in str(caught.value)
