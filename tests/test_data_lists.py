"""SimCLR's lists: fetched from a server on this machine, proven, left alone; other lists are told apart."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from twinbench import main
from twinbench.data.errors import DataError
from twinbench.data.folders import imagenet
from twinbench.data.folders.imagenet import fetch_lists, list_sha256
from twinbench.runtime.download import FetchError

LISTS = {"1percent.txt": b"n1_1.JPEG\nn2_7.JPEG\n", "10percent.txt": b"n2_7.JPEG\nn1_1.JPEG\nn1_3.JPEG\n"}


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a server on this machine offers, with two small lists whose sha256 are the known ones."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, content in LISTS.items():
        (folder / name).write_bytes(content)
        monkeypatch.setitem(imagenet.LISTS_SHA256, name, hashlib.sha256(content).hexdigest())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(imagenet, "LISTS_ADDRESS", f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield folder
    server.shutdown()
    server.server_close()


def test_both_lists_are_fetched_and_then_left_alone(source: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "new" / "lists"
    assert main(["data", "lists", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder / name) for name in imagenet.LISTS_SHA256]
    assert {path.name: path.read_bytes() for path in folder.glob("*.txt")} == LISTS
    written = [(folder / name).stat().st_mtime_ns for name in LISTS]
    for name in LISTS:
        (source / name).unlink()  # nobody asks again
    assert main(["data", "lists", str(folder)]) == 0
    assert [(folder / name).stat().st_mtime_ns for name in LISTS] == written


def test_a_killed_run_is_gone_on_with(source: Path, tmp_path: Path) -> None:
    (tmp_path / ".1percent.txt.part").write_bytes(LISTS["1percent.txt"][:5])
    assert [path.read_bytes() for path in fetch_lists(tmp_path)] == [LISTS[path] for path in imagenet.LISTS_SHA256]


def test_wrong_bytes_are_thrown_away(source: Path, tmp_path: Path, capsys) -> None:
    (source / "1percent.txt").write_bytes(b"n1_2.JPEG\nn2_7.JPEG\n")
    found = hashlib.sha256(b"n1_2.JPEG\nn2_7.JPEG\n").hexdigest()[:12]
    for _ in range(2):
        assert main(["data", "lists", str(tmp_path / "lists")]) == 2
        error = capsys.readouterr().err
        assert f"its sha256 is {found}..., expected" in error
        assert "fetch it by hand and save it as" in error
        assert error.count("\n") == 1
        assert not [path for path in (tmp_path / "lists").iterdir() if not path.name.endswith(".lock")]


def test_another_list_in_the_way_is_refused_and_kept(source: Path, tmp_path: Path) -> None:
    (tmp_path / "1percent.txt").write_text("n1_9.JPEG\n")
    with pytest.raises(DataError, match=r"1percent\.txt: sha256 .*, expected SimCLR's .*; move it away and run again"):
        list(fetch_lists(tmp_path))
    assert (tmp_path / "1percent.txt").read_text() == "n1_9.JPEG\n"


def test_without_a_network_one_line_names_the_file(source: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(imagenet, "LISTS_ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(
        FetchError, match=r"9/1percent\.txt cannot be fetched \(.*refused.*\); .* save it as .*1perc"
    ) as e:
        list(fetch_lists(tmp_path))
    assert "\n" not in str(e.value)


def test_a_list_is_known_by_its_names_and_their_order(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    known = hashlib.sha256(b"n1_1.JPEG\nn2_7.JPEG\n").hexdigest()
    for text in (b"n1_1.JPEG\nn2_7.JPEG\n", b"n1_1.JPEG\r\nn2_7.JPEG\r\n", b"n1_1.JPEG\nn2_7.JPEG"):
        path.write_bytes(text)
        assert list_sha256(path) == known
    for text in (b"n2_7.JPEG\nn1_1.JPEG\n", b"n1_1.JPEG\n", b"n1_1.JPEG\nn2_7.JPEG\nn2_8.JPEG\n"):
        path.write_bytes(text)
        assert list_sha256(path) != known
    path.write_bytes(b"")
    with pytest.raises(DataError, match="0 lines, 0 different ones; expected one image name a line"):
        list_sha256(path)
