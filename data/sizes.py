"""Asking the disk about every file of a list, by several threads at once, in the order of the list.

On a local disk threads neither help nor harm. On a network file system each answer is a round trip of up to a
millisecond: a million of them in turn take a quarter of an hour.
"""

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from twinbench.data.errors import DataError, unreadable

THREADS = 16
CHUNK = 1024  # files handed to a thread at a time

T = TypeVar("T")


def size(file: str | Path) -> int:
    """Return the size of one file in bytes; DataError for what is no file: opening a pipe would wait for ever."""
    try:
        status = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{file}: no such image; the data set is incomplete, see `twinbench data check`") from None
    except OSError as error:
        raise unreadable(error) from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{file}: not a file; expected an image; remove it and fetch the image again")
    return status.st_size


def in_order(ask: Callable[[int], T], count: int) -> Iterator[T]:
    """Yield `ask(0)`, `ask(1)`, ... `ask(count - 1)`; threads ask in chunks."""
    if count <= CHUNK:
        yield from map(ask, range(count))
        return

    def chunk(start: int) -> list[T]:
        return [ask(index) for index in range(start, min(start + CHUNK, count))]

    pool = ThreadPoolExecutor(THREADS)
    try:
        for answers in pool.map(chunk, range(0, count, CHUNK)):
            yield from answers
    finally:
        pool.shutdown(cancel_futures=True)
