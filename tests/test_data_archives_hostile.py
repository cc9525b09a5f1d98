"""Archives of every format, and archives made to hurt: read as tarfile and zipfile do, or refused in one line, soon."""

import io
import os
import resource
import struct
import subprocess
import tarfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from twinbench.data.archives.member_folders import folders_of
from twinbench.data.archives.members import indexed
from twinbench.data.archives.opened import Archive
from twinbench.data.archives.tars import tar_files
from twinbench.data.archives.zips import zip_files
from twinbench.data.errors import DataError
from twinbench.data.items import Stored
from twinbench.data.layouts import read_labelled
from twinbench.data.source import Source

LONG = "/".join(["n" * 90] * 3)
NAMES = ["train/a/1.jpg", f"{'d' * 60}/{'e' * 60}.jpg", f"{LONG}.jpg", "train/Möwe/日本.png", "train/a b/x.JPEG"]


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def member(name: str | bytes, content: bytes = b"x", **fields: object) -> bytes:
    """Return one member of a tar."""
    info = tarfile.TarInfo(os.fsdecode(name))
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + content.ljust(
        -(-len(content) // 512) * 512, b"\0"
    )


END = bytes(1024)


def resummed(header: bytes) -> bytes:
    """Return a header with its checksum made right."""
    blank = header[:148] + b" " * 8 + header[156:512]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:] + header[512:]


