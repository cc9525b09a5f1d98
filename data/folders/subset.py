"""Lists of training images, of 1 %, 10 % or any other part: SimCLR's file names, and what others write instead.

A line is `file` or `folder/file`, with or without a label behind it: `n01440764_10026.JPEG`,
`n01440764/n01440764_10026.JPEG`, `n01440764/n01440764_10026.JPEG 0`. The folder an image lies in is its class; a label
only has to agree with that.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from twinbench.data.errors import DataError, read_lines
from twinbench.data.items import ImageList

ADVICE = "expected SimCLR's list; fetch it with `twinbench data lists FOLDER`, name it with --list (`list` in a suite)"


def read_subset(path: Path) -> list[str]:
    """Return the lines of a list of images; DataError if one is there twice."""
    lines = read_lines(path, ADVICE)
    if not lines or len(set(lines)) != len(lines):
        raise DataError(f"{path}: {len(lines)} lines, {len(set(lines))} different ones; expected one image name a line")
    return lines


def file_names(path: Path) -> list[str]:
    """Return the last part of each image's name on a list, without labels."""
    return [_unlabelled(line)[0].rpartition("/")[2] for line in read_subset(path)]


def places_on(path: Path, folder: Path, names: Sequence[str]) -> list[int]:
    """Return which of the images `names` (`class/file`, below `folder`) are on the list at `path`, in its order."""
    places = _Places(path, folder, names)
    found: list[int] = []
    folder_of: dict[str, str] = {}
    for line in read_subset(path):
        place, label = places.find(line)
        home = names[place].partition("/")[0]
        if label and folder_of.setdefault(label, home) != home:
            raise DataError(
                f"{path}: label {label} stands for both {folder_of[label]} and {home}; expected one label for the"
                " images of a class folder; correct the list"
            )
        found.append(place)
    if len(set(found)) != len(found):
        twice = Counter(found).most_common(1)[0][0]
        raise DataError(f"{path}: {names[twice]} is on it twice; expected each image once; correct the list")
    return found


def below_class(images: ImageList) -> list[str]:
    """Return the images' names from their class folder on: without a folder that all of them are in."""
    names = [images.name(index) for index in range(len(images))]
    first = {name.partition("/")[0] for name in names}
    return [name.partition("/")[2] for name in names] if len(first) == 1 and len(names) > 1 else names


class _Places:
    """Where an image is among all, by its name with or without folders."""

    def __init__(self, path: Path, folder: Path, names: Sequence[str]) -> None:
        self.path, self.folder = path, folder
        self.whole = {name: place for place, name in enumerate(names)}
        self.classes = {name.partition("/")[0] for name in names}
        self.last: dict[str, int] = {}  # -1: several images are called so
        for place, name in enumerate(names):
            last = name.rpartition("/")[2]
            self.last[last] = -1 if last in self.last else place

    def find(self, line: str) -> tuple[int, str]:
        """Return the place of the image that a line names, and the line's label or nothing; DataError if none is."""
        place = self._place(line)
        if place is not None:
            return place, ""
        name, label = _unlabelled(line)
        place = self._place(name) if label else None
        if place is not None:
            return place, label
        raise self._unknown(name)

    def _place(self, name: str) -> int | None:
        """Return the place of an image; None if there is none of that name."""
        name = name.removeprefix("./")
        for whole in (name, name.removeprefix(f"{self.folder.name}/")):
            if whole in self.whole:
                return self.whole[whole]
        if "/" in name:
            return None
        place = self.last.get(name)
        if place == -1:  # ImageNet's images have their class's name before theirs
            place = self.whole.get(f"{name.rpartition('_')[0]}/{name}", -1)
        if place == -1:
            raise DataError(
                f"{self.path}: {name} is the name of several images; expected `folder/{name}`; add the folders"
            )
        return place

    def _unknown(self, name: str) -> DataError:
        """Return what is wrong with a name that no image has."""
        folder, slash, _ = name.rpartition("/")
        home = folder.partition("/")[0] if slash else name.rpartition("_")[0]  # ImageNet: class_number
        if home in self.classes or not home:
            return DataError(
                f"{self.path}: {name} is not in {self.folder}; the data set is incomplete, or the list another's"
            )
        return DataError(
            f"{self.path}: {name} belongs to no class folder of {self.folder}; is it another data set's list?"
        )


def _unlabelled(line: str) -> tuple[str, str]:
    """Return the image's name on a line, and the label behind it or nothing."""
    name, _, label = line.replace("\t", " ").rpartition(" ")
    if name and ("." in name or "/" in name):
        return name.strip(), label
    return line, ""
