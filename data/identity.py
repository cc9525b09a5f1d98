"""The identity of data: which images in which order, how large, with which labels. No pixel is read, nor torch.

A trial's data identity is `data_identity(identify(...))` of `protocols/identity.py`: a sha256 over its splits, each of
which is the sha256 over one line an item, JSON: [relative path, size in bytes, label]. Where the data lie, when they
were copied and in which order a disk lists them does not matter.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from twinbench.data import hints
from twinbench.data.errors import DataError, read_text
from twinbench.data.folders.pool import read_pool
from twinbench.data.folders.voc import MAX_XML_BYTES
from twinbench.data.items import ImageList
from twinbench.data.labelled import LabelledImages
from twinbench.data.layouts import read_images, read_labelled
from twinbench.data.limit import mark
from twinbench.data.objects.find import find_objects
from twinbench.data.objects.split import ObjectSplit
from twinbench.data.paths import PathList
from twinbench.data.pixels.read import read_pixels
from twinbench.data.pixels.split import PixelImages
from twinbench.data.sizes import in_order, size
from twinbench.data.source import VALIDATION, Source
from twinbench.data.validation import validation_images
from twinbench.protocols.house import unknown
from twinbench.protocols.identity import split_identity
from twinbench.runtime.download import digest

Item = tuple[str, int, object]  # of an identity: relative path, size in bytes, labels

VERSION = "3"  # raised when other lines are hashed, when a reader returns something else, or when hints hold more
HINTED_FROM = 20_000  # images; fewer are counted anew each time, in about a tenth of a second
WATCHED = 1000  # images of a split, evenly spread: one program that rewrites all of them in place moves no folder


@dataclass(frozen=True)
class Contents:
    """What is in a split."""

    sha256: str
    images: int
    classes: int


def identify(layout: str, data: Path | Source, **options: Any) -> dict[str, str]:
    """Return split -> sha256 of the data at `data`; the options are those of `contents`."""
    return {split: found.sha256 for split, found in contents(layout, data, **options).items()}


def contents(
    layout: str,
    data: Path | Source,
    *,
    fraction: str = "100%",
    subset: Path | None = None,
    task: str = "classification",
    read: Mapping[str, LabelledImages] | None = None,
    anew: bool = False,
) -> dict[str, Contents]:
    """Return what is in each split of the data at `data`, for a `task` of TASKS; DataError for what does not fit.

    `fraction` and `subset` are those of `read_labelled`; `read` holds splits that were read already, with these. Large
    sets are counted once and then known by a hint, see `hints.py`. Who measures says `anew`: the files themselves are
    asked, and a hint that says otherwise is corrected.
    """
    if task not in TASKS:
        raise DataError(unknown("task", task, TASKS))
    splits, reader = TASKS[task]
    source = Source.of(data)
    asked = source.absolute()  # two folders may each have a train.txt
    place = os.path.realpath(asked.place) if source.is_folder else asked.place
    question = [VERSION, task, layout, source.form, place, *sorted(map("=".join, asked.options.items())), fraction]
    question += [str(source.limit)] if source.limit else []
    question.append(os.path.realpath(subset) if subset else "")
    kept = _recall(question)
    if kept and not anew:
        return kept
    began = hints.now()
    found: dict[str, Contents] = {}
    watched: set[Path] = {source.path} if source.is_folder else set()
    for split in splits:
        part = reader(_Split(layout, source, split, fraction if split == "train" else "100%", subset, read or {}))
        found[split] = Contents(split_identity(chain(mark(source), part.items)), len(part.paths), len(part.classes))
        watched |= _watched(source, part)
    if kept != found:
        hints.forget(question)
    if not read and sum(part.images for part in found.values()) >= HINTED_FROM:
        hints.keep(question, {split: asdict(part) for split, part in found.items()}, watched, began)
    return found


@dataclass(frozen=True)
class _Split:
    """Where a split is read from."""

    layout: str
    source: Source
    split: str
    fraction: str
    subset: Path | None
    read: Mapping[str, LabelledImages]

    def labelled(self) -> LabelledImages:
        """Return the split with one or several labels an image."""
        if self.split in self.read:
            return self.read[self.split]
        return read_labelled(self.layout, self.source, self.split, self.fraction, self.subset)


@dataclass(frozen=True)
class _Part:
    """One split as a task sees it."""

    paths: ImageList
    classes: tuple[str, ...]
    items: Iterator[Item]
    sources: tuple[Path, ...]  # files and folders, apart from the images' own, that the items were read from


def _classified(wanted: _Split) -> _Part:
    """Return images with their labels."""
    images = wanted.labelled()
    return _Part(images.paths, images.classes, _items(images.paths, images.root, _labels(images)), images.sources)


def _validated(wanted: _Split) -> _Part:
    """Return images with their labels; those that choose a setting as a split beside the training images."""
    if wanted.split != VALIDATION:
        return _classified(wanted)
    images = validation_images(wanted.layout, wanted.source)
    return _Part(images.paths, images.classes, _items(images.paths, images.root, _labels(images)), images.sources)


def _tested(wanted: _Split) -> _Part:
    """Return images with their labels, of which a class may have none."""
    images = wanted.read.get(wanted.split) or read_images(wanted.layout, wanted.source, wanted.split)
    return _Part(images.paths, images.classes, _items(images.paths, images.root, _labels(images)), images.sources)


def _unlabelled(wanted: _Split) -> _Part:
    """Return images whose labels are not looked at."""
    images = wanted.read.get(wanted.split) or read_pool(wanted.source)
    items = _items(images.paths, images.root, repeat(None, len(images.paths)))
    return _Part(images.paths, images.classes, items, images.sources)


def _annotated(wanted: _Split) -> _Part:
    """Return images with their annotations."""
    found = find_objects(wanted.layout, wanted.source, wanted.split, wanted.fraction)
    return _Part(found.paths, found.classes, _annotated_items(found), (*found.files, *found.lists))


def _annotated_items(found: ObjectSplit) -> Iterator[Item]:
    """Yield each image with the sha256 of its annotation; or first the shared file with its sha256, then the images."""
    if found.shared:
        file = found.shared
        yield _name(file, found.root), size(file), digest(file, "sha256")
        labels = repeat(None, len(found.paths))
    else:
        labels = in_order(lambda index: _text_sha256(found.annotations[index]), len(found.paths))
    for index, (count, label) in enumerate(zip(found.paths.sizes(), labels, strict=True)):
        yield found.paths.name(index), count, label


def _name(file: Path, root: Path) -> str:
    """Return what a file that several images share is called: its path below `root`, or its name."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name