# As tarfile and zipfile read them


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_and_places_are_those_of_tarfile(form: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=form) as archive:
        for number, name in enumerate(NAMES):
            if form == tarfile.USTAR_FORMAT and len(name) > 256:
                continue
            info = tarfile.TarInfo(name)
            info.size = 500 * number
            archive.addfile(info, io.BytesIO(bytes([number]) * info.size))
    with tarfile.open(path) as archive:
        expected = [(entry.name, entry.offset_data, entry.size) for entry in archive]
    found = [(os.fsdecode(name), at, size) for name, at, size in tar_files(Archive.of(path), Counter())]
    assert found == expected


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_what_gnu_tar_writes(form: str, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("a/1.jpg", "a/b/2.jpg"):
        (tmp_path / name).write_text(name)
    os.link(tmp_path / "a/1.jpg", tmp_path / "a/hard.jpg")
    os.symlink("../1.jpg", tmp_path / "a/b/soft.jpg")
    subprocess.run(["tar", f"--format={form}", "-cf", "x.tar", "./a"], cwd=tmp_path, check=True)
    archive = Archive.of(tmp_path / "x.tar")
    index = indexed("tar", (archive,))
    files = [index.member(place) for place in range(len(index)) if not index.names[place].endswith("/")]
    found = {entry.member: entry.content().decode() for entry in files}
    one, two = "a/1.jpg", "a/b/2.jpg"
    assert found == {one: one, two: two, "a/hard.jpg": one, "a/b/soft.jpg": one}


@pytest.mark.parametrize("lead", [b"", b"#!/bin/sh\n"])
@pytest.mark.parametrize("comment", [b"", b"PK\5\6 is no end"])
def test_what_zipfile_writes(lead: bytes, comment: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    expected: dict[str, bytes] = {}
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(NAMES):
            expected |= {name: bytes([number]) * 1000, f"again/{name}": name.encode()}
            how = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=number > 2) as file:
                file.write(expected[name])
            archive.writestr(f"again/{name}", name, how)
        archive.comment = comment
    path.write_bytes(lead + path.read_bytes())
    index = indexed("zip", (Archive.of(path),))
    assert {index.names[place]: index.member(place).content() for place in range(len(index))} == expected


def test_more_files_than_sixteen_bits_count(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(65_540):
            archive.writestr(f"{number}", b"")
    assert sum(1 for _ in zip_files(Archive.of(tmp_path / "a.zip"))) == 65_540


# Made to hurt


def tar_of(*parts: bytes) -> bytes:
    return b"".join(parts) + END


def header(name: str = "train/a/1.jpg", *, at: int, value: bytes, content: bytes = b"x") -> bytes:
    """Return a member with something else in its header, whose checksum is right."""
    found = member(name, content)
    return resummed(found[:at] + value + found[at + len(value) :])


def pax(*records: bytes) -> bytes:
    return member("pax", b"".join(records), type=tarfile.XHDTYPE) + member("train/a/1.jpg")


LINK = {"type": tarfile.SYMTYPE, "size": 0}
HARD = {"type": tarfile.LNKTYPE, "size": 0}
TARS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "text": (b"not a tar " * 100, "no tar header at 0"),
    "gzip": (b"\x1f\x8b\x08" + bytes(600), r"compressed \(gzip\).*unpack it with `gunzip`"),
    "zstandard": (b"\x28\xb5\x2f\xfd" + b"x" * 600, r"compressed \(zstandard\)"),
    "a zip": (b"PK\3\4" + b"x" * 600, "give zip:"),
    "cut in a member": (member("train/a/1.jpg", b"x" * 5000)[:1000], "a member of 5000 bytes at 512 of 1000: cut off"),
    "cut between members": (member("train/a/1.jpg"), "without tar's end mark: cut off"),
    "joined": (tar_of(member("a/1.jpg")) + tar_of(member("b/2.jpg")), "goes on after its end"),
    "a wrong checksum": (tar_of(member("a/1.jpg")).replace(b"a/1.jpg", b"b/1.jpg"), "no tar header at 0"),
    "a huge size": (tar_of(header(at=124, value=b"77777777777\0")), "a member of 8589934591 bytes"),
    "a negative size": (tar_of(header(at=124, value=b"\xff" * 12)), "no size in the header"),
    "a huge binary size": (tar_of(header(at=124, value=b"\x80" + b"\xff" * 11)), "a member of .* bytes at 512"),
    "no number": (tar_of(header(at=124, value=b"-0000000007\0")), "no size in the header"),
    "a way out": (
        tar_of(member("train/../../etc/passwd.jpg")),
        "holds 'train/../../etc/passwd.jpg', which is no plain",
    ),
    "an absolute name": (tar_of(member("/etc/x.jpg")), "holds '/etc/x.jpg'"),
    "control characters": (tar_of(member("train/a/\x1b[2Jx.jpg")), "which is no plain name"),
    "a line end": (tar_of(member("train/a/1\n2.jpg")), "which is no plain name"),
    "an endless name": (tar_of(member("a/" * 3000 + "1.jpg")), "holds 'a/a/a/.*which is no plain name"),
    "a link out": (tar_of(member("train/a/1.jpg", b"", linkname="../../../etc/passwd", **LINK)), "is a link to"),
    "a link to /": (tar_of(member("train/a/1.jpg", b"", linkname="/etc/passwd", **LINK)), "is a link to /etc/passwd"),
    "a link to itself": (tar_of(member("train/a/1.jpg", b"", linkname="1.jpg", **LINK)), "is no file in the archive"),
    "a hard link out": (tar_of(member("train/a/1.jpg", b"", linkname="../x.jpg", **HARD)), "is no file in the archive"),
    "a link to a folder": (
        tar_of(member("b", b"", type=tarfile.DIRTYPE), member("a", b"", linkname="b", **LINK)),
        "pack them with `tar --dereference`",
    ),
    "a sparse file": (tar_of(member("train/a/1.jpg", type=tarfile.GNUTYPE_SPARSE)), "is a sparse file"),
    "a sparse file by pax": (tar_of(pax(b"22 GNU.sparse.major=1\n")), "is a sparse file"),
    "a long name of 2 MB": (tar_of(member("././@LongLink", b"x" * (1 << 21), type=b"L")), "a header of 2097152 bytes"),
    "a pax header without end": (tar_of(pax(b"99 path=x\n")), "a pax header at 512 that says nothing"),
    "a pax header of zeros": (tar_of(pax(b"0 " * 400_000)), "a pax header at 512 that says nothing"),
    "a pax size that is none": (tar_of(pax(b"11 size=-1\n")), "no size in the header"),
    "a huge pax size": (tar_of(pax(b"29 size=99999999999999999999\n")), "a member of 99999999999999999999 bytes"),
    "no images": (tar_of(member("train/a/1.md"), member("val/a/1.md")), "no images in it, but train/a/1.md"),
    "no split": (tar_of(member("a/1.jpg"), member("b/1.jpg")), "no train/ beside val/.*but a/1.jpg, b/1.jpg"),
    "archives": (tar_of(member("n01440764.tar")), "n01440764.tar, an archive in an archive"),
}


def zip_of(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return file.getvalue()


def symlink(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


def changed(content: bytes, mark: bytes, at: int, value: bytes) -> bytes:
    """Return a zip with other bytes `at` bytes behind the last `mark`."""
    place = content.rindex(mark) + at
    return content[:place] + value + content[place + len(value) :]


TWO = zip_of(("train/a/1.jpg", b"x"), ("val/a/1.jpg", b"x"))
ZIPS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no zip directory at its end"),
    "text": (b"not a zip " * 100, "no zip directory at its end"),
    "cut": (TWO[:-30], "no zip directory at its end"),
    "a directory elsewhere": (TWO[40:], "is not where it should be"),
    "a huge directory": (changed(TWO, b"PK\5\6", 12, b"\xfe" * 4), "is not where it should be"),
    "more files than there are": (changed(TWO, b"PK\5\6", 10, b"\x09\0"), "2 of 9 files in its directory"),
    "several parts": (changed(TWO, b"PK\5\6", 4, b"\1\0"), "one part of a zip in several"),
    "no entry": (changed(TWO, b"PK\1\2", 0, b"XX"), "no entry of its directory"),
    "a name of 64 KB": (changed(TWO, b"PK\1\2", 28, b"\xff\xff"), "no entry of its directory"),
    "a place outside": (changed(TWO, b"PK\1\2", 42, b"\xf0\xff\xff\x7f"), "which lies outside"),
    "a huge packed size": (changed(TWO, b"PK\1\2", 20, b"\xf0\xff\xff\x7f"), "which lies outside"),
    "encrypted": (changed(TWO, b"PK\1\2", 8, b"\1\0"), "packed as encrypted"),
    "bzip2": (changed(TWO, b"PK\1\2", 10, b"\x0c\0"), "packed as bzip2; expected stored or deflated"),
    "a link": (zip_of((symlink("train/a/1.jpg"), b"../../x")), "packed as a link"),
    "a way out": (zip_of(("../x.jpg", b"x")), "holds '../x.jpg'"),
    "an absolute name": (zip_of(("/x.jpg", b"x")), "holds '/x.jpg'"),
    "Windows' names": (zip_of(("train\\a\\x.jpg", b"x")), "which is no plain name"),
    "no split": (zip_of(("a/x.jpg", b"x")), "no train/ beside"),
}


@pytest.mark.parametrize("what", TARS)
def test_a_bad_tar_ends_in_one_line(what: str, tmp_path: Path) -> None:
    content, expected = TARS[what]
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=expected):
        read_labelled("", Source.of(f"tar:{tmp_path / 'a.tar'}"), "train")


@pytest.mark.parametrize("what", ZIPS)
def test_a_bad_zip_ends_in_one_line(what: str, tmp_path: Path) -> None:
    content, expected = ZIPS[what]
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=expected):
        read_labelled("", Source.of(f"zip:{tmp_path / 'a.zip'}"), "train")


