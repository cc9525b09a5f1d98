"""Images in tar and zip archives and WebDataset's shards are those of a folder, in any order."""

import io
import json
import os
import pickle
import random
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from twinbench.convert.opening import open_backbone
from twinbench.data.archives.members import indexed
from twinbench.data.archives.opened import Archive
from twinbench.data.archives.shards import expanded
from twinbench.data.decode import read_rgb
from twinbench.data.errors import DataError
from twinbench.data.folders.pool import read_pool
from twinbench.data.identity import identify
from twinbench.data.labelled import LabelledImages
from twinbench.data.layouts import read_labelled
from twinbench.data.source import Source
from twinbench.protocols.kinds.base import Features, ImageTransform
from twinbench.transfer.features import extract


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def pack(path: Path, files: Iterable[tuple[str, bytes]], **options: int) -> Path:
    """Write a tar or a zip, by the name of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", **options) as archive:  # type: ignore[arg-type]
            for name, content in files:
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w", **options) as archive:  # type: ignore[call-overload]
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def files_of(root: Path, lead: str = "") -> list[tuple[str, bytes]]:
    """Return the images of a tree in an order that is nobody's."""
    found = [(lead + path.relative_to(root).as_posix(), path.read_bytes()) for path in root.rglob("*.JPEG")]
    random.Random(0).shuffle(found)
    return found


def tree_of(scenes: Path) -> Path:
    return scenes / "imagenet"


def in_tar(root: Path, folder: Path) -> str:
    return f"tar:{pack(folder / 'set.tar', files_of(root))}"


def below_another_folder(root: Path, folder: Path) -> str:
    return f"tar:{pack(folder / 'set.tar', files_of(root, './pets-1.0/'))}"


def in_tar_for_each_split(root: Path, folder: Path) -> str:
    for split in ("train", "val"):
        pack(folder / "both" / f"pets_{split}.tar", [file for file in files_of(root) if file[0].startswith(split)])
    return f"tar:{folder / 'both'}"


def in_several(root: Path, folder: Path) -> str:
    files = files_of(root)
    for number in range(3):
        pack(folder / f"part-{number}.tar", files[number::3])
    return f"tar:{folder}/part-{{0..2}}.tar"


def in_zip(root: Path, folder: Path) -> str:
    return f"zip:{pack(folder / 'set.zip', files_of(root), compression=zipfile.ZIP_DEFLATED)}"


def in_stored_zip(root: Path, folder: Path) -> str:
    return f"zip:{pack(folder / 'set.zip', files_of(root, 'pets/'))}"


@pytest.mark.parametrize(
    "packed",
    [in_tar, below_another_folder, in_tar_for_each_split, in_several, in_zip, in_stored_zip],
    ids=lambda packed: packed.__name__,
)
class TestATree:
    """The same class folders, packed."""

    def read(self, packed: Callable[[Path, Path], str], scenes: Path, folder: Path) -> tuple[Source, Source]:
        return Source.of(packed(tree_of(scenes), folder)), Source.of(str(tree_of(scenes)))

    def test_has_the_identity_of_the_folder(self, packed: Callable[..., str], scenes: Path, tmp_path: Path) -> None:
        source, folder = self.read(packed, scenes, tmp_path)
        assert identify("", source) == identify("imagenet", folder)

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_has_its_labels(self, packed: Callable[..., str], scenes: Path, tmp_path: Path, split: str) -> None:
        source, folder = self.read(packed, scenes, tmp_path)
        found, expected = read_labelled("", source, split), read_labelled("imagenet", folder, split)
        assert found.classes == expected.classes
        np.testing.assert_array_equal(found.targets, expected.targets)

    def test_has_its_bytes(self, packed: Callable[..., str], scenes: Path, tmp_path: Path) -> None:
        source, folder = self.read(packed, scenes, tmp_path)
        found, expected = read_labelled("", source, "test"), read_labelled("imagenet", folder, "test")
        assert contents(found) == contents(expected)

    def test_is_a_pool(self, packed: Callable[..., str], scenes: Path, tmp_path: Path) -> None:
        source, folder = self.read(packed, scenes, tmp_path)
        assert identify("", source, task="pretraining") == identify("", folder, task="pretraining")