def _text_sha256(path: Path) -> str:
    """Return the sha256 of an annotation's text, or of a map of instances."""
    if path.suffix != ".xml":
        return digest(path, "sha256")
    text = read_text(path, "expected an annotation for each image; unpack the data set again", MAX_XML_BYTES)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _segmented(wanted: _Split, task: str = "segmentation") -> _Part:
    """Return images with their masks."""
    found = read_pixels(wanted.layout, wanted.source, wanted.split, task)
    masks = tuple(found.masks.one(index) for index in range(len(found.masks)))
    return _Part(found.paths, found.classes, _segmented_items(found, masks), (*masks, *found.lists))


def _segmented_items(found: PixelImages, masks: Sequence[Path]) -> Iterator[Item]:
    """Yield each image with the name and sha256 of its mask: a mask that somebody repaints may keep its size."""
    for file in found.lists:  # the same numbers under other names are other data
        yield _name(file, found.root), size(file), digest(file, "sha256")
    if found.meaning:
        yield "meaning", len(found.meaning), found.meaning
    digests = in_order(lambda index: digest(masks[index], "sha256"), len(masks))
    for index, (count, label) in enumerate(zip(found.paths.sizes(), digests, strict=True)):
        yield found.paths.name(index), count, [found.masks.name(index), label]


# task: the splits that it trains and reports on, and how they are read
TASKS: dict[str, tuple[tuple[str, ...], Callable[[_Split], _Part]]] = {
    "classification": (("train", "test"), _classified),  # one label an image, or several
    "validated": (("train", VALIDATION, "test"), _validated),  # and a part of train chooses a setting
    "tested": (("test",), _tested),  # and nothing is trained
    "detection": (("train", "test"), _annotated),
    "segmentation": (("train", "test"), _segmented),
    "depth": (("train", "test"), partial(_segmented, task="depth")),
    "pretraining": (("train",), _unlabelled),
}


def _items(paths: ImageList, root: Path, labels: Iterable[object]) -> Iterator[Item]:
    """Yield the items that are hashed: name, of a file its path relative to `root`; size in bytes; label."""
    return zip(_names(paths, root), paths.sizes(), labels, strict=True)


def _recall(question: list[str]) -> dict[str, Contents] | None:
    """Return what a hint says, if there is one."""
    kept = hints.recall(question)
    try:
        return {split: Contents(**found) for split, found in kept.items()} if kept else None
    except (AttributeError, TypeError):  # somebody wrote into the cache
        return None


def _names(paths: ImageList, root: Path) -> Iterator[str]:
    """Yield each name, with forward slashes; DataError for a file that is not below `root`."""
    prefix = ""
    if isinstance(paths, PathList):
        if not paths.root.is_relative_to(root):
            raise DataError(f"{paths.root}: not below {root}; expected images below the data set's root; give that")
        above = paths.root.relative_to(root).as_posix()
        prefix = "" if above == "." else f"{above}/"
    for index in range(len(paths)):
        yield prefix + paths.name(index)


def _labels(images: LabelledImages) -> Iterator[object]:
    """Yield the label of each image."""
    if images.targets.ndim > 1:
        for row in images.targets:
            yield row.tolist()
        return
    titles: Sequence[object] = images.classes
    if len(set(images.classes)) < len(images.classes):  # two classes of one name are two classes
        titles = [[index, name] for index, name in enumerate(images.classes)]
    for target in images.targets:
        yield titles[target]


def _watched(source: Source, part: _Part) -> set[Path]:
    """Return what a hint depends on: sources, some images, and every folder from the root down to any of them."""
    watched = {*part.sources, *part.paths.watched()}
    if not isinstance(part.paths, PathList):
        return watched
    count = len(part.paths)
    images = {part.paths.one(index) for index in range(0, count, count // WATCHED + 1)}
    folders = _folders(part.paths) | {path.parent for path in part.sources}
    above: set[Path] = set()
    for folder in folders:
        above.update(parent for parent in folder.parents if parent.is_relative_to(source.path))
    return watched.union(folders, above, images)


def _folders(paths: PathList) -> set[Path]:
    """Return the folders that images lie in, without making a Path of each image."""
    names: set[str] = set()
    for index in range(len(paths)):
        folder, _, _ = paths.name(index).rpartition("/")
        names.add(folder)
    return {paths.root / name for name in names}
