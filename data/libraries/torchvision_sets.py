"""`torchvision:NAME=ROOT`: the copies that torchvision has downloaded, read by its own classes, never downloaded here.

ROOT is torchvision's `root`; without it $TWINBENCH_DATA, by default ~/.cache/twinbench/torchvision. `torchvision_table`
says what each set is made of. ImageNet and VOCDetection, which torchvision keeps in folders that have a layout, go
through the reader of that layout: one rule for their labels.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.folders.imagenet import read_imagenet
from twinbench.data.folders.voc_labels import read_voc
from twinbench.data.items import ImageList
from twinbench.data.labelled import UNLABELLED, LabelledImages
from twinbench.data.libraries.arrays import ArrayList, HdfPixels
from twinbench.data.libraries.places_of_libraries import parts, torchvision_root
from twinbench.data.libraries.torchvision_table import ROWS, Keywords, Row
from twinbench.data.paths import PathList
from twinbench.data.source import Source
from twinbench.protocols.house import unknown

YEARS = tuple(map(str, range(2007, 2013)))


def read_torchvision(source: Source, split: str) -> LabelledImages:
    """Return the `train` or `test` split of a copy that torchvision has downloaded."""
    name, root = _place(source.place)
    if name in LAYOUTS:
        return LAYOUTS[name](root, source, split)
    row = ROWS[name]
    chosen = _chosen(source, row)
    listed = [_Part(source, name, root, row, part, chosen) for part in _split_names(source, row, split)]
    images = _images(listed)
    labels = [part.targets() for part in listed]
    known = [targets for targets in labels if targets is not None]
    if len(known) < len(labels):
        return LabelledImages(images, np.zeros(len(images), dtype=np.int64), UNLABELLED, root, _lists(root, row))
    return LabelledImages(images, np.concatenate(known), listed[0].classes, root, _lists(root, row))


def fetch(place: str, options: Mapping[str, str]) -> Path:
    """Have torchvision download both splits of `NAME=ROOT`; return ROOT. DataError where it cannot."""
    source = Source(place, "torchvision", dict(options))
    name, root = _place(place)
    if name in LAYOUTS or not ROWS[name].is_fetched:
        raise DataError(f"{source}: torchvision cannot download it; expected it in {root}; see `twinbench data list`")
    row = ROWS[name]
    root.mkdir(parents=True, exist_ok=True)
    chosen = _chosen(source, row)
    for split in ("train", "test") if row.test or source.named("test") else ("train",):
        for part in _split_names(source, row, split):
            try:
                _class(name)(str(root), **{**row.splits[part], **chosen, "download": True})
            except Exception as error:  # of the network, of archives and of parsers, each its own
                raise DataError(
                    f"{source}: torchvision could not download it to {root} ({_first_line(error)}); try again later"
                ) from None
    return root


def _place(place: str) -> tuple[str, Path]:
    """Return the name of a set and torchvision's root; DataError for an unknown name."""
    name = place.partition("=")[0]
    if name not in ROWS and name not in LAYOUTS:
        raise DataError(f"torchvision:{place}: {unknown('data set of torchvision', name, [*ROWS, *LAYOUTS])}")
    return name, torchvision_root(place)


def _chosen(source: Source, row: Row) -> dict[str, object]:
    """Return the keywords that options stand for; DataError for one that the set does not have."""
    chosen: dict[str, object] = {}
    for option, values in row.options.items():
        by_text = {str(value): value for value in values}
        given = source.options.get(option, str(values[0]))
        if given not in by_text:
            raise DataError(f"{source}: {unknown(option, given, by_text)}")
        chosen[option] = by_text[given]
    others = source.options.keys() - row.options.keys() - {"train", "test", "classes"}
    if others:
        known = ", ".join(row.options) or "none besides train, test and classes"
        raise DataError(f"{source}: this set has no option {min(others)}; expected {known}")
    return chosen


def _split_names(source: Source, row: Row, split: str) -> tuple[str, ...]:
    """Return the splits of the set that `split` is made of."""
    if split == "test" and not row.test and not source.named("test"):
        raise DataError(
            f"{source}: torchvision has one set of images here and no test split; expected two; give the images of"
            " each split in a list: list:TRAIN.txt,TEST.txt"
        )
    has_both = {"train", "val"} <= row.splits.keys() and "trainval" not in row.splits
    meant = {"trainval": "train+val"} if has_both else {}
    names = parts(source, split, {"train": row.train, "test": row.test}, meant)
    for name in names:
        if name not in row.splits:
            raise DataError(f"{source}: {unknown('split', name, [*row.splits, *meant])}; several with a + between")
    return names


