"""The images below a folder at any depth, in the order of torchvision's ImageFolder, and a count of what else is there.

ImageFolder sorts the folders by their whole path, `a-b` before `a/b`, and the files within each, and follows links. So
does this. Links to a folder that holds the data set, and to folders that a class has been through already, are not
followed: they would lead in circles, or through the whole disk.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from twinbench.data.decode import SUFFIXES
from twinbench.data.errors import unreadable
from twinbench.data.folders.leavings import is_leaving

LEAVING = "hidden files, and what file managers leave"
FOREIGN = "files that are no images by their suffix"
OUTSIDE = "images outside the class folders"
NO_FILE = "pipes, sockets and devices"
CIRCLE = "links to folders that were met already"

Node = tuple[int, int]  # what a folder is, under whichever name: device and inode


class Walk:
    """Images below the folders of a data set; it counts what it leaves out, and keeps the folders without images."""

    def __init__(self, root: Path) -> None:
        """Begin at the data set's `root`; links to it or to a folder above it are not followed."""
        self._root = root
        resolved = root.resolve()
        self.left_out: Counter[str] = Counter()
        self.empty: list[Path] = []  # folders in which an image may appear later
        self._above = {_node(folder) for folder in (resolved, *resolved.parents)}

    def classes(self, folder: Path) -> tuple[str, ...]:
        """Return the names of the class folders in `folder`, sorted, and count what else lies there."""
        names: list[str] = []
        for entry in _entries(folder):
            if is_leaving(entry.name):
                self.left_out[LEAVING] += 1
            elif _is_dir(entry):
                if entry.is_symlink() and _node(entry.path) in self._above:
                    self.left_out[CIRCLE] += 1
                else:
                    names.append(entry.name)
            else:
                suffixed = entry.name.lower().endswith(SUFFIXES)
                self.left_out[OUTSIDE if suffixed else FOREIGN] += 1
        return tuple(sorted(names))

    def images(self, folder: Path) -> Iterator[str]:
        """Yield the images below `folder` by their names relative to it."""
        between = [above for above in folder.parents if above.is_relative_to(self._root)]
        met = self._above | {_node(above) for above in (folder, *between)}
        found = {"": self._files(folder, "", met)}
        waiting = list(found[""][1])
        while waiting:
            inner = waiting.pop()
            found[inner] = self._files(folder / inner, f"{inner}/", met)
            waiting += found[inner][1]
        for inner in sorted(found):
            files = found[inner][0]
            lead = f"{inner}/" if inner else ""
            yield from (lead + name for name in sorted(files))
            if not files:
                self.empty.append(folder / inner)

    def _files(self, folder: Path, lead: str, met: set[Node]) -> tuple[list[str], list[str]]:
        """Return the names of the images in one folder, and its inner folders with `lead` before their names."""
        files: list[str] = []
        folders: list[str] = []
        for entry in _entries(folder):
            if is_leaving(entry.name):
                self.left_out[LEAVING] += 1
            elif _is_dir(entry):
                folders.append(entry.name)
            elif not entry.name.lower().endswith(SUFFIXES):
                self.left_out[FOREIGN] += 1
            elif entry.is_symlink() or entry.is_file():  # a link to nowhere stays, and is told as a missing image
                files.append(entry.name)
            else:
                self.left_out[NO_FILE] += 1
        return files, [lead + name for name in sorted(folders) if self._is_new(folder / name, met)]

    def _is_new(self, folder: Path, met: set[Node]) -> bool:
        """Say whether a folder was not met before, and count it if it was."""
        node = _node(folder)
        if node in met:
            self.left_out[CIRCLE] += 1
            return False
        met.add(node)
        return True


def _is_dir(entry: os.DirEntry[str]) -> bool:
    """Say whether an entry is a folder or a link to one; a link in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _node(folder: Path | str) -> Node:
    """Return what a folder is; DataError if it cannot be asked."""
    try:
        status = os.stat(folder)
    except OSError as error:
        raise unreadable(error) from None
    return status.st_dev, status.st_ino


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder, in the order of the disk; DataError if it cannot be listed."""
    try:
        yield from os.scandir(folder)
    except OSError as error:
        raise unreadable(error) from None
