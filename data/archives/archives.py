"""Images in tar archives, WebDataset's shards among them, and in zip archives: read where they lie, in any order.

| the archives hold                            | labels                        | order                             |
|----------------------------------------------|-------------------------------|-----------------------------------|
| a tree: train/<class>/x.jpg, val/<class>/... | the folder, as of a folder    | by class and name, as of a folder |
| samples: key.jpg with key.cls, .json, .txt   | the member, see webdataset.py | as they lie in the archives       |

A split is a folder in the archives, or the archives that are called so (train-0001.tar, val/0.tar); either has a name
of its own by `?train=NAME&test=NAME`. A .json or .txt beside an image in a class folder is no label, a .cls is.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twinbench.data.archives.member_folders import (
    alone_folder_in,
    class_folders_in,
    class_images,
    every_image,
    folders_of,
    image_folders,
    images_as_they_lie,
    shown,
    split_folder_in,
)
from twinbench.data.archives.members import Index, MemberList, indexed
from twinbench.data.archives.opened import Archive
from twinbench.data.archives.shards import WORDS, Shards, find_shards
from twinbench.data.archives.webdataset import class_names, read_labels, samples_in, targets_of
from twinbench.data.classes import kept_classes
from twinbench.data.errors import DataError
from twinbench.data.labelled import UNLABELLED, LabelledImages
from twinbench.data.source import SPLITS, Source


@dataclass(frozen=True)
class _Part:
    """Where a split lies."""

    source: Source
    shards: Shards
    index: Index
    above: str  # what stands before all names, and belongs to none
    folder: str  # of the split, in `above`

    @property
    def root(self) -> str:
        """The split's folder in the archives."""
        return self.above + self.folder

    def images(self, places: np.ndarray) -> MemberList:
        """Return the images at some places in the index; DataError if there are none."""
        if not len(places):
            raise DataError(f"{self.source}: no images in it, but {shown(self.index)}; expected .jpg, .png or the like")
        return MemberList(self.index, places, self.above)


def read_archives(source: Source, split: str) -> LabelledImages:
    """Return one split; DataError for archives that do not fit."""
    part = _part(source, split)
    train = part if split == "train" else _part(source, "train")
    has_samples = _has_samples(train)
    if has_samples != _has_samples(part):
        raise DataError(f"{source}: one split has class folders, the other labels beside images; expected both alike")
    return _read_samples(part, train) if has_samples else _read_tree(part, train)


def read_archive_pool(source: Source) -> LabelledImages:
    """Return the training images, or all where no split is called so; labels are not looked at."""
    part = _training_alone(source)
    if image_folders(part.index, part.root) in ([], [part.root]):
        places, left_out = images_as_they_lie(part.index, part.root)
    else:
        places, left_out = every_image(part.index, source, part.root)
    return LabelledImages(
        part.images(places),
        np.zeros(len(places), dtype=np.int64),
        UNLABELLED,
        sources=part.shards.folders,
        left_out=_counted(part, left_out),
    )


def _part(source: Source, split: str) -> _Part:
    """Return where a split lies: in archives or in a folder that are called so."""
    shards = find_shards(source)
    of_split = {name: shards.of_split(source, name) for name in SPLITS}
    if all(of_split.values()):
        index = _indexed(source, of_split[split])
        return _Part(source, shards, index, *alone_folder_in(index, _folder_names(source, split)))
    index = _indexed(source, shards.paths)
    return _Part(source, shards, index, *split_folder_in(index, source, split))


def _training_alone(source: Source) -> _Part:
    """Return where training images lie, for whom no other split is needed."""
    shards = find_shards(source)
    index = _indexed(source, shards.of_split(source, "train") or shards.paths)
    names = _folder_names(source, "train")
    called = sorted(name for name in folders_of(index).names if name and name.rstrip("/").rpartition("/")[2] in names)
    if not called:
        return _Part(source, shards, index, "", "")
    name = min(called, key=lambda name: name.count("/"))
    above, _, last = name.rstrip("/").rpartition("/")
    return _Part(source, shards, index, f"{above}/" if above else "", f"{last}/")


def _folder_names(source: Source, split: str) -> tuple[str, ...]:
    """Return what a split's folder in an archive may be called."""
    given = source.named(split)
    return (given.strip("/"), *WORDS[split]) if given else WORDS[split]


def _indexed(source: Source, paths: tuple[Path, ...]) -> Index:
    return indexed(source.form, tuple(map(Archive.of, paths)))


def _has_samples(part: _Part) -> bool:
    """Say whether a split holds samples: with .cls, or with images that lie in no class folders."""
    folders = folders_of(part.index)
    if image_folders(part.index, part.root) in ([], [part.root]):
        return True
    inside = (place for folder in folders.below(part.root) for place in folders.files[folder])
    return any(part.index.names.raw(place).endswith(b".cls") for place in inside)


def _read_tree(part: _Part, train: _Part) -> LabelledImages:
    """Return the images by class folder."""
    classes, places, targets, left_out = class_images(part.index, part.source, part.root)
    expected = class_folders_in(train.index, train.root)
    if kept_classes(classes, part.source) != kept_classes(expected, part.source):
        odd = sorted(set(classes) ^ set(expected))
        raise DataError(
            f"{part.source}: {len(expected)} training and {len(classes)} test classes; {odd[0]} is in one only;"
            " expected the same class folders in both; or list the classes to keep: DATA?classes=FILE"
        )
    return LabelledImages(
        part.images(places), targets, classes, sources=part.shards.folders, left_out=_counted(part, left_out)
    )


def _read_samples(part: _Part, train: _Part) -> LabelledImages:
    """Return the images by their labels; the classes are the training images'."""
    field = part.source.options.get("label", "")
    training, samples = samples_in(train.index, train.root), samples_in(part.index, part.root)
    train.images(training.images)
    images = part.images(samples.images)
    said, wanted = read_labels(train.index, training, field), read_labels(part.index, samples, field)
    if said.is_several != wanted.is_several:
        raise DataError(f"{part.source}: one split has one label an image, the other several; expected both alike")
    shards = part.shards
    beside = tuple(dict.fromkeys((shards.base, *shards.folders)))  # where a list of classes lies, or may come to lie
    order, classes, files = class_names(said, beside)
    targets = targets_of(part.index, samples, wanted, order)
    return LabelledImages(
        images,
        targets,
        classes,
        sources=(*beside, *files),
        left_out=_counted(part, samples.left_out),
    )


def _counted(part: _Part, left_out: Counter[str]) -> dict[str, int]:
    """Return what was left out in the split, and in its archives' index."""
    return {why: count for why, count in (left_out + Counter(part.index.left_out)).items() if count}
