"""`twinbench data fetch`: resumed, proven, unpacked below one folder; against a server on this machine."""

import dataclasses
import hashlib
import http.server
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from twinbench import main
from twinbench.data.checking import fetching
from twinbench.data.source import FORMS, Form
from twinbench.protocols.datasets import DATA_SETS, File
from twinbench.runtime.download import FetchError

CONTENT = os.urandom(3_000_000)  # of the one big member: no compressor makes it smaller


class Server:
    """A web server of one folder, which keeps the Range of each request; it can break off after some bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ranges: list[str] = []
        self.stop_after = 0  # bytes; 0: never
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Send the file, from the byte that was asked for."""
        path = self.folder / request.path.lstrip("/")
        if not path.is_file():
            request.send_error(404)
            return
        content = path.read_bytes()
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        if asked and start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if asked else 200)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        rest = content[start:]
        request.wfile.write(rest[: self.stop_after] if self.stop_after else rest)

    def address(self, name: str) -> str:
        """Return where a file is served."""
        return f"http://127.0.0.1:{self.http.server_port}/{name}"


@pytest.fixture
def server(tmp_path: Path):
    (tmp_path / "served").mkdir()
    made = Server(tmp_path / "served")
    yield made
    made.http.shutdown()
    made.http.server_close()


def tar(path: Path, members: dict[str, bytes], mode: str = "w:gz", **changes: object) -> str:
    """Write a tar; return its md5 as an entry has it. `changes` are set on every member."""
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"


@pytest.fixture
def birds(server: Server, monkeypatch):
    """A data set `birds` in the registry: one tar with two images and a list beside it."""
    archive = tar(server.folder / "birds.tgz", {"images/a.jpg": CONTENT, "images/b.jpg": b"b"})
    (server.folder / "list.txt").write_bytes(b"a 0\nb 1\n")
    listed = f"sha256:{hashlib.sha256(b'a 0' + bytes([10]) + b'b 1' + bytes([10])).hexdigest()}"
    files = (File(server.address("birds.tgz"), archive, "birds"), File(server.address("list.txt"), listed))
    about = dataclasses.replace(DATA_SETS["birdsnap"].about, files=files, form="")
    entry = dataclasses.replace(DATA_SETS["birdsnap"], name="birds", about=about)
    monkeypatch.setitem(DATA_SETS, "birds", entry)
    return entry


def test_files_are_fetched_proven_and_unpacked(birds, tmp_path: Path, capsys) -> None:
    assert main(["data", "fetch", "birds", str(tmp_path / "copy")]) == 0
    assert (tmp_path / "copy" / "birds" / "images" / "a.jpg").read_bytes() == CONTENT


def test_what_is_no_archive_stays_as_it_is(birds, tmp_path: Path) -> None:
    fetching.fetch("birds", tmp_path / "copy")
    assert (tmp_path / "copy" / "list.txt").read_bytes() == b"a 0\nb 1\n"


def test_the_answer_says_how_data_is_typed_and_what_is_next(birds, tmp_path: Path, capsys) -> None:
    main(["data", "fetch", "birds", str(tmp_path / "copy")])
    folder = tmp_path / "copy"
    assert capsys.readouterr().out == f"DATA: {folder}\nnext: twinbench data check birds {folder}\n"


def test_the_form_of_the_copy_names_the_folder(birds, tmp_path: Path, monkeypatch) -> None:
    about = dataclasses.replace(birds.about, form="torchvision:Birds=FOLDER?train=trainval")
    monkeypatch.setitem(DATA_SETS, "birds", dataclasses.replace(birds, about=about))
    assert fetching.fetch("birds", tmp_path).data == f"torchvision:Birds={tmp_path}?train=trainval"


def test_links_in_an_archive_are_told(birds, server: Server, tmp_path: Path, monkeypatch, capsys) -> None:
    digest = tar(server.folder / "birds.tgz", {"link": b""}, type=tarfile.SYMTYPE, linkname="a.jpg")
    about = dataclasses.replace(birds.about, files=(File(server.address("birds.tgz"), digest),))
    monkeypatch.setitem(DATA_SETS, "birds", dataclasses.replace(birds, about=about))
    main(["data", "fetch", "birds", str(tmp_path / "copy")])
    assert "left out: 1 links" in capsys.readouterr().out


def test_a_library_s_own_copy_is_fetched_by_the_library(tmp_path: Path, monkeypatch) -> None:
    asked: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setitem(FORMS, "torchvision", Form("torchvision:CIFAR10", "a copy", "", is_path=False))
    monkeypatch.setitem(fetching.LIBRARIES, "torchvision", lambda place, options: asked.append((place, options)))
    data = fetching.fetch("torchvision:CIFAR10", tmp_path).data
    assert (data, asked) == (f"torchvision:CIFAR10={tmp_path}", [(f"CIFAR10={tmp_path}", {})])


