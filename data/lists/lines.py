"""The lines of a list, one at a time: lists of millions fit, and what is no list ends before it fills the memory."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from twinbench.data.errors import DataError, require_plain

MAX_BYTES = 2_000_000_000
MAX_LINES = 20_000_000  # ImageNet-21k has 14 million images
MAX_LINE = 1_000_000  # bytes; a row of 10,000 columns has a tenth


def lines_of(path: Path) -> Iterator[str]:
    """Yield the lines of a text in UTF-8 with their ends; DataError for a file that is no list.

    Bytes that are no text stay what they are (surrogateescape), as file names may hold any. The mark (BOM) that some
    editors put first is left out. A lone carriage return ends a line, too: lists from old Macs have no other.
    """
    _require_list(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as text:  # universal line ends
        while line := text.readline(MAX_LINE):
            if len(line) == MAX_LINE:
                raise DataError(
                    f"{path}: a line of more than {MAX_LINE:,} letters; expected an image a line; is it one?"
                )
            yield line


def _require_list(path: Path) -> None:
    """Raise DataError unless `path` is a file of text with a number of lines that can be held."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a list of images; check it") from None
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise DataError(f"{path}: not a file; expected a list of images; check the path")
    if status.st_size > MAX_BYTES:
        raise DataError(
            f"{path}: {status.st_size:,} bytes, too many; expected a list of {MAX_BYTES:,} at most; split it"
        )
    require_plain(path, "expected a list of images; split it", MAX_LINES)