def contents(images: LabelledImages) -> list[bytes]:
    """Return the bytes of each image."""
    return [image.read_bytes() if isinstance(image, Path) else bytes(image.content()) for image in images.paths]


def samples(images: LabelledImages, label: Callable[[int], tuple[str, str]]) -> list[tuple[str, bytes]]:
    """Return WebDataset's members for images in a folder: numbered keys, labels as `label` writes them."""
    found: list[tuple[str, bytes]] = []
    for number, content in enumerate(contents(images)):
        suffix, text = label(int(images.targets[number]))
        found += [(f"{number:06d}.jpg", content), (f"{number:06d}.{suffix}", text.encode())]
    return found


def write_shards(scenes: Path, folder: Path, label: Callable[[int], tuple[str, str]], names: bool = True) -> str:
    """Write train and val as shards of four images each."""
    for split, called in (("train", "train"), ("test", "validation")):
        images = read_labelled("imagenet", Source.of(str(tree_of(scenes))), split)
        members = samples(images, label)
        for number in range(0, len(members), 8):
            pack(folder / f"pets-{called}-{number // 8}.tar", members[number : number + 8])
    if names:
        (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in images.classes))
    return f"tar:{folder}"


LABELS = {
    "cls": lambda label: ("cls", str(label)),
    "json": lambda label: ("json", json.dumps({"label": label, "caption": "a digit"})),
    "txt": lambda label: ("txt", f"{label}\n"),
    "names": lambda label: ("cls", f"n{label:08d}"),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_samples_have_the_labels_of_the_folder(scenes: Path, tmp_path: Path, kind: str, split: str) -> None:
    found = read_labelled("", Source.of(write_shards(scenes, tmp_path, LABELS[kind])), split)
    expected = read_labelled("imagenet", Source.of(str(tree_of(scenes))), split)
    assert found.classes == expected.classes
    np.testing.assert_array_equal(found.targets, expected.targets)
    assert contents(found) == contents(expected)


def test_numbers_are_names_where_nobody_names_the_classes(scenes: Path, tmp_path: Path) -> None:
    found = read_labelled("", Source.of(write_shards(scenes, tmp_path, LABELS["cls"], names=False)), "test")
    assert found.classes == tuple(map(str, range(10)))


def test_several_labels_an_image(tmp_path: Path) -> None:
    labels = {"train": [[2, 0], [], [1]], "val": [[0], [2, 1]]}
    for split, rows in labels.items():
        members = [(f"{i}.{kind}", text) for i, row in enumerate(rows) for kind, text in several(row)]
        pack(tmp_path / f"{split}.tar", members)
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    found = read_labelled("", Source.of(f"tar:{tmp_path}"), "train")
    assert found.classes == ("cat", "dog", "owl")
    np.testing.assert_array_equal(found.targets, [[1, 0, 1], [0, 0, 0], [0, 1, 0]])


def several(row: list[int]) -> list[tuple[str, bytes]]:
    return [("png", b"x"), ("json", json.dumps({"labels": row}).encode())]


def of_samples(folder: Path, train: list[tuple[str, bytes]], test: list[tuple[str, bytes]] | None = None) -> Source:
    """Return the source of two archives with these members."""
    pack(folder / "train.tar", train)
    pack(folder / "test.tar", train if test is None else test)
    return Source.of(f"tar:{folder}")


ONE = [("1.jpg", b"x"), ("1.cls", b"0"), ("2.jpg", b"y"), ("2.cls", b"1")]
REFUSED = {
    "no label": (
        [*ONE, ("3.jpg", b"z")],
        None,
        r"3.jpg: no label, as 1 of 3 images; expected a member of the same key",
    ),
    "no number": ([*ONE[:3], ("2.cls", b"-1\x00")], None, r"2.cls: label '-1\\.*; expected a class's number"),
    "an empty label": ([*ONE[:3], ("2.cls", b"")], None, "2.cls: label ''; expected a class's number"),
    "no JSON": ([*ONE[:3], ("2.json", b"{")], None, "2.json: label 'None'"),
    "deep JSON": ([*ONE[:3], ("2.json", b"[" * 100_000)], None, "2.json: label 'None'"),
    "no field": ([*ONE[:3], ("2.json", b'{"caption": "a cat"}')], None, r"2.json: label 'None'.*\?label=FIELD"),
    "truth": ([*ONE[:3], ("2.json", b'{"label": true}')], None, "2.json: label 'True'"),
    "one or several": ([*ONE[:3], ("2.json", b'{"labels": [0, 1]}')], None, r"2.json: label '\[0, 1\]'.*alike in all"),
    "one twice": ([*ONE[:3], ("2.json", b'{"labels": [0, 0]}')], None, r"2.json: label '\[0, 0\]'.*each once"),
    "a number and a name": ([*ONE[:3], ("2.cls", b"cat")], None, "both numbers and names, 0 and cat"),
    "a long label": ([*ONE[:3], ("2.txt", b"x" * (1 << 21))], None, "2097152 bytes; expected a label"),
    "two images": ([*ONE, ("2.png", b"z")], None, "2.png: a second image of one sample, beside 2.jpg"),
    "another class": (ONE, [*ONE[:3], ("2.cls", b"7")], "2.jpg: label 7 is none of the 2 training images'"),
    "another kind": (ONE, [("1.jpg", b"x"), ("1.json", b'{"labels": [0]}')], "the other several"),
    "no images": (ONE, [("1.cls", b"0")], "no images in it, but 1.cls"),
    "folders in one": (ONE, [("a/1.jpg", b"x"), ("b/1.jpg", b"x")], "one split has class folders"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_samples_that_do_not_fit(what: str, tmp_path: Path) -> None:
    train, test, expected = REFUSED[what]
    with pytest.raises(DataError, match=expected):
        read_labelled("", of_samples(tmp_path, train, test), "test")


def test_too_few_names_of_classes(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(DataError, match="classes.txt: 1 names, but there is a label 1; expected numbers from 0"):
        read_labelled("", of_samples(tmp_path, ONE), "train")


def test_what_else_is_in_samples_is_counted(tmp_path: Path) -> None:
    more = [("1.npy", b"z"), ("1.txt", b"a caption"), ("9.cls", b"0"), ("._1.jpg", b"mac"), ("2.jpg", b"again")]
    found = read_labelled("", of_samples(tmp_path, ONE + more), "train")
    assert found.left_out == {
        "members that are neither images nor labels": 2,
        "labels without an image": 1,
        "hidden files, and what file managers leave": 1,
        "members that a later one of the same name replaces": 1,
    }


def test_the_later_of_two_members_is_meant(tmp_path: Path) -> None:
    found = read_labelled("", of_samples(tmp_path, [*ONE, ("1.jpg", b"again")]), "train")
    assert contents(found) == [b"again", b"y"]


TREE = [(f"{split}/{name}/{number}.png", b"x") for split in ("train", "val") for name in "ab" for number in (1, 2)]


def test_what_else_is_in_a_tree_is_counted(tmp_path: Path) -> None:
    more = [
        "train/readme.txt",
        "train/x.png",
        "train/a/.x.png",
        "train/.git/x.png",
        "__MACOSX/train/c/._x.png",
        "train/a/1.png",
    ]
    path = pack(tmp_path / "a.tar", [*TREE, *((name, b"y") for name in more)])
    found = read_labelled("", Source.of(f"tar:{path}"), "train")
    assert found.classes == ("a", "b")
    assert found.left_out == {
        "files that are no images by their suffix": 1,
        "images outside the class folders": 1,
        "hidden files, and what file managers leave": 3,
        "members that a later one of the same name replaces": 1,
    }


def test_an_image_in_two_archives(tmp_path: Path) -> None:
    pack(tmp_path / "1.tar", TREE)
    pack(tmp_path / "2.tar", TREE[:1])
    with pytest.raises(DataError, match="train/a/1.png is in .*1.tar and in .*2.tar; expected each image once"):
        read_labelled("", Source.of(f"tar:{tmp_path}"), "train")


def test_other_classes_in_the_test_split(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", [*TREE, ("val/c/1.png", b"x")])
    with pytest.raises(DataError, match="2 training and 3 test classes; c is in one only"):
        read_labelled("", Source.of(f"tar:{path}"), "test")
    (tmp_path / "list.txt").write_text("b\n")
    kept = read_labelled("", Source.of(f"tar:{path}?classes={tmp_path}/list.txt"), "test")
    assert [kept.paths.name(index) for index in range(len(kept.paths))] == ["val/b/1.png", "val/b/2.png"]


def test_a_class_without_images(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", [*TREE, ("train/c/x.md", b"x")])
    with pytest.raises(DataError, match="no images in train/c; expected images of one class"):
        read_labelled("", Source.of(f"tar:{path}"), "train")


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ("?train=part1&test=part2", "part1/a/1.png"),  # folders
        ("?train=x-{0..1}.tar&test=y.tar", "a/1.png"),  # archives
        ("?train=x-*&test=y.tar", "a/1.png"),
    ],
)
def test_splits_of_any_name(options: str, first: str, tmp_path: Path) -> None:
    parts = [(name.replace("train", "part1").replace("val", "part2"), content) for name, content in TREE]
    if "part1" in options:
        pack(tmp_path / "x.tar", parts)
    else:
        for number in range(2):
            pack(tmp_path / f"x-{number}.tar", [(name[6:], b"x") for name, _ in TREE[:4][number::2]])
        pack(tmp_path / "y.tar", [(name[4:], b"x") for name, _ in TREE[4:]])
    found = read_labelled("", Source.of(f"tar:{tmp_path}{options}"), "train")
    assert found.paths.name(0) == first
    assert len(found.paths) == 4


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("x.tar", ["x.tar"]),
        ("x-{8..11}.tar", ["x-8.tar", "x-9.tar", "x-10.tar", "x-11.tar"]),
        ("x-{008..010}.tar", ["x-008.tar", "x-009.tar", "x-010.tar"]),
        ("{a,b}/{0..1}.tar", ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]),
        ("{2..1}{x}", ["2{x}", "1{x}"]),
    ],
)
def test_braces_as_in_bash(pattern: str, names: list[str]) -> None:
    assert expanded(pattern) == names


@pytest.mark.parametrize("pattern", ["{0..999999999999}.tar", "{0..999}{0..999}.tar"])
def test_absurd_braces(pattern: str) -> None:
    with pytest.raises(DataError, match="more than 100000 archives"):
        expanded(pattern)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("none.tar", "none.tar: no such file or folder"),
        ("x-{0..1}.tar", "x-1.tar: no such archive; expected all of"),
        ("y-*.tar", "no file is called so"),
        ("packed", "a.tar.gz: compressed, so that no image can be read"),
        ("other", "no .tar in it or in the folders in it, but x.txt"),
    ],
)
def test_places_without_archives(place: str, expected: str, tmp_path: Path) -> None:
    for name in ("x-0.tar", "packed/a.tar.gz", "other/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=expected):
        read_labelled("", Source.of(f"tar:{tmp_path / place}"), "train")


def test_two_before_ten(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        pack(tmp_path / f"train/{number}.tar", [(f"{number}.jpg", b"x")])
    images = read_pool(Source.of(f"tar:{tmp_path}")).paths
    assert [images.name(index) for index in range(3)] == ["1.jpg", "2.jpg", "10.jpg"]


def test_a_list_of_some_training_images(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", TREE)
    (tmp_path / "some.txt").write_text("b/1.png 1\na/2.png 0\n")
    found = read_labelled("", Source.of(f"tar:{path}"), "train", "10%", tmp_path / "some.txt")
    assert found.targets.tolist() == [1, 0]
    assert [found.paths.name(index) for index in (0, 1)] == ["train/b/1.png", "train/a/2.png"]


def test_a_part_without_a_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="10% of its train images, and no list of them; .* name it with --list"):
        read_labelled("", Source.of(f"tar:{pack(tmp_path / 'a.tar', TREE)}"), "train", "10%")


def test_members_are_pickled(scenes: Path, tmp_path: Path) -> None:
    image = read_labelled("", Source.of(in_zip(tree_of(scenes), tmp_path)), "test").paths[0]
    again = pickle.loads(pickle.dumps(image))
    np.testing.assert_array_equal(np.asarray(read_rgb(again)), np.asarray(read_rgb(image)))


def test_a_new_archive_is_seen(tmp_path: Path) -> None:
    pack(tmp_path / "1.tar", TREE)
    found = read_pool(Source.of(f"tar:{tmp_path}"))
    assert tmp_path in found.sources  # whose time tells of it


def test_an_index_is_kept_until_the_archive_changes(tmp_path: Path) -> None:
    many = [(f"train/{'a' * 100}/{number}.png", b"") for number in range(8000)]  # more than kept_arrays' 1 MB
    path = pack(tmp_path / "a.tar", many)
    os.utime(path, (1, 1))
    time.sleep(2.1)  # a change within the tick of the clock is not trusted
    archive = Archive.of(path)
    first = indexed("tar", (archive,))
    indexed.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twinbench.data.archives.members._read", lambda *_: pytest.fail("read anew"))
        again = indexed("tar", (archive,))
    np.testing.assert_array_equal(first.rows, again.rows)
    pack(path, many[:7000])
    assert len(indexed("tar", (Archive.of(path),))) == 7000


def in_samples(root: Path, folder: Path) -> str:
    return write_shards(root.parent, folder, LABELS["cls"])


@pytest.mark.parametrize("packed", [in_tar, in_zip, in_samples], ids=lambda packed: packed.__name__)
def test_features_are_those_of_the_folder(packed: Callable[..., str], scenes: Path, tmp_path: Path) -> None:
    """Bit by bit, read by two processes."""
    sources = Source.of(packed(tree_of(scenes), tmp_path)), Source.of(str(tree_of(scenes)))
    pooled = Features(ImageTransform(resize=48, crop=40, shape="center-crop"), "gap", "fp32")
    backbone = open_backbone("random", 0.125)
    found, expected = (
        extract(backbone, read_labelled("", source, "test").paths, pooled, workers=2) for source in sources
    )
    np.testing.assert_array_equal(found, expected)


def test_a_pool_of_shards_without_labels(tmp_path: Path) -> None:
    for number in range(2):  # each counts from 0
        pack(tmp_path / f"{number}.tar", [("0.v2.jpg", b"%d" % number), ("0.txt", b"a caption"), ("1.png", b"x")])
    found = read_pool(Source.of(f"tar:{tmp_path}"))
    assert contents(found) == [b"0", b"x", b"1", b"x"]
    assert found.left_out == {"files that are no images by their suffix": 2}


def test_images_with_dots_in_samples_are_counted(tmp_path: Path) -> None:
    found = read_labelled("", of_samples(tmp_path, [*ONE, ("3.v2.jpg", b"x")]), "train")
    assert found.left_out == {"images with a dot in their name, which ends the key of a sample": 1}
