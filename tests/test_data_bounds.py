"""Hostile images and data sets: each ends as one line, the same in a run and in a check, within 10 s and 1 GB.

All cases are built first; then one process reads each in a fork of its own, which the kernel's books tell apart.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

SECONDS, MEGABYTES = 10, 1000
RUNNER = """
import json, os, sys
from pathlib import Path
from twinbench.data import decode, identity
from twinbench.data.checking.checks import check, examine
from twinbench.data.errors import DataError
from twinbench.data.source import Source

def told(read):
    try:
        return read() or ""
    except DataError as error:
        return str(error)

def image(path):
    run = told(lambda: decode.read_rgb(Path(path)) and "")
    return run, examine(Path(path)).problem

def data(place):
    run = told(lambda: identity.contents("", Source.of(place)) and "")
    found = told(lambda: " ".join(line for each in check("", place, processes=1).problems for line in each.examples))
    return run, found

for line in sys.stdin:
    kind, place = json.loads(line)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, json.dumps(image(place) if kind == "image" else data(place)).encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    print(json.dumps([status, seconds, usage.ru_maxrss / 1024, *json.loads(said or '["", ""]')]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a case: `run` and `check` are the lines told, empty where all is well."""

    status: int
    seconds: float  # of a processor
    megabytes: float
    run: str
    check: str


def chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    """Return a PNG chunk, which may lie about its length."""
    count = len(content) if length is None else length
    return struct.pack(">I", count) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *between: bytes) -> bytes:
    """Return a grey PNG with chunks before its pixels, which are few."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * (1 + width) * min(height, 4)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(between) + pixels + chunk(b"IEND", b"")


def jpeg(side: int, scans: int, start: int = 0xC2) -> bytes:
    """Return a JPEG of `scans` empty scans."""

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    frame = struct.pack(">BHHB", 8, side, side, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    codes = bytes([1] + [0] * 15) + b"\0"
    head = segment(0xDB, b"\0" + b"\1" * 64) + segment(start, frame) + segment(0xC4, b"\0" + codes)
    scan = segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 0, 0, 0])) + b"\0"
    return b"\xff\xd8" + head + scan * scans + b"\xff\xd9"


def tiff(*tags: tuple[int, int, int, int]) -> bytes:
    """Return a TIFF of one directory: (tag, type, count, value or place); its next directory is itself."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 8)


def sized_tiff(side: int, count: int = 1) -> bytes:
    """Return the header of a square TIFF whose strips are said to be `count`."""
    tags = ((256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, count, 8))
    return tiff(*tags, (278, 4, 1, side), (279, 4, count, side))


def cut(kind: str) -> Callable[[Path], None]:
    """Return a maker of the first half of an image."""

    def make(path: Path) -> None:
        Image.effect_noise((300, 300), 90).save(path, kind)
        os.truncate(path, path.stat().st_size // 2)

    return make


def animated(count: int) -> Callable[[Path], None]:
    """Return a maker of a GIF of many frames."""

    def make(path: Path) -> None:
        frames = [Image.new("P", (2, 2), index % 7) for index in range(count)]
        frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])

    return make


def sparse(size: int, head: bytes = b"") -> Callable[[Path], None]:
    """Return a maker of a file of zeros behind a head, which takes no room on the disk."""

    def make(path: Path) -> None:
        path.write_bytes(head)
        os.truncate(path, size)

    return make


def listening(path: Path) -> None:
    """Make a socket."""
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path has 107 bytes at most
        server.bind(path.name)
        os.chdir(here)


BOMB = zlib.compress(bytes(200_000_000))
SOI = b"\xff\xd8\xff\xe0\x00\x04ab"
WEBP = b"RIFF\xff\xff\xff\x7fWEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\x0f\xff\xff\x0f"

# name: (contents or maker, what is said; empty where it is read)
IMAGES: dict[str, tuple[bytes | Callable[[Path], None], str]] = {
    "bomb.png": (png(20_000, 20_000), "an image of more than"),
    "bomb.jpg": (jpeg(65_500, 1, 0xC0), "an image of more than"),
    "bomb.tif": (sized_tiff(20_000), "an image of more than"),
    "bomb.ppm": (b"P6 100000 100000 255\n" + bytes(100), "an image of more than"),
    "digits.ppm": (b"P6 " + b"9" * 5000 + b" 1 255\n", "not a readable image"),
    "bomb.bmp": (
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 1, 1, 0, 0),
        "more than",
    ),
    "bomb.gif": (
        b"GIF89a\xff\xff\xff\xff\0\0\0" + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
        "an image of more than",
    ),
    "bomb.webp": (WEBP + bytes(64), "an image of more than"),
    "scans.jpg": (jpeg(9_400, 5_000), "a JPEG of more than 50 scans"),
    "text.png": (png(4, 4, chunk(b"zTXt", b"a\0\0" + BOMB)), "not a readable image"),
    "texts.png": (
        png(4, 4, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000)))] * 100),
        "not a readable image",
    ),
    "profile.png": (png(4, 4, chunk(b"iCCP", b"a\0\0" + BOMB)), "not a readable image"),
    "chunks.png": (png(4, 4, *[chunk(b"teXt", b"")] * 100_000), "its header does not end"),
    "length.png": (png(4, 4, chunk(b"iTXt", b"", 0x7FFFFFFF)), "not a readable image"),
    "cut.png": (cut("PNG"), "not a readable image"),
    "cut.jpg": (cut("JPEG"), "not a readable image"),
    "strips.tif": (sized_tiff(100, 0xFFFFFFFF), "not a"),
    "pages.tif": (sized_tiff(4), ""),  # its directory is its own successor
    "frames.gif": (animated(3_000), ""),
    "empty.jpg": (b"", "not an image in any known format"),
    "junk.jpg": (sparse(250_000_000, SOI), "its header does not end"),
    "zeros.jpg": (sparse(250_000_000), "not an image in any known format"),
    "huge.jpg": (sparse(5_000_000_000, SOI), "bytes; expected"),
    "huge.webp": (sparse(5_000_000_000, WEBP), "bytes; expected"),
    "vector.png": (
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "not an image in any known format",
    ),
    "script.jpg": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{ } loop\n",
        "not an image in any",
    ),
    "page.jpg": (b"<!DOCTYPE html><html>404</html>", "not an image in any known format"),
    "pipe.jpg": (os.mkfifo, "not a file"),
    "socket.jpg": (listening, "not a file"),
    "folder.jpg": (os.mkdir, "not a file"),
    "device.jpg": (lambda path: path.symlink_to("/dev/zero"), "not a file"),
    "loop.jpg": (lambda path: path.symlink_to(path.name), "not a readable image"),
    "gone.jpg": (lambda path: path.symlink_to("nowhere"), "no such image"),
    "a\nb\x1b[2J\udcff.jpg": (b"no image", "not an image in any known format"),
}


def scene(root: Path) -> None:
    """Make a small data set of two classes."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for index in range(2):
                Image.effect_noise((8, 8), 90).save(root / split / name / f"{name}_{index}.png")


