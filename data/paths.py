"""A list of millions of files that costs megabytes, not gigabytes."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from twinbench.data.errors import DataError
from twinbench.data.items import ImageList
from twinbench.data.names import Names
from twinbench.data.sizes import in_order, size


class PathList(ImageList):
    """The files `names` below `root`, kept as one block of bytes; a Path is made when it is asked for.

    A million Path objects take 0.4 GB.
    """

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        """Keep `names`, relative to `root`, in the order given; DataError for one that cannot be a file below it."""
        self.root = root
        self._names = Names.of(_encoded(root, name) for name in names)

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._names)

    def one(self, index: int) -> Path:
        """Return one path."""
        return self.root / self.name(index)

    def select(self, indices: Sequence[int]) -> "PathList":
        """Return the files at these places."""
        return PathList(self.root, map(self.name, indices))

    def name(self, index: int) -> str:
        """Return name `index` (from 0), relative to the root."""
        return self._names[index]

    def sizes(self) -> Iterator[int]:
        """Ask for the size of each file, without making a Path, which takes longer than to ask."""
        return in_order(lambda index: size(f"{self.root}/{self.name(index)}"), len(self))

    def watched(self) -> tuple[Path, ...]:
        """Return nothing: each image is a file."""
        return ()


def file_list(paths: Iterable[Path]) -> PathList:
    """Return the list of files that may lie anywhere."""
    return PathList(Path("/"), (str(path.absolute()).lstrip("/") for path in paths))


def _encoded(root: Path, name: str) -> bytes:
    """Return a name as the file system's bytes; DataError if it leads out of `root` or no file can be called so."""
    if not name or name[0] == "/" or "\0" in name or (".." in name and ".." in name.split("/")):
        raise DataError(
            f"{root}: a list names the file '{name[:80]}'; expected files below that folder; fetch it again"
        )
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        raise DataError(
            f"{root}: a list names the file '{name[:80]}', which is no text; fetch the list again"
        ) from None
