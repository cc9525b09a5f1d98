"""What a file holds, told by its bytes: where it lies, how it is called and when it was touched says nothing."""

import hashlib
import os
from pathlib import Path

from twinbench.data import hints


def file_sha256(file: Path) -> str:
    """Return the sha256 of a file's bytes, in hex; empty where it cannot be read.

    A file that has the size and times that it had is not read again: `touch` costs one more reading, and changes
    nothing.
    """
    question = ["sha256 of a file", os.path.realpath(file)]
    kept = hints.recall(question)
    if isinstance(kept, str):
        return kept
    began = hints.now()
    try:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""
    hints.keep(question, found, [file], began)
    return found
