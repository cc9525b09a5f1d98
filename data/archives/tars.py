"""The files in a tar: their names and where they lie, from the headers alone.

Formats: POSIX.1-1988 (ustar), POSIX.1-2001 (pax), GNU's and the one before them all, as GNU tar's manual, "Basic Tar
Format", and pax(1) describe them. tarfile reads the same in two to three times the time
and the memory, and passes over archives that are cut off, joined or damaged between two members.
"""

import os
import posixpath
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from twinbench.data.archives.opened import Archive
from twinbench.data.errors import DataError

BLOCK = 512
ZEROS = bytes(BLOCK)
LARGEST_HEADER = 1 << 20  # bytes of a pax header or long name: a file system's longest path has 4096
TAIL = 1 << 16  # bytes after the end that are looked at: joined archives go on within a record of 10,240
ADLER = 65521
FILES = (b"\0", b"0", b"7")
FOLDER, HARD_LINK, SOFT_LINK = b"5", b"1", b"2"
NO_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders, pipes: whatever their size, nothing follows
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL = b"L", b"K", b"x", b"g"
REFUSED = {b"S": "a sparse file", b"M": "a part of a file that goes on in another tar"}
LENGTH = re.compile(rb"(\d{1,8}) ")  # of a pax record, in bytes
HOPS = 40  # links that lead to links, as many as Linux follows
SPECIAL = "pipes, sockets and devices"
COMPRESSED = {  # first bytes: (name, what unpacks it)
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"\x28\xb5\x2f\xfd": ("zstandard", "unzstd"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"PK\x03\x04": ("zip: give zip:", "unzip"),
}


class TarEntry(NamedTuple):
    """One member. A folder's name ends in a slash."""

    name: bytes
    at: int  # where its content begins
    size: int  # bytes
    kind: bytes
    target: bytes  # of a link


def tar_files(archive: Archive, left_out: Counter[str]) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, place, size) of each file and folder, links at last; count what is neither.

    A link stands for the file in this archive that it leads to; DataError for one that leads elsewhere.
    """
    links: list[TarEntry] = []
    for entry in entries(archive):
        if entry.kind in (HARD_LINK, SOFT_LINK):
            links.append(entry)
        elif entry.kind in NO_DATA and entry.kind != FOLDER:
            left_out[SPECIAL] += 1
        else:
            yield entry.name, entry.at, entry.size
    if links:
        yield from _followed(archive, links)


def _followed(archive: Archive, links: list[TarEntry]) -> Iterator[tuple[bytes, int, int]]:
    """Yield each link with the place and size of the file that it leads to."""
    known = {plain(entry.name): entry for entry in entries(archive)}  # later ones win, as when it is unpacked
    for link in links:
        found: TarEntry | None = link
        for _ in range(HOPS):
            if found is None or found.kind not in (HARD_LINK, SOFT_LINK):
                break
            start = b"" if found.kind == HARD_LINK else posixpath.dirname(plain(found.name))
            found = known.get(plain(posixpath.join(start, found.target)))
        if found is None or found.kind not in FILES:
            raise DataError(
                f"{archive.path}: {os.fsdecode(link.name)[:80]} is a link to {os.fsdecode(link.target)[:80]}, which is"
                " no file in the archive; expected the images themselves; pack them with `tar --dereference`"
            )
        yield link.name, found.at, found.size


def plain(name: bytes) -> bytes:
    """Return a name without `./` and what else means nothing in it."""
    return posixpath.normpath(name)


def entries(archive: Archive) -> Iterator[TarEntry]:
    """Yield every member in the archive's order; DataError for a damaged header, and for an archive that is cut off."""
    at = 0
    said: dict[str, bytes] = {}  # about the member that follows, by the headers before it
    while True:
        header = _header(archive, at)
        if header == ZEROS:
            _require_end(archive, at)
            return
        kind, size = header[156:157], _number(archive, at, header[124:136])
        content, at = at + BLOCK, at + BLOCK
        if kind in NO_DATA and "size" not in said:
            size = 0
        if kind in (LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL):
            _require_inside(archive, content, size)
            _extend(archive, kind, content, size, said)
            at += _padded(size)
            continue
        if "size" in said:
            size = _said_size(archive, content, said["size"])
        _require_inside(archive, content, size)
        name = said.get("path") or _name(header)
        if kind in REFUSED or "GNU.sparse" in said:
            what = REFUSED.get(kind, REFUSED[b"S"])
            raise DataError(
                f"{archive.path}: {os.fsdecode(name)[:80]} is {what}; expected plain files; pack it again without"
                " --sparse and --multi-volume"
            )
        if kind == FOLDER or (kind == b"\0" and name.endswith(b"/")):
            kind, name = FOLDER, name.rstrip(b"/") + b"/"
        elif kind not in NO_DATA:
            kind = b"0"  # POSIX: unknown kinds are files
            at += _padded(size)
        target = said.get("linkpath") or _text(header[157:257]) if kind in (HARD_LINK, SOFT_LINK) else b""
        yield TarEntry(name, content, size, kind, target)
        if said:
            said = {}