# Contents


def only_image(content: bytes, folder: Path) -> Stored:
    """Return the training image of a zip with one in each split."""
    (folder / "a.zip").write_bytes(content)
    found = read_labelled("", Source.of(f"zip:{folder / 'a.zip'}"), "train").paths[0]
    assert isinstance(found, Stored)
    return found


FIRST = TWO.index(b"PK\1\2")  # of the training image in the directory
DAMAGED = {
    "another checksum": (TWO[: FIRST + 16] + b"1234" + TWO[FIRST + 20 :], "is not what its directory says"),
    "longer than said": (
        zip_of(("train/a/1.jpg", b"x" * 1000), ("val/a/1.jpg", b"x")).replace(b"\xe8\x03\0\0", b"\xe7\x03\0\0"),
        "is not what its directory says",
    ),
    "of 4 GB": (TWO[: FIRST + 24] + b"\xfe\xff\xff\xff" + TWO[FIRST + 28 :], "4294967294 bytes; expected an image"),
    "not deflated": (TWO[:43] + b"\xff\xff" + TWO[45:], "the file at 0: Error"),
    "no file there": (b"XX" + TWO[2:], "no file at 0"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_member_is_told_when_it_is_read(what: str, tmp_path: Path) -> None:
    content, expected = DAMAGED[what]
    image = only_image(content, tmp_path)
    with pytest.raises(DataError, match=expected):
        image.content()


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """100 MB of zeros in 100 KB, said to be 1000 bytes: no more is unpacked than was said."""
    bomb = zip_of(("train/a/1.jpg", bytes(100_000_000)), ("val/a/1.jpg", b"x"))
    image = only_image(bomb.replace(struct.pack("<L", 100_000_000), struct.pack("<L", 1000)), tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="is not what its directory says"):
        image.content()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


def test_an_archive_that_changes_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(member("train/a/1.jpg"), member("val/a/1.jpg")))
    images = read_labelled("", Source.of(f"tar:{path}"), "train").paths
    path.write_bytes(tar_of(member("train/a/1.jpg", b"another"), member("val/a/1.jpg")) + END)
    with pytest.raises(DataError, match="changed since it was listed"):
        list(images.sizes())
    with pytest.raises(DataError, match="changed since it was listed"):
        images[0].content()  # type: ignore[union-attr]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(DataError, match="not a file; expected an archive"):
        read_labelled("", Source.of(f"tar:{tmp_path / 'a.tar'}"), "train")


def test_a_chain_of_links_ends(tmp_path: Path) -> None:
    """Links that lead to links, two thousand times."""
    links = [member(f"train/a/{number}.jpg", b"", linkname=f"{number + 1}.jpg", **LINK) for number in range(2000)]
    (tmp_path / "a.tar").write_bytes(tar_of(*links, member("val/a/1.jpg")))
    began = time.process_time()
    with pytest.raises(DataError, match="is no file in the archive"):
        read_labelled("", Source.of(f"tar:{tmp_path / 'a.tar'}"), "train")
    assert time.process_time() - began < 10


def test_deep_folders_take_little_memory(tmp_path: Path) -> None:
    """Each name has 2000 folders above it, which are its own: as strings they would take 400 MB."""
    deep = [(f"{number}/{'a/' * 2000}1.jpg", b"x") for number in range(100)]
    (tmp_path / "a.zip").write_bytes(zip_of(*deep))
    index = indexed("zip", (Archive.of(tmp_path / "a.zip"),))
    assert sum(map(len, folders_of(index).names)) < 1_000_000
