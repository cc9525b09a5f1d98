"""Files made to hurt: bombs, pipes, depths and sizes end as one line, soon and in little memory."""

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from twinbench.data.errors import DataError, read_text
from twinbench.data.folders.json_lists import read_json_lists
from twinbench.data.folders.places import read_list
from twinbench.data.folders.voc import parse_xml

LAUGHS = '<!DOCTYPE a [<!ENTITY l0 "ha">' + "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10)
)  # a thousand million "ha"


def complaint(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    path = tmp_path / "laughs.xml"
    for text in (f"{LAUGHS}]><a>&l9;</a>", f'<?xml version="1.0"?>\n{LAUGHS}]><a>&l9;</a>'):
        path.write_text(text)
        assert "declares a document type" in complaint(parse_xml, path)
    path.write_bytes(f"{LAUGHS}]><a>&l9;</a>".encode("utf-16"))  # would hide the word from a search in the bytes
    assert "not a readable annotation" in complaint(parse_xml, path)
    path.write_text("<a>&undefined;</a>")
    assert "undefined entity" in complaint(parse_xml, path)


def test_depth_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "deep"
    path.write_text("[" * 1_000_000)
    assert "not readable as JSON" in complaint(read_json_lists, path)
    path.write_text("<a>" * 300_000)
    assert "not a readable annotation" in complaint(parse_xml, path)


def test_sizes_are_refused_unread(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # other tests of this process have peaks of their own
    for read, size in ((parse_xml, 2_000_000), (read_json_lists, 3_000_000_000)):
        with (tmp_path / "huge").open("wb") as file:
            file.truncate(size)  # takes no room on the disk
        assert f"{size} bytes, too many" in complaint(read, tmp_path / "huge")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_pipes_folders_and_loops_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, word in (
        ("pipe", "not a file"),
        (".", "not a file"),
        ("loop", "Too many levels"),
        ("none", "no such file"),
    ):
        assert word in complaint(lambda path: read_text(path, "expected a list"), tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "3",
        "null",
        "[]",
        '{"images": 1, "annotations": [], "categories": []}',
        '{"images": [1], "annotations": [], "categories": []}',
        '{"images": [{"id": ' + "9" * 5000 + "}]}",
        '{"images": [{"id": "\\ud800"',
    ],
)
def test_json_of_another_shape(tmp_path: Path, text: str) -> None:
    (tmp_path / "lists.json").write_text(text)
    complaint(read_json_lists, tmp_path / "lists.json")


def test_json_bytes_that_are_no_text_only_spoil_their_names(tmp_path: Path) -> None:
    path = tmp_path / "lists.json"
    lists = {"images": [{"id": 1, "file_name": "X"}], "annotations": [{"id": 1}], "categories": [{"id": 1}]}
    path.write_bytes(json.dumps(lists).encode().replace(b"X", b"\xff"))
    assert os.fsencode(read_json_lists(path)["images"][0]["file_name"]) == b"\xff"


def test_labels_too_long_for_a_number(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a/abbey/x.jpg " + "9" * 6000)
    assert "expected an image and its label" in complaint(read_list, tmp_path / "list.csv")