def _header(archive: Archive, at: int) -> bytes:
    """Return the header at a place; DataError if there is none."""
    if at + BLOCK > archive.size:
        if not archive.size:
            raise archive.damaged("it is empty")
        raise archive.damaged(f"it ends at {archive.size} without tar's end mark: cut off?")
    header = archive.read(at, BLOCK)
    if header == ZEROS:
        return header
    said = header[148:156]  # the checksum, which counts as eight blanks in the sum
    # Adler-32's lower half is 1 + the sum of the bytes: a tenth of the time of Python's `sum`.
    found = (zlib.adler32(header) & 0xFFFF) - 1 - sum(said) + 8 * ord(" ")
    if (found - _octal(said)) % ADLER and _octal(said) != _signed_sum(header):
        for magic, (name, command) in COMPRESSED.items():
            if not at and header.startswith(magic):
                raise DataError(
                    f"{archive.path}: compressed ({name}), so that no image can be read without all before it; expected"
                    f" a plain .tar, or zip; unpack it with `{command}`: images hardly shrink"
                )
        raise archive.damaged(f"no tar header at {at}")
    return header


def _signed_sum(header: bytes) -> int:
    """Return the checksum that old tars wrote, of signed bytes."""
    return sum(byte - 256 if byte > 127 else byte for byte in header[:148] + b" " * 8 + header[156:])


def _octal(field: bytes) -> int:
    """Return a number in octal digits; -1 for what is none."""
    try:
        return int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return -1


def _number(archive: Archive, at: int, field: bytes) -> int:
    """Return a header's number, octal or GNU's binary; DataError for a negative one and for what is none."""
    found = int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)
    if found < 0:
        raise archive.damaged(f"no size in the header at {at}")
    return found


def _said_size(archive: Archive, at: int, said: bytes) -> int:
    """Return a member's size as a pax header says it, where no octal field can hold it."""
    if not said.isdigit() or len(said) > 20:
        raise archive.damaged(f"no size in the header before {at}")
    return int(said)


def _require_inside(archive: Archive, at: int, size: int) -> None:
    if at + size > archive.size:
        raise archive.damaged(f"a member of {size} bytes at {at} of {archive.size}: cut off?")


def _padded(size: int) -> int:
    """Return how many bytes a content of `size` takes."""
    return -(-size // BLOCK) * BLOCK


def _name(header: bytes) -> bytes:
    """Return a member's name; POSIX keeps the beginning of a long one apart."""
    name, prefix = _text(header[:100]), _text(header[345:500])
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _extend(archive: Archive, kind: bytes, at: int, size: int, said: dict[str, bytes]) -> None:
    """Take in what a header says about the member that follows."""
    if size > LARGEST_HEADER:
        raise archive.damaged(f"a header of {size} bytes at {at}")
    content = archive.read(at, size)
    if kind == LONG_NAME:
        said["path"] = _text(content)
    elif kind == LONG_LINK:
        said["linkpath"] = _text(content)
    elif kind == PAX:
        said.update(_records(archive, at, content))


def _records(archive: Archive, at: int, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the records of a pax header, `22 path=a/long/name\\n`; those that nobody here uses are left out."""
    start = 0
    while match := LENGTH.match(content, start):
        end = start + int(match[1])
        equals = content.find(b"=", match.end(), end)
        if end > len(content) or equals < 0:
            break
        key, value = content[match.end() : equals], content[equals + 1 : end - 1]
        if key in (b"path", b"linkpath", b"size"):
            yield key.decode(), value
        elif key.startswith(b"GNU.sparse."):
            yield "GNU.sparse", value
        start = end
    if content[start:].strip(b"\0"):
        raise archive.damaged(f"a pax header at {at} that says nothing")


def _require_end(archive: Archive, at: int) -> None:
    """Raise DataError if something follows the end mark: tars that were joined, of which the rest would be lost."""
    tail = archive.read(at, min(TAIL, archive.size - at))
    if tail.strip(b"\0"):
        raise DataError(
            f"{archive.path}: goes on after its end at {at}; expected one archive; were several joined with `cat`? give"
            " them one by one"
        )
