"""Lists of training images in the forms that people have; the folder of an image is its class."""

from pathlib import Path

import pytest

from twinbench.data.errors import DataError
from twinbench.data.folders.imagenet import list_sha256
from twinbench.data.layouts import read_labelled


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (
        "n1/n1_1.JPEG",
        "n1/n1_2.JPEG",
        "n2/n2_1.JPEG",
        "n2/my own.JPEG",
        "n2/deep/n2_9.JPEG",
        "n3/1.JPEG",
        "n4/1.JPEG",
    ):
        (tmp_path / "data/train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/train" / name).touch()
    return tmp_path / "data"


def listed(root: Path, text: bytes) -> list[tuple[str, int]]:
    path = root.parent / "list.txt"
    path.write_bytes(text)
    images = read_labelled("imagenet", root, "train", "1%", path)
    return [(path.name, int(label)) for path, label in zip(images.paths, images.targets, strict=True)]


@pytest.mark.parametrize(
    "text",
    [
        b"n2_1.JPEG\nn1_2.JPEG\n",
        b"\xef\xbb\xbfn2_1.JPEG\r\nn1_2.JPEG\r\n",
        b"n2/n2_1.JPEG\nn1/n1_2.JPEG",
        b"train/n2/n2_1.JPEG\n./n1/n1_2.JPEG\n",
        b"n2/n2_1.JPEG 1\nn1/n1_2.JPEG 0\n",
        b"n2_1.JPEG\t17\nn1_2.JPEG\t5\n",
        b"n2_1.JPEG n2\nn1_2.JPEG n1\n",
    ],
)
def test_forms_of_one_list(root: Path, text: bytes) -> None:
    assert listed(root, text) == [("n2_1.JPEG", 1), ("n1_2.JPEG", 0)]


def test_names_with_blanks_and_deeper_folders(root: Path) -> None:
    assert listed(root, b"my own.JPEG\nn2/deep/n2_9.JPEG 3\n") == [("my own.JPEG", 1), ("n2_9.JPEG", 1)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"1.JPEG\n", "1.JPEG is the name of several images; expected `folder/1.JPEG`"),
        (b"n1_1.JPEG 0\nn2_1.JPEG 0\n", "label 0 stands for both n1 and n2"),
        (b"n1_1.JPEG\nn1/n1_1.JPEG\n", "n1/n1_1.JPEG is on it twice"),
        (b"n7/n7_1.JPEG 3\n", "n7/n7_1.JPEG belongs to no class folder"),
        ("n1_1.JPEG\n".encode("utf-16"), r"no plain text \(is it UTF-16\?\); expected UTF-8"),
    ],
)
def test_lists_that_do_not_fit(root: Path, text: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        listed(root, text)


def test_folders_and_labels_do_not_change_a_lists_sha256(tmp_path: Path) -> None:
    for name, text in (("plain", "n1_1.JPEG\nn2_7.JPEG\n"), ("full", "n1/n1_1.JPEG 0\nn2/n2_7.JPEG 1\n")):
        (tmp_path / name).write_text(text)
    assert list_sha256(tmp_path / "plain") == list_sha256(tmp_path / "full")
