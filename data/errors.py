"""The ground of this room: what is wrong with data, in one line, and reading what a user points at without harm."""

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from twinbench.protocols.house import UserError

MAX_BYTES = 500_000_000  # of a text
MAX_LINES = 5_000_000  # of a list; ImageNet's have 1.3 million
BLOCK = 1 << 20
MAX_LINE = 100_000  # letters, 25 times what a path may have


class DataError(UserError):
    """A data set that is missing, incomplete, damaged, or not in the layout it was said to be in."""


def unreadable(error: OSError) -> DataError:
    """Return the DataError for what the operating system refuses: a folder closed to us, a disk that fails."""
    return DataError(
        f"{error.filename}: cannot be read ({error.strerror}); expected to be let in; check who may read it"
    )


# What a file that is given as a folder is read by.
FORM_OF = {".tar": "tar", ".zip": "zip", ".json": "coco", **dict.fromkeys((".csv", ".tsv", ".txt", ".lst"), "list")}


def require_is_folder(root: Path, holds: str) -> None:
    """Raise DataError unless `root` is a folder; for an archive or a list it names the form that reads it."""
    if root.is_dir():
        return
    found = "not a folder" if root.exists() else "no such folder"
    form = FORM_OF.get(root.suffix.lower()) if root.is_file() else None
    advice = f"give it as {form}:{root}" if form else "check the path"
    raise DataError(f"{root}: {found}; expected the folder that holds {holds}; {advice}")


def require_folder(root: Path, needs: str, holds: str) -> None:
    """Raise DataError unless `root` is a folder with the entry `needs`; `holds` says what belongs there."""
    require_is_folder(root, holds)
    entries = sorted(os.listdir(root))
    if needs in entries:
        return
    if not entries:
        raise DataError(f"{root}: the folder is empty; expected {holds}; unpack the data set there")
    shown = ", ".join(entries[:3]) + (", ..." if len(entries) > 3 else "")
    hint = _nearby(root, needs) or "give the data set's root folder"
    raise DataError(f"{root}: no {needs} in it, but {shown}; expected {holds}; {hint}")


def _nearby(root: Path, needs: str) -> str:
    """Return where `needs` can be found instead: above `root`, where somebody gave a folder of the data set."""
    for above in list(root.resolve().parents)[:2]:
        if (above / needs).exists():
            return f"this looks like a folder inside the data set: give {above}"
    return ""


def read_text(path: Path, advice: str, at_most: int = MAX_BYTES) -> str:
    """Return a text file of up to `at_most` bytes; DataError, which ends in `advice`, if there is none to be read.

    The mark that Windows' editors put first (BOM) is no part of it: the first name of a list was not found for it.
    """
    with _text(path, advice, at_most) as file:
        return file.read()


def read_lines(path: Path, advice: str, at_most: int = MAX_BYTES) -> list[str]:
    """Return the lines of a list without blanks around them, empty ones left out; DataError as in `read_text`.

    Only line ends divide it: a name may hold any other letter, such as U+2028, which `str.splitlines` splits at. It is
    read line by line: as one text, 100 MB of empty lines came to gigabytes before any of them was looked at.
    """
    lines: list[str] = []
    with _text(path, advice, at_most) as file:  # universal line ends
        require_plain(path, advice, MAX_LINES)
        while line := file.readline(MAX_LINE):
            if len(line) == MAX_LINE:
                raise DataError(f"{path}: a line of more than {MAX_LINE:,} letters; is it a list? {advice}")
            if line := line.strip():
                lines.append(line)
    return lines


def require_plain(path: Path, advice: str, most_lines: int) -> None:
    """Raise DataError for a text with NUL in it, or of more than `most_lines`: to count takes less than to read."""
    count = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if b"\0" in block:
                found = "no plain text (is it UTF-16?)"
                raise DataError(f"{path}: {found}; expected UTF-8: save the list as that; {advice}")
            count += max(block.count(b"\n"), block.count(b"\r"))
            if count > most_lines:
                raise DataError(f"{path}: more than {most_lines:,} lines; is it the right list? {advice}")


@contextmanager
def _text(path: Path, advice: str, at_most: int) -> Generator[TextIO]:
    """Open a text file for the block; DataErrors as in `read_text`."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise DataError(f"{path}: not a file; {advice}")
        if status.st_size > at_most:
            raise DataError(f"{path}: {status.st_size} bytes, too many: such files have {at_most} at most; {advice}")
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {advice}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
