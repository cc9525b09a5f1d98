"""The parts of a checkpoint that is a folder: its names, files that one of them names, mapped files, texts of JSON."""

import mmap
import os
from pathlib import Path, PurePosixPath
from typing import Any

from twinbench.convert.files import CheckpointError, regular_file
from twinbench.protocols import text


def part_of(folder: Path, name: Any, named_in: str) -> Path:
    """Return the file `name` of a folder, as `named_in` calls it. CheckpointError if it is not there, or elsewhere.

    The name must stay below the folder; a link in it may lead out, as every file in Hugging Face's cache does.
    """
    if not isinstance(name, str) or not name:
        raise CheckpointError(f"{folder}: its {named_in} names no file where one is expected; get the folder again")
    where = f"{folder}: its {named_in} names {name[:80]!r}"
    inner = PurePosixPath(name)
    if inner.is_absolute() or ".." in inner.parts:
        raise CheckpointError(f"{where}, which lies outside the folder; refused")
    if not os.path.exists(folder / inner):
        raise CheckpointError(f"{where}, which is missing; copy or download the whole folder")
    return regular_file(folder / inner)


def names_in(folder: Path) -> list[str]:
    """Return the names of what lies in a folder, sorted."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read ({error.strerror or error})") from None


def text_start(path: Path, size: int) -> str:
    """Return what a small file says, its first `size` bytes at most; nothing where there is no regular file."""
    if not os.path.isfile(path):
        return ""
    try:
        with path.open("rb") as file:
            return file.read(size).decode("utf-8", "replace")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None


def map_file(path: Path) -> mmap.mmap:
    """Return the bytes of a regular file, mapped: private pages, never written back."""
    regular_file(path)
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_json(path: Path, limit: int) -> dict[str, Any]:
    """Return the JSON object in a file of at most `limit` bytes. CheckpointError for anything else."""
    size = regular_file(path).stat().st_size
    if size > limit:
        raise CheckpointError(f"{path}: {size:,} bytes of JSON; expected at most {limit:,}; is it another file?")
    try:
        found = text.parse_json(path.read_bytes().decode("utf-8-sig"), str(path), "get it again")
    except text.TextError as error:
        raise CheckpointError(str(error)) from None
    except (UnicodeDecodeError, OSError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({str(error)[:80]}); get it again") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: a JSON {type(found).__name__}; expected an object; get it again")
    return found
