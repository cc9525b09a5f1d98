"""An archive from the network becomes files below one folder, and nothing else: no other place, no links, no bombs."""

import os
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from twinbench.data.errors import DataError
from twinbench.runtime.progress import bar

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
RATIO = 50  # bytes that one byte of an archive may become: JSON shrinks to a tenth, photographs hardly at all
ALLOWANCE = 100_000_000  # bytes that any archive may become
CHUNK = 1 << 20  # bytes


def is_archive(path: Path) -> bool:
    """Say whether `unpack` knows files of this name."""
    return path.name.lower().endswith((*TARS, ".zip"))


def unpack(path: Path, folder: Path) -> int:
    """Write the files of an archive below `folder`, over what is there; return how many links were left out.

    DataError for a damaged archive, a member that leads out of `folder` or is neither file nor folder, and for one that
    becomes more than RATIO times its size.
    """
    left = RATIO * path.stat().st_size + ALLOWANCE
    links = 0
    try:
        for name, content in _zipped(path) if path.name.lower().endswith(".zip") else _tarred(path):
            if content is None:
                links += 1
                continue
            left = _write(path, folder / _inside(path, name), content, left)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: not a readable archive ({error}); remove it and fetch it again") from None
    except OSError as error:  # of a damaged stream as of a full disk
        where = error.filename or path
        why = error.strerror or error
        raise DataError(f"{where}: cannot be unpacked ({why}); expected a whole archive and room for it") from None
    return links


def _inside(path: Path, name: str) -> str:
    """Return a member's name; DataError if it is no plain name below the folder."""
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or "\\" in name or ".." in parts or not name.isprintable() or not name.strip("./"):
        raise DataError(f"{path}: holds '{name[:80]}', which leads out of its folder; expected plain names; remove it")
    return name


def _write(path: Path, file: Path, content: IO[bytes], left: int) -> int:
    """Write one member; return how many bytes may still come."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_symlink():  # of whatever was there before: it is replaced, not followed
        file.unlink()
    with open(file, "wb") as out:
        while chunk := content.read(CHUNK):
            left -= len(chunk)
            if left < 0:
                raise DataError(
                    f"{path}: becomes more than {RATIO} times its {path.stat().st_size:,} bytes; expected images;"
                    " remove it"
                )
            out.write(chunk)
    return left


def _tarred(path: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield name and content of each file in a tar, None for a link; DataError for devices and the like."""
    with _read_through(path) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            if member.isdir():
                _inside(path, member.name)
            elif member.isreg():
                yield member.name, archive.extractfile(member)
            elif member.issym() or member.islnk():
                yield member.name, None
            else:
                raise DataError(f"{path}: holds '{member.name[:80]}', neither file nor folder; remove the archive")


def _zipped(path: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield name and content of each file in a zip, None for a link."""
    with zipfile.ZipFile(path) as archive:
        for member in bar(archive.infolist(), what=f"unpack {path.name}", unit="file"):
            if member.is_dir():
                _inside(path, member.filename)
            elif (member.external_attr >> 28) == 0xA:  # S_IFLNK of the mode in the upper half
                yield member.filename, None
            else:
                with archive.open(member) as content:
                    yield member.filename, content


@contextmanager
def _read_through(path: Path) -> Iterator[Any]:
    """Open a file whose reading moves a bar: of a tar only the bytes, not the members, are known beforehand."""
    total = os.path.getsize(path)
    with open(path, "rb") as file, bar((), what=f"unpack {path.name}", total=total >> 20, unit="MiB") as shown:

        class Read:
            def read(self, size: int = -1) -> bytes:
                chunk = file.read(size)
                shown.update((file.tell() >> 20) - shown.n)
                return chunk

        yield Read()
