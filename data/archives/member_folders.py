"""The folders in archives: where a split begins, and its images class by class, as in folders on disk."""

import os
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from twinbench.data.archives.members import ARCHIVE, Index
from twinbench.data.decode import SUFFIXES
from twinbench.data.errors import DataError
from twinbench.data.folders.imagenet import FOLDERS
from twinbench.data.folders.walk import FOREIGN
from twinbench.data.source import Source

REPLACED = "members that a later one of the same name replaces"
DEEPEST = 8  # a split begins in no deeper folder: thousands of folders above each image would fill the memory
OUTSIDE = "images outside the class folders"


@dataclass(frozen=True)
class Folders:
    """The files of an index by folder; a folder's name ends in a slash, that of the root is empty."""

    files: dict[str, "array[int]"]  # places in the index, rising
    names: frozenset[str]  # of all folders, without files, too, and of those above down to DEEPEST

    def below(self, root: str) -> Iterator[str]:
        """Yield the folders with files, `root` and those below it, in the order of ImageFolder."""
        yield from sorted((name for name in self.files if name.startswith(root)), key=lambda name: name.rstrip("/"))


@lru_cache(maxsize=3)  # as `indexed`
def folders_of(index: Index) -> Folders:
    """Return the folders in an index."""
    files: dict[bytes, array[int]] = {}
    empty: set[bytes] = set()
    for place in range(len(index)):
        folder, slash, last = index.names.raw(place).rpartition(b"/")
        if last:
            files.setdefault(folder + slash, array("q")).append(place)
        else:
            empty.add(folder + slash)
    names = {os.fsdecode(folder) for folder in (*files, *empty)}
    for name in tuple(names):
        parts = name.split("/")[:-1]
        names.update("/".join(parts[:depth]) + "/" for depth in range(1, min(len(parts), DEEPEST + 1)))
    return Folders({os.fsdecode(folder): places for folder, places in files.items()}, frozenset({*names, ""}))


def has_image_name(name: str) -> bool:
    """Say whether a file is an image by its suffix."""
    return name.lower().endswith(SUFFIXES)


def image_folders(index: Index, root: str) -> list[str]:
    """Return the folders, `root` and below it, with at least one image."""
    folders = folders_of(index)
    return [
        folder
        for folder in folders.below(root)
        if any(has_image_name(index.names[place]) for place in folders.files[folder])
    ]


def shown(index: Index) -> str:
    """Return the beginning of what is in archives, for messages."""
    first = [index.names[place] for place in range(min(3, len(index)))]
    nested = next((name for name in first if name.lower().endswith((".tar", ".zip", ".gz"))), "")
    if nested:
        return f"{nested[:80]}, an archive in an archive (unpack the outer one)"
    return ", ".join(name[:80] for name in first) or "nothing"


def split_folder_in(index: Index, source: Source, split: str) -> tuple[str, str]:
    """Return (what stands before it, the split's folder) in archives that hold both; DataError unless there is one."""
    names = folders_of(index).names
    train = (source.named("train") or FOLDERS["train"][0]).strip("/") + "/"
    tests = [source.named("test").strip("/")] if source.named("test") else FOLDERS["test"]
    pairs: list[tuple[str, str]] = []
    for name in names:
        above = name.removesuffix(train)
        test = next((f"{test}/" for test in tests if f"{above}{test}/" in names), "")
        if test and name == above + train and (not above or above.endswith("/")):
            pairs.append((above, train if split == "train" else test))
    depth = min((above.count("/") for above, _ in pairs), default=0)
    found = [pair for pair in pairs if pair[0].count("/") == depth]
    if len(found) == 1:
        return found[0]
    if found:
        both = " and ".join(sorted(f"{above}{train}" for above, _ in found)[:2])
        raise DataError(
            f"{source}: both {both} in it; expected one data set; name the folder: DATA?train=NAME&test=NAME"
        )
    raise DataError(
        f"{source}: no {train} beside {'/ or '.join(tests)}/ in it, nor archives called so, but {shown(index)};"
        " expected both splits; name archives or folders: DATA?train=NAME&test=NAME"
    )


