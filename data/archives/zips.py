"""The files in a zip: their names and where they lie, from the central directory alone; and the reading of one.

Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16 (Zip64
and end) and 4.5.3 (Zip64's extra field).
"""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from twinbench.data.archives.opened import Archive
from twinbench.data.errors import DataError

END, END64, LOCATOR, ENTRY, LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
END_FORM = struct.Struct("<4s4H2LH")
END64_FORM = struct.Struct("<4sQ2H2L4Q")
LOCATOR_FORM = struct.Struct("<4sLQL")
ENTRY_FORM = struct.Struct("<4s6H3L5H2L")
LOCAL_FORM = struct.Struct("<4s5H3L2H")
LARGEST_COMMENT = 0xFFFF
WINDOW = 1 << 20  # bytes of the central directory that are read at a time
STORED, DEFLATED = 0, 8
METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 99: "AES encryption"}
ENCRYPTED, UTF8 = 1, 1 << 11  # flags
SYMLINK = 0xA  # the file's kind in the upper bits of Unix' mode


class ZipEntry(NamedTuple):
    """One file or folder; a folder's name ends in a slash."""

    name: bytes
    at: int  # of its local header
    size: int  # bytes, unpacked
    packed: int  # bytes
    crc: int
    method: int  # STORED or DEFLATED


class _Directory(NamedTuple):
    """Where the central directory lies."""

    at: int
    end: int
    entries: int
    shift: int  # what stands before the zip, as in one that unpacks itself


def zip_files(archive: Archive) -> Iterator[ZipEntry]:
    """Yield each file and folder, in the directory's order; DataError for what cannot be read at random."""
    directory = _directory(archive)
    at, count = directory.at, 0
    window, start = b"", at  # the bytes from `start` on
    while at + ENTRY_FORM.size <= directory.end:
        if at - start + ENTRY_FORM.size + 3 * 0xFFFF > len(window) and start + len(window) < directory.end:
            start, window = at, archive.read(at, min(WINDOW, directory.end - at))
        entry, at = _entry(archive, window, at, start, directory)
        count += 1
        yield entry
    if count != directory.entries or at != directory.end:
        raise archive.damaged(f"{count} of {directory.entries} files in its directory")


def _directory(archive: Archive) -> _Directory:
    """Return where the central directory lies; DataError if the archive has none, as when it is cut off."""
    start = max(0, archive.size - END_FORM.size - LARGEST_COMMENT)
    tail = archive.read(start, archive.size - start)
    found = tail.rfind(END, 0, max(0, len(tail) - END_FORM.size + len(END)))
    while found >= 0 and found + END_FORM.size + END_FORM.unpack_from(tail, found)[-1] != len(tail):
        found = tail.rfind(END, 0, found)  # of a comment that holds the mark
    if found < 0:
        raise archive.damaged("no zip directory at its end: cut off, or no zip?")
    _, disk, first_disk, _, entries, size, offset, _ = END_FORM.unpack_from(tail, found)
    at = start + found
    if 0xFFFF in (disk, first_disk, entries) or 0xFFFFFFFF in (size, offset):
        at, disk, first_disk, entries, size, offset = _end64(archive, at) or (
            at,
            disk,
            first_disk,
            entries,
            size,
            offset,
        )
    if disk or first_disk:
        raise DataError(f"{archive.path}: one part of a zip in several; expected a whole one; join it with `zip -s 0`")
    shift = at - size - offset
    if shift < 0 or size > at:
        raise archive.damaged(f"its directory of {size} bytes is not where it should be")
    return _Directory(at - size, at, entries, shift)


def _end64(archive: Archive, at: int) -> tuple[int, int, int, int, int, int] | None:
    """Return place, disks, count, size and offset that the Zip64 end record before `at` says; None without one."""
    if at < LOCATOR_FORM.size + END64_FORM.size:
        return None
    magic, _, _, disks = LOCATOR_FORM.unpack(archive.read(at - LOCATOR_FORM.size, LOCATOR_FORM.size))
    if magic != LOCATOR:
        return None
    at -= LOCATOR_FORM.size + END64_FORM.size  # not where the locator says: something may stand before the zip
    magic, _, _, _, disk, first_disk, _, entries, size, offset = END64_FORM.unpack(archive.read(at, END64_FORM.size))
    if magic != END64 or disks > 1:
        raise archive.damaged("no Zip64 end record where it should be")
    return at, disk, first_disk, entries, size, offset


def _entry(archive: Archive, window: bytes, at: int, start: int, directory: _Directory) -> tuple[ZipEntry, int]:
    """Return the entry at a place in the central directory, and the place of the next."""
    fields = ENTRY_FORM.unpack_from(window, at - start)
    magic, made_by, _, flags, method, _, _, crc, packed, size, *lengths = fields[:13]
    attributes, offset = fields[-2:]
    begin = at - start + ENTRY_FORM.size
    end = at + ENTRY_FORM.size + lengths[0] + lengths[1] + lengths[2]
    if magic != ENTRY or end > directory.end:
        raise archive.damaged(f"no entry of its directory at {at}")
    name = window[begin : begin + lengths[0]]
    extra = window[begin + lengths[0] : begin + lengths[0] + lengths[1]]
    size, packed, offset = _large(extra, size, packed, offset)
    if not flags & UTF8:
        name = os.fsencode(name.decode("cp437"))  # of DOS: what zip means where it does not say UTF-8
    offset += directory.shift
    if offset + LOCAL_FORM.size + packed > directory.at:
        raise archive.damaged(f"a file of {packed} bytes at {offset}, which lies outside")
    _require_readable(archive, name, flags, method, made_by >> 8, attributes)
    return ZipEntry(name, offset, size, packed, crc, method), end


def _large(extra: bytes, *values: int) -> list[int]:
    """Return size, packed size and offset, those that 32 bits cannot hold from Zip64's extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            count = min(length, len(extra) - at - 4) // 8
            numbers = iter(struct.unpack_from(f"<{count}Q", extra, at + 4))
            return [next(numbers, value) if value == 0xFFFFFFFF else value for value in values]
        at += 4 + length
    return list(values)


def _require_readable(archive: Archive, name: bytes, flags: int, method: int, system: int, attributes: int) -> None:
    """Raise DataError for a member that is encrypted, packed in a rare way, or a link."""
    is_link = system == 3 and attributes >> 28 == SYMLINK  # 3: Unix
    if method in (STORED, DEFLATED) and not flags & ENCRYPTED and not is_link:
        return
    what = "a link" if is_link else "encrypted" if flags & ENCRYPTED else METHODS.get(method, f"method {method}")
    raise DataError(
        f"{archive.path}: {os.fsdecode(name)[:80]} is packed as {what}; expected stored or deflated files; pack them"
        " again with `zip -0 -r`"
    )


def unzipped(archive: Archive, at: int, size: int, packed: int, crc: int, method: int) -> bytes:
    """Return the content of the member with a local header at `at`; DataError unless it is what the directory says."""
    magic, *_, name, extra = LOCAL_FORM.unpack(archive.read(at, LOCAL_FORM.size))
    if magic != LOCAL:
        raise archive.damaged(f"no file at {at}")
    content = archive.read(at + LOCAL_FORM.size + name + extra, packed)
    if method == DEFLATED:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
        except zlib.error as error:
            raise archive.damaged(f"the file at {at}: {error}") from None
    if len(content) != size or zlib.crc32(content) != crc:
        raise archive.damaged(f"the file at {at} is not what its directory says")
    return content