def below(folder: Path, depth: int) -> None:
    """Make folders within folders, as deep as a path can be long."""
    here = os.getcwd()
    os.chdir(folder)
    for _ in range(depth):
        os.mkdir("d" * 100)
        os.chdir("d" * 100)
    Path("x.png").touch()
    os.chdir(here)


def many_classes(root: Path) -> None:
    """Make 5,000 more classes, all but the first empty."""
    for split in ("train", "val"):
        for index in range(5_000):
            (root / split / f"class{index}").mkdir()


def written(name: str, text: str | Callable[[Path], None]) -> Callable[[Path], None]:
    """Return a maker that puts a file into a data set."""

    def make(root: Path) -> None:
        (root / name).write_text(text) if isinstance(text, str) else text(root / name)

    return make


def inat(text: str) -> Callable[[Path], None]:
    """Return a maker of a data set of JSON lists."""

    def make(root: Path) -> None:
        os.rename(root / "train", root / "pictures")
        for name in ("train2018.json", "val2018.json"):
            (root / name).write_text(text)

    return make


def named(name: str) -> str:
    """Return JSON lists of one image of that name."""
    image = f'{{"id": 1, "file_name": "{name}"}}'
    return f'{{"images": [{image}], "annotations": [{{"image_id": 1, "category_id": 1}}], "categories": [{{"id": 1}}]}}'


def places(text: str | Callable[[Path], None]) -> Callable[[Path], None]:
    """Return a maker of a data set of CSV lists."""

    def make(root: Path) -> None:
        os.rename(root / "train", root / "pictures")
        for name in ("train_places205.csv", "val_places205.csv"):
            written(name, text)(root)

    return make


LISTS = "list:{root}/train_places205.csv,{root}/val_places205.csv"