class _Part:
    """One of torchvision's splits, listed."""

    def __init__(self, source: Source, name: str, root: Path, row: Row, split: str, chosen: Keywords) -> None:
        """Have torchvision read it; DataError where there is no whole copy."""
        self.source, self.root, self.row, self.split = source, root, row, split
        if not root.is_dir():  # some of torchvision's classes would make it
            raise _no_copy(source, name, root, row, "no such folder")
        try:
            found = _class(name)(str(root), **{**row.splits[split], **chosen})
            self.images, self.labels = row.images(found)  # Any: paths or pixels
            self.classes = tuple(row.classes(found) if callable(row.classes) else row.classes)
            self.first = row.first
            if self.classes[0] == "N/A":  # EMNIST's letters count from 1
                self.classes, self.first = self.classes[1:], 1
        except Exception as error:  # whatever torchvision's parsers raise on what is missing or damaged
            raise _no_copy(source, name, root, row, _first_line(error)) from None
        self.is_array = isinstance(self.images, np.ndarray | HdfPixels)
        count = self.images.shape[0] if self.is_array else len(self.images)
        if not count or count != len(self.labels):
            raise _no_copy(source, name, root, row, f"{count} images and {len(self.labels)} labels in {split}")

    def targets(self) -> np.ndarray | None:
        """Return the labels as a reader's targets; None where images have none; DataError for one without a class."""
        if isinstance(self.labels, np.ndarray) and self.labels.ndim == 2:
            return self.labels  # (N, K) in {0, 1}
        if any(label is None or label == -1 for label in self.labels):  # -1: STL-10's unlabelled images
            return None
        found = np.asarray(self.labels, dtype=np.int64) - self.first
        if found.min() < 0 or found.max() >= len(self.classes):
            raise DataError(
                f"{self.source}: labels {found.min() + self.first} to {found.max() + self.first} in {self.split};"
                f" expected {self.first} to {len(self.classes) + self.first - 1}; fetch the set again"
            )
        return found


def _class(name: str) -> Callable[..., Any]:
    """Return torchvision's class, imported only now: a login node has no torch."""
    import torchvision.datasets

    return getattr(torchvision.datasets, name)


def _no_copy(source: Source, name: str, root: Path, row: Row, why: str) -> DataError:
    """Return the DataError that says what torchvision misses."""
    fetched = f"fetch it: twinbench data fetch torchvision:{name}={root}"
    advice = fetched if row.is_fetched else "torchvision cannot download it: put it there as its documentation says"
    return DataError(f"{source}: torchvision finds no whole copy in {root} ({why}); expected one; {advice}")


def _first_line(error: Exception) -> str:
    """Return what an error says, in short, without torchvision's advice to download."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, KeyError):
        text = f"unexpected or missing {text}"
    return text.splitlines()[0].partition(" You can")[0].rstrip(". ")[:200]


def _images(listed: Sequence[_Part]) -> ImageList:
    """Return the images of all parts as one list."""
    first, root = listed[0], listed[0].root
    named = "+".join(part.split for part in listed)
    where, files = f"{first.source}, {named}", _lists(root, first.row)
    if not first.is_array:
        return PathList(root, (os.path.relpath(path, root) for part in listed for path in part.images))
    if len(listed) == 1:
        return ArrayList(first.images, where, named, files)
    if isinstance(first.images, HdfPixels):
        raise DataError(f"{first.source}: {named} lie in files of their own; expected one split; name one")
    return ArrayList(np.concatenate([part.images for part in listed]), where, named, files)


def _lists(root: Path, row: Row) -> tuple[Path, ...]:
    """Return the files that say what is in the set."""
    return tuple(sorted(path for pattern in row.lists for path in root.glob(pattern)))


def _imagenet(root: Path, source: Source, split: str) -> LabelledImages:
    """Read torchvision's ImageNet: train/ and val/ in ROOT, classes by their WordNet ids."""
    return read_imagenet(Source(str(root), options=source.options), split)


def _voc(root: Path, source: Source, split: str) -> LabelledImages:
    """Read torchvision's VOC, as labels of images; VOC2007 unless `?year=` says another."""
    year = source.options.get("year", YEARS[0])
    if year not in YEARS:
        raise DataError(f"{source}: {unknown('year', year, YEARS)}")
    devkit = root / "TrainVal" / "VOCdevkit" if year == "2011" else root / "VOCdevkit"
    options = {name: value for name, value in source.options.items() if name != "year"}
    return read_voc(Source(str(devkit / f"VOC{year}"), options=options), split)


LAYOUTS: dict[str, Callable[[Path, Source, str], LabelledImages]] = {"ImageNet": _imagenet, "VOCDetection": _voc}
