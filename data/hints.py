"""What was found out about a data set, kept as long as nothing moves there: a hint that saves work, never an answer.

A hint lies in $TWINBENCH_CACHE/data, by default ~/.cache/twinbench/data, one small file for each question. It holds
while every folder, every list and some of the files that the answer rests on have the times and the size that they had.
A folder's times say that files came, went or were renamed; they do not say that one was written over in place. So only
what takes long to find out is asked here, and who measures asks the files themselves.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twinbench.protocols.house import replacing
from twinbench.protocols.text import TextError, read_json
from twinbench.runtime.cache import cache_folder

# Within the tick of a file system's clock two changes have one time (git calls this racy): what changed so shortly
# before the reading began is not kept.
SETTLED_SECONDS = 2
MOST_BYTES = 50_000_000  # 150 or so for each folder and list

Stamp = list[int]  # times of the last change of contents and of status, in ns, and the size


def recall(question: list[str]) -> Any:
    """Return the kept answer, or None where there is none or where something has moved since."""
    try:
        kept = read_json(_path(question), at_most=MOST_BYTES)
        if kept["question"] != question:
            return None
        for path, stamp in kept["stamps"].items():
            if _stamp(path) != stamp:
                return None
        return kept["answer"]
    except (TextError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        return None


def keep(question: list[str], answer: Any, watched: Iterable[Path], began: float) -> None:
    """Keep an answer for which the reading of what is `watched` began at `began` (`time.time()`).

    Without effect where something changed since, or just before, and where the cache cannot be written.
    """
    try:
        stamps = {os.path.abspath(path): _stamp(path) for path in watched}
        newest = max((max(stamp[:2]) for stamp in stamps.values()), default=0)
        if newest > (began - SETTLED_SECONDS) * 1e9:
            return
        with replacing(_path(question)) as part:
            part.write_text(json.dumps({"question": question, "answer": answer, "stamps": stamps}))
    except (OSError, RuntimeError, ValueError):  # ValueError: a name that no text file can hold
        return


def forget(question: list[str]) -> None:
    """Remove the answer: it was found to be wrong."""
    try:
        _path(question).unlink(missing_ok=True)
    except (OSError, RuntimeError):
        return


def now() -> float:
    """Return the time as `keep` wants it."""
    return time.time()


def _path(question: list[str]) -> Path:
    """Return where the answer lies; RuntimeError for a user without a home."""
    name = hashlib.sha256(json.dumps(question).encode()).hexdigest()[:32]
    return cache_folder() / "data" / f"{name}.json"


def _stamp(path: str | Path) -> Stamp:
    """Return what a hint remembers of a file or folder."""
    status = os.stat(path)
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size]
