"""Arrays that take long to make, kept in the cache as long as nothing moves that they were made from."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from twinbench.data import hints
from twinbench.protocols.house import replacing
from twinbench.runtime.cache import cache_folder

KEPT_FROM = 1 << 20  # bytes; fewer are made anew, in about a tenth of a second

Arrays = dict[str, np.ndarray]


def kept_arrays(question: list[str], watched: Iterable[Path], make: Callable[[], Arrays]) -> Arrays:
    """Return what `make` does, from the cache if the files that are `watched` have not changed since it was kept."""
    files = list(watched)
    if hints.recall(question):
        found = _loaded(question)
        if found is not None:
            return found
    began = hints.now()
    arrays = make()
    if sum(array.nbytes for array in arrays.values()) >= KEPT_FROM and _stored(question, arrays):
        hints.keep(question, True, files, began)
    return arrays


def _path(question: list[str]) -> Path:
    """Return where the arrays lie; RuntimeError for a user without a home."""
    name = hashlib.sha256(json.dumps(question).encode()).hexdigest()[:32]
    return cache_folder() / "data" / f"{name}.npz"


def _loaded(question: list[str]) -> Arrays | None:
    """Return kept arrays; None where they are gone or damaged."""
    try:
        with np.load(_path(question), allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, RuntimeError):
        return None


def _stored(question: list[str], arrays: Arrays) -> bool:
    """Say whether the arrays could be written."""
    hints.forget(question)  # that it should speak of the arrays to come before they are there
    try:
        with replacing(_path(question)) as part, open(part, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    except (OSError, RuntimeError):
        return False
    return True
