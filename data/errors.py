"""The ground of this room: what is wrong with data, in one line, and reading what a user points at without harm."""

import os
import stat
from pathlib import Path

from twinbench.protocols.house import UserError


class DataError(UserError):
    """A data set that is missing, incomplete, damaged, or not in the layout it was said to be in."""


def unreadable(error: OSError) -> DataError:
    """Return the DataError for what the operating system refuses: a folder closed to us, a disk that fails."""
    return DataError(
        f"{error.filename}: cannot be read ({error.strerror}); expected to be let in; check who may read it"
    )


def require_folder(root: Path, needs: str, holds: str) -> None:
    """Raise DataError unless `root` is a folder with the entry `needs`; `holds` says what belongs there."""
    if not root.is_dir():
        found = "not a folder" if root.exists() else "no such folder"
        raise DataError(f"{root}: {found}; expected the folder that holds {holds}; check the path")
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


def read_text(path: Path, advice: str, at_most: int = 500_000_000) -> str:
    """Return a text file of up to `at_most` bytes; DataError, which ends in `advice`, if there is none to be read.

    The mark that Windows' editors put first (BOM) is no part of it: the first name of a list was not found for it.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise DataError(f"{path}: not a file; {advice}")
        if status.st_size > at_most:
            raise DataError(f"{path}: {status.st_size} bytes, too many: such files have {at_most} at most; {advice}")
        return path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {advice}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {advice}") from None


def read_lines(path: Path, advice: str, at_most: int = 500_000_000) -> list[str]:
    """Return the lines of a list without blanks around them, empty ones left out; DataError as in `read_text`.

    Only line ends divide it: a name may hold any other letter, such as U+2028, which `str.splitlines` splits at.
    """
    text = read_text(path, advice, at_most)
    if "\0" in text:
        raise DataError(f"{path}: no plain text (is it UTF-16?); expected UTF-8: save the list as that; {advice}")
    lines = (line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return [line for line in lines if line]