# name: (what is added to a scene, DATA if not its folder, what is said; empty where it is read)
SETS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "circle": (lambda root: (root / "train/cat/again").symlink_to(".."), "", ""),
    "whole disk": (lambda root: (root / "train/cat/disk").symlink_to("/"), "", ""),
    "deep": (lambda root: below(root / "train/cat", 60), "", "File name too long"),
    "pipe among images": (lambda root: os.mkfifo(root / "train/cat/x.png"), "", ""),
    "link to a pipe": (
        lambda root: (os.mkfifo(root / "pipe"), (root / "train/cat/x.png").symlink_to("../../pipe")),
        "",
        "not a file",
    ),
    "folder like an image": (lambda root: (root / "train/cat/x.png").mkdir(), "", ""),
    "train is a pipe": (lambda root: (os.rename(root / "train", root / "t"), os.mkfifo(root / "train")), "", "no data"),
    "many classes": (many_classes, "", "no images in it"),
    "unprintable class": (lambda root: (root / "train/a\nb\x1b[2J\udcff").mkdir(), "", "no images in it"),
    "marker is a pipe": (lambda root: os.mkfifo(root / "scenes.json"), "", ""),
    "classes of a device": (lambda root: None, "{root}?classes=/dev/zero", "not a file"),
    "classes of zeros": (written("keep.txt", sparse(400_000_000)), "{root}?classes={root}/keep.txt", "no plain text"),
    "classes of 5 GB": (written("keep.txt", sparse(5_000_000_000)), "{root}?classes={root}/keep.txt", "too many"),
    "classes of empty lines": (written("keep.txt", "\n" * 50_000_000), "{root}?classes={root}/keep.txt", "more than"),
    "classes of one line": (
        written("keep.txt", "x" * 50_000_000),
        "{root}?classes={root}/keep.txt",
        "a line of more than",
    ),
    "split outside": (lambda root: None, "{root}?train=../..", "leads out of the folder"),
    "JSON too deep": (inat("[" * 1_000_000), "", "not readable as JSON"),
    "JSON with a long number": (inat('{"images": [{"id": ' + "9" * 5000 + "}]}"), "", "not readable as JSON"),
    "JSON of nothing": (
        inat('{"images": [' + "{}," * 999_999 + '{}], "annotations": [{}], "categories": [{}]}'),
        "",
        "different ids",
    ),
    "JSON that leads out": (inat(named("../../../etc/passwd")), "", "expected files below that folder"),
    "JSON from the root": (inat(named("/etc/passwd")), "", "expected files below that folder"),
    "JSON of half a letter": (inat(named("\\ud800")), "", "which is no text"),
    "list of zeros": (places(sparse(400_000_000)), LISTS, "no plain text"),
    "list of 5 GB": (places(sparse(5_000_000_000)), LISTS, "too many"),
    "list of one line": (places("x" * 50_000_000), LISTS, "a line of more than"),
    "list of endless quotes": (places('"' + "a/b/c.png 0\n" * 100_000), "", "no image"),
    "list of a vast label": (places("a/b/c.png 999999999\n"), "", "labels 999999999"),
    "table of an endless field": (written("t.csv", 'path,label\n"' + "a" * 50_000_000), "list:{root}/t.csv", "letters"),
    "table of endless rows": (written("t.csv", 'path,label\n"' + "a\n" * 30_000_000), "list:{root}/t.csv", "more than"),
    "table of a vast row": (written("t.csv", "path" + ",x" * 400_000 + "\na\n"), "list:{root}/t.csv", "two columns"),
    "table that is a pipe": (lambda root: os.mkfifo(root / "t.csv"), "list:{root}/t.csv", "no such list"),
    "table that leads out": (written("t.csv", "path,label\n/etc/passwd,x\n"), "list:{root}/t.csv", "t.csv"),
    "list that leads out": (places("../images/cut.jpg 0\n"), "", "expected files below that folder"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Make all cases and read each."""
    root = tmp_path_factory.mktemp("hostile")
    asked: dict[str, tuple[str, str]] = {}
    (root / "images").mkdir()
    for name, (content, _) in IMAGES.items():
        path = root / "images" / name
        path.write_bytes(content) if isinstance(content, bytes) else content(path)
        asked[name] = ("image", str(path))
    for name, (add, data, _) in SETS.items():
        scene(root / name)
        add(root / name)
        asked[name] = ("data", (data or "{root}").format(root=root / name))
    lines = "".join(f"{json.dumps(question)}\n" for question in asked.values())
    done = subprocess.run([sys.executable, "-c", RUNNER], input=lines, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    answers = [Outcome(*json.loads(line)) for line in done.stdout.splitlines()]
    return dict(zip(asked, answers, strict=True))


SAID = {name: said for name, (_, said) in IMAGES.items()} | {name: said for name, (*_, said) in SETS.items()}


@pytest.mark.parametrize("name", SAID, ids=ascii)
def test_a_run_says_one_line_or_reads_it(outcomes: dict[str, Outcome], name: str) -> None:
    run = outcomes[name].run
    assert (SAID[name] in run, bool(run)) == (True, bool(SAID[name])), run


@pytest.mark.parametrize("name", SAID, ids=ascii)
def test_a_check_says_the_same(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[name].run in outcomes[name].check


@pytest.mark.parametrize("name", SAID, ids=ascii)
def test_what_is_said_is_printable(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[name].run.isprintable()


@pytest.mark.parametrize("name", SAID, ids=ascii)
def test_time_and_memory_are_bounded(outcomes: dict[str, Outcome], name: str) -> None:
    found = outcomes[name]
    assert (found.status, found.seconds < SECONDS, found.megabytes < MEGABYTES) == (0, True, True), found