def test_a_second_fetch_asks_for_nothing(birds, server: Server, tmp_path: Path) -> None:
    fetching.fetch("birds", tmp_path / "copy")
    asked = len(server.ranges)
    fetching.fetch("birds", tmp_path / "copy")
    assert len(server.ranges) == asked


def test_an_unpacked_archive_may_be_removed(birds, server: Server, tmp_path: Path) -> None:
    fetching.fetch("birds", tmp_path / "copy")
    (tmp_path / "copy" / "birds" / "birds.tgz").unlink()
    asked = len(server.ranges)
    fetching.fetch("birds", tmp_path / "copy")
    assert len(server.ranges) == asked


def test_a_broken_download_goes_on_where_it_stopped(birds, server: Server, tmp_path: Path) -> None:
    server.stop_after = 1_000_000
    with pytest.raises(FetchError, match="the connection ended after 1,000,000 of"):
        fetching.fetch("birds", tmp_path / "copy")
    server.stop_after = 0
    fetching.fetch("birds", tmp_path / "copy")
    assert server.ranges[:2] == ["", "bytes=1000000-"]


def test_a_broken_download_ends_in_the_same_bytes(birds, server: Server, tmp_path: Path) -> None:
    server.stop_after = 1_000_000
    with pytest.raises(FetchError):
        fetching.fetch("birds", tmp_path / "copy")
    server.stop_after = 0
    fetching.fetch("birds", tmp_path / "copy")
    assert (tmp_path / "copy/birds/birds.tgz").read_bytes() == (server.folder / "birds.tgz").read_bytes()


def test_a_whole_part_is_not_fetched_again(birds, server: Server, tmp_path: Path) -> None:
    """A kill between the last byte and the move: a file of 120 GB would begin anew."""
    whole = (server.folder / "birds.tgz").read_bytes()
    part = tmp_path / "copy" / "birds" / ".birds.tgz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(whole)
    fetching.fetch("birds", tmp_path / "copy")
    assert server.ranges[0] == f"bytes={len(whole)}-"
    assert server.ranges[1] == ""  # that is the list's request: the archive was asked for once


def test_a_part_that_is_too_long_begins_anew(birds, server: Server, tmp_path: Path) -> None:
    part = tmp_path / "copy" / "birds" / ".birds.tgz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes((server.folder / "birds.tgz").read_bytes() + b"more")
    fetching.fetch("birds", tmp_path / "copy")
    assert (tmp_path / "copy/birds/birds.tgz").read_bytes() == (server.folder / "birds.tgz").read_bytes()


def test_other_bytes_than_the_published_are_thrown_away(birds, server: Server, tmp_path: Path) -> None:
    (server.folder / "birds.tgz").write_bytes(b"\x1f\x8bother")
    with pytest.raises(FetchError, match=r"its md5 is [0-9a-f]{12}\.\.\., expected [0-9a-f]{12}\.\.\."):
        fetching.fetch("birds", tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy" / "birds").iterdir()] == [".birds.tgz.lock"]


def test_another_file_in_the_way_is_kept(birds, tmp_path: Path) -> None:
    mine = tmp_path / "copy" / "birds" / "birds.tgz"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(FetchError, match=r"is there, but its md5 is .*; move it away"):
        fetching.fetch("birds", tmp_path / "copy")
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["birds"], "birds: no folder given; expected where to: twinbench data fetch birds FOLDER"),
        (["bird", "."], "unknown data set 'bird'. Did you mean 'birds'"),
        (["imagenet", "."], "imagenet: has no public address to fetch; sign up there for the three archives"),
        (["stanford-cars", "."], "has no public address to fetch; the authors' page is gone"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(birds, arguments: list[str], complaint: str, capsys) -> None:
    assert main(["data", "fetch", *arguments]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_without_a_network_one_line_names_the_address(birds, server: Server, tmp_path: Path, capsys) -> None:
    server.http.shutdown()
    server.http.server_close()
    assert main(["data", "fetch", "birds", str(tmp_path / "copy")]) == 2
    assert "birds.tgz cannot be fetched" in capsys.readouterr().err


def test_a_killed_unpacking_is_done_again(birds, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(fetching, "unpack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fetching.fetch("birds", tmp_path / "copy")
    monkeypatch.undo()
    monkeypatch.setitem(DATA_SETS, "birds", birds)
    fetching.fetch("birds", tmp_path / "copy")
    assert (tmp_path / "copy/birds/images/b.jpg").read_bytes() == b"b"