def alone_folder_in(index: Index, names: Sequence[str]) -> tuple[str, str]:
    """Return (what stands before it, the folder of the images) in archives that hold one split.

    It is the one called like the split, if all images are in it, or else the deepest that all images are in.
    """
    folders = image_folders(index, "")
    called = [name for name in folders_of(index).names if name.strip("/").rpartition("/")[2] in names]
    for name in sorted(called, key=lambda name: (name.count("/"), name)):
        if name and all(folder.startswith(name) for folder in folders):
            above, _, last = name.rstrip("/").rpartition("/")
            return (f"{above}/" if above else "", f"{last}/")
    common = os.path.commonpath([f"/{folder}" for folder in folders])[1:] if folders else ""
    return (f"{common}/" if common else "", "")


def class_folders_in(index: Index, root: str) -> tuple[str, ...]:
    """Return the names of the folders in `root`, sorted."""
    below = (name for name in folders_of(index).names if name.startswith(root))
    return tuple(sorted({name[len(root) :].partition("/")[0] for name in below} - {""}))


def class_images(
    index: Index, source: Source, root: str
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, Counter[str]]:
    """Return classes, places (N,) and targets (N,) of the images below `root`, and what is left out there.

    The first folder below `root` is the class. DataError for a class without images.
    """
    left_out: Counter[str] = Counter()
    folders = folders_of(index)
    classes = class_folders_in(index, root)
    by_class: dict[str, list[str]] = {name: [] for name in classes}
    for folder in folders.below(root):
        title = folder[len(root) :].partition("/")[0]
        if title:
            by_class[title].append(folder)
        else:
            outside = len(_images_in(index, source, folders.files[folder], left_out))
            left_out[OUTSIDE] += outside
    places, counts = array("q"), []
    for title, inner in by_class.items():
        begun = len(places)
        for folder in inner:
            places.extend(_images_in(index, source, folders.files[folder], left_out))
        counts.append(len(places) - begun)
        if not counts[-1]:
            raise DataError(
                f"{source}: no images in {root}{title}; expected images of one class ({', '.join(SUFFIXES)}); is the"
                " data set complete?"
            )
    targets = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    return classes, np.array(places, dtype=np.int64), targets, left_out


def every_image(index: Index, source: Source, root: str) -> tuple[np.ndarray, Counter[str]]:
    """Return the places (N,) of all images below `root`, and what is left out there."""
    left_out: Counter[str] = Counter()
    folders = folders_of(index)
    places = array("q")
    for folder in folders.below(root):
        places.extend(_images_in(index, source, folders.files[folder], left_out))
    return np.array(places, dtype=np.int64), left_out


def images_as_they_lie(index: Index, root: str) -> tuple[np.ndarray, Counter[str]]:
    """Return the places (N,) of all images below `root` in the order of archives and members, and what is left out.

    Archives may have members of one name, as shards that each count anew; within one the later is meant.
    """
    left_out: Counter[str] = Counter()
    found: dict[tuple[int, bytes], int] = {}
    folders = folders_of(index)
    for folder in folders.below(root):
        for place in folders.files[folder]:
            name = index.names.raw(place)
            if not has_image_name(os.fsdecode(name)):
                left_out[FOREIGN] += 1
                continue
            key = (int(index.rows[place, ARCHIVE]), name)
            left_out[REPLACED] += key in found
            found[key] = place
    return np.sort(np.array([*found.values()], dtype=np.int64)), left_out


def _images_in(index: Index, source: Source, places: Sequence[int], left_out: Counter[str]) -> list[int]:
    """Return the images among the files of one folder by their names.

    Of two with one name in one archive the later is meant, as when it is unpacked; DataError if they lie in two.
    """
    found: dict[str, int] = {}
    for place in places:
        name = index.names[place]
        if not has_image_name(name):
            left_out[FOREIGN] += 1
            continue
        if name in found:
            _require_one_archive(index, source, found[name], place)
            left_out[REPLACED] += 1
        found[name] = place
    return [found[name] for name in sorted(found)]


def _require_one_archive(index: Index, source: Source, first: int, second: int) -> None:
    """Raise DataError if two members of one name lie in two archives: which one is meant?"""
    one, other = (index.archives[index.rows[place, ARCHIVE]].path for place in (first, second))
    if one != other:
        raise DataError(
            f"{source}: {index.names[second]} is in {one} and in {other}; expected each image once; leave one out"
        )
