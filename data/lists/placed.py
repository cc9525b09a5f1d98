"""Where the images lie that a list names: the folder that its names start from, and whether all of them are there."""

import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from twinbench.data.decode import SUFFIXES
from twinbench.data.errors import DataError, unreadable
from twinbench.data.paths import PathList

PROBED = 16  # names, evenly spread, that a folder is tried with
ONE_BY_ONE = 1000  # of so few images each is asked for; of more, the folders that they lie in are listed


def tidy(names: Sequence[str]) -> list[str]:
    """Return names without `./`, `//` and `x/../`: two spellings of one image are one image."""
    return [posixpath.normpath(name) if "//" in name or "./" in name or name[-1] == "/" else name for name in names]


def placed(file: Path, names: Sequence[str], roots: Sequence[Path], option: str) -> PathList:
    """Return the images of the list `file` in the first of `roots` that holds some; DataError if one is missing.

    Names that are absolute or lead out of their folder by `../` are taken at their word, for a list is the user's;
    they start from the folder that all of them share. Names without any suffix get that of the only image called so.
    `option` is the one that names another folder.
    """
    if any(name[0] == "/" or name.startswith("../") for name in names):
        files = [posixpath.normpath(posixpath.join(os.path.abspath(roots[0]), name)) for name in names]
        shared = os.path.commonpath({posixpath.dirname(name) for name in files})
        cut = len(shared.rstrip("/")) + 1
        names, roots = [name[cut:] for name in files], [Path(shared)]
    has_suffixes = any(name.lower().endswith(SUFFIXES) for name in names)
    for spelled in (names, [name.replace("\\", "/") for name in names]):  # lists from Windows
        root = next((root for root in roots if _holds_some(root, spelled, has_suffixes)), None)
        if root is not None:
            found = spelled if has_suffixes else _with_suffixes(root, spelled)
            _require_all(file, root, found, option)
            return PathList(root, found)
    looked = ", ".join(dict.fromkeys(str(root) for root in roots))
    raise DataError(
        f"{file}: no image '{names[0][:120]}', its first, nor others of it in {looked}; expected {len(names):,} images"
        f" there; name the folder that their names start from: ?{option}=DIR"
    )


def _holds_some(root: Path, names: Sequence[str], has_suffixes: bool) -> bool:
    """Say whether some of the images are below a folder."""
    endings = ("",) if has_suffixes else ("", *SUFFIXES, *map(str.upper, SUFFIXES))
    probes = names[:: len(names) // PROBED + 1]
    return any(os.path.isfile(f"{root}/{name}{ending}") for name in probes for ending in endings)


def _with_suffixes(root: Path, names: Sequence[str]) -> list[str]:
    """Return names with the suffix of the image that is called so; DataError if there are two."""
    wanted = set(names)
    whole: dict[str, str] = {}
    for entry in _entries(root, names):
        stem, dot, _ = entry.rpartition(".")
        if not dot or stem not in wanted or not entry.lower().endswith(SUFFIXES):
            continue
        if stem in whole:
            raise DataError(
                f"{root}: both {whole[stem]} and {entry}; expected one image {stem}; add its suffix to the list"
            )
        whole[stem] = entry
    return [whole.get(name, name) for name in names]


def _require_all(file: Path, root: Path, names: Sequence[str], option: str) -> None:
    """Raise DataError, with their number, if images are missing below `root`."""
    if len(names) <= ONE_BY_ONE:
        missing = [name for name in names if not os.path.isfile(f"{root}/{name}")]
    else:
        left = set(names)
        left.difference_update(_entries(root, names))
        missing = [name for name in names if name in left] if left else []
    if missing:
        raise DataError(
            f"{file}: {len(missing):,} of its {len(names):,} images are not in {root}, the first is"
            f" '{missing[0][:120]}'; expected all; is the data set complete? another folder goes by ?{option}=DIR"
        )


def _entries(root: Path, names: Sequence[str]) -> Iterator[str]:
    """Yield the files of each folder that images lie in, once, by their names below `root`.

    A million images lie in a thousand folders: to list those takes a few seconds, even where to ask for one file takes
    a millisecond.
    """
    for folder in {posixpath.dirname(name) for name in names}:
        lead = f"{folder}/" if folder else ""
        try:
            with os.scandir(f"{root}/{folder}") as entries:
                yield from (lead + entry.name for entry in entries if entry.is_file())
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name that no folder can have
            continue
        except OSError as error:
            raise unreadable(error) from None
