"""What a protocol asks of the data of its trials, beside that they can be read.

A worker asks it right before it measures, `twinbench suite plan` and `run` before anything waits in a queue: one set of
rules, and one set of words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twinbench.data import hints
from twinbench.data.errors import DataError
from twinbench.data.folders.imagenet import CLASSES, LISTS, LISTS_SHA256, list_sha256
from twinbench.data.folders.own import layout_of, layout_of_tested
from twinbench.data.labelled import LabelledImages, no_images, require_counts, require_same_classes
from twinbench.data.layouts import read_images, read_labelled
from twinbench.data.objects.find import find_objects, objects_layout
from twinbench.data.objects.split import ObjectSplit
from twinbench.data.pixels.read import read_pixels, task_of
from twinbench.data.pixels.split import PixelImages
from twinbench.data.source import Source
from twinbench.data.validation import official, with_validation
from twinbench.protocols.schema import Protocol

VERSION = "2"  # raised when more is asked: what passed once would pass for ever

_PLURALS = {"box": "boxes", "mask": "masks", "keypoint": "keypoints"}


@dataclass(frozen=True)
class LabelledData:
    """Both splits of a classification trial; `subset` is the list of its training images, if one was named."""

    protocol: Protocol
    source: Source
    layout: str
    train: LabelledImages
    test: LabelledImages
    subset: Path | None
    validation: np.ndarray | None = None  # (N,) bool, images of `train` that choose a setting

    def require_complete(self, *, partial: bool) -> None:
        """Raise DataError unless the images are all of the data set, or, if `partial`, of one set of classes."""
        data_set = self.protocol.data_set
        if partial or self.source.limit:
            require_same_classes(self.source, self.train, self.test)
        else:
            images = (0, data_set.images[1]) if self.protocol.recipe.tests_only else data_set.images
            require_counts(self.source, self.train, self.test, images, data_set.classes)

    def list_details(self, *, partial: bool) -> dict[str, object]:
        """Return what a result says of its list of training images; on ImageNet's classes it must be SimCLR's."""
        data_set = self.protocol.data_set
        if data_set.subset == "100%":
            return {}
        path, name = _list_file(self.protocol, self.source, self.subset), LISTS[data_set.subset]
        sha256 = list_sha256(path)
        if data_set.classes != CLASSES:
            return {"list_sha256": sha256}
        if sha256 != LISTS_SHA256[name] and not (partial or self.source.limit):
            raise DataError(
                f"{path}: sha256 {sha256[:12]}..., but {self.protocol.name} rests on SimCLR's {name}, "
                f"{LISTS_SHA256[name][:12]}...; fetch it with `twinbench data lists FOLDER` and name it with --list, "
                "or add --partial (in a suite `partial: true`) to go on with a row that is marked"
            )
        return {"list_sha256": sha256, "list_is_simclrs": sha256 == LISTS_SHA256[name]}


def read_trial_data(protocol: Protocol, source: Source, subset: Path | None = None) -> LabelledData:
    """Return both splits; DataError for labels of another task, or of another number of classes than the protocol's."""
    data_set = protocol.data_set
    source = with_validation(source, data_set, wanted=protocol.recipe.takes_validation)
    if protocol.recipe.tests_only:
        layout = layout_of_tested(data_set.layout, source, protocol.recipe.own_layout)
        test = read_images(layout, source, "test")
        train = no_images(test)
    else:
        layout = layout_of(data_set.layout, source)
        train = read_labelled(layout, source, "train", data_set.subset, subset)
        _require_classes(protocol, source, "train", train)
        test = read_labelled(layout, source, "test", "100%", subset)
    _require_classes(protocol, source, "test", test)
    task = "single-label" if train.targets.ndim == 1 else "multi-label"
    if task not in protocol.recipe.tasks:
        raise DataError(
            f"{source}: {task} data, but {protocol.name} runs on {' or '.join(protocol.recipe.tasks)} data; see "
            "twinbench protocols for one that fits"
        )
    metric = protocol.recipe.metric_on((task,), data_set.headline)
    if metric not in ("", protocol.metric):
        raise DataError(
            f"{source}: {task} data, of which {protocol.name} measures {metric}, and its headline is {protocol.metric};"
            f" give it a name of its own with `metric: {metric}`; see docs/your-own.md"
        )
    return LabelledData(protocol, source, layout, train, test, subset, official(layout, source, train))


def require_measured(protocol: Protocol, source: Source, found: ObjectSplit) -> None:
    """Raise DataError for annotations without what a protocol measures, and for other classes than its data set's."""
    recipe = protocol.recipe
    asked: tuple[str, ...] = getattr(recipe, "measures", ("box",))
    for measure in asked:
        if measure not in found.measures:
            has = " and ".join(_PLURALS[name] for name in found.measures)
            raise DataError(
                f"{source}: {has} only, and {protocol.name} ({getattr(recipe, 'architecture', recipe.kind)}) needs "
                f"{_PLURALS[measure]}; expected annotations that have them; choose a protocol on {has}, such as "
                "voc0712-frcnn-c4@NAME"
            )
    expected, classes = protocol.data_set.classes, found.classes
    if expected and len(classes) != expected:
        raise DataError(
            f"{source}: {len(classes)} classes ({', '.join(classes[:3])}, ...), but {protocol.name} is about "
            f"{expected}; choose the protocol that fits the data, the data that fit the protocol, or name your "
            f"own data: {protocol.name.partition('@')[0]}@NAME"
        )


def require_pixels(protocol: Protocol, source: Source, found: PixelImages) -> None:
    """Raise DataError for data without an image, and for another number of classes than the protocol is about."""
    if not len(found.paths):
        raise DataError(f"{source}: a list without an image; expected some; unpack the data set again")
    expected = protocol.data_set.classes
    if expected and len(found.classes) != expected:
        raise DataError(
            f"{source}: {len(found.classes)} classes, but {protocol.name} is about {expected}; choose the protocol "
            f"that fits the data, or name your own: {protocol.name.partition('@')[0]}@NAME"
        )


def require_same_objects(source: Source, train: ObjectSplit, test: ObjectSplit) -> None:
    """Raise DataError unless both splits have the same classes."""
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes)) or [*train.classes]
        raise DataError(
            f"{source}: training and test images have different categories, {len(train.classes)} and "
            f"{len(test.classes)}, '{odd[0]}' first; expected the same list in both; correct the files"
        )


def nothing_to_train_on(source: Source | Path, notes: Sequence[str]) -> str:
    """Return the words of the error; `notes` say what was dropped of the training images: it may be all."""
    why = f" ({'; '.join(notes)})" if notes else ""
    return f"{source}: no training image shows an object with an area{why}; expected some; correct the annotations"


def require_fit(protocol: Protocol, source: Source, identity: str, subset: Path | None, *, partial: bool) -> None:
    """Raise the DataError that a worker of `protocol` would raise on the data at `source`.

    `identity` is what the data are, as `data_identity` tells it: of data that fitted once nothing is read again.
    """
    data_set = protocol.data_set
    asked = (protocol.name, data_set.classes, *data_set.images, data_set.subset, *protocol.recipe.tasks, partial)
    question = ["data fit a protocol", VERSION, identity, *map(str, asked)]
    if data_set.subset != "100%" and protocol.room != "detection":  # the identity of a part of COCO is by its images
        question.append(list_sha256(_list_file(protocol, source, subset)))
    if hints.recall(question):
        return
    began = hints.now()
    if task := task_of(data_set):
        for split in ("train", "test"):
            require_pixels(protocol, source, read_pixels(data_set.layout, source, split, task))
    elif protocol.room == "detection":
        layout = objects_layout(data_set.layout, source)
        splits = [find_objects(layout, source, split, data_set.subset) for split in ("train", "test")]
        for found in splits:
            require_measured(protocol, source, found)
        require_same_objects(source, *splits)
    else:
        found = read_trial_data(protocol, source, subset)
        found.list_details(partial=partial)
        found.require_complete(partial=partial)
    hints.keep(question, True, [], began)


def _list_file(protocol: Protocol, source: Source, subset: Path | None) -> Path:
    """Return the list of training images that a protocol on a part of them goes by."""
    return subset or source.path / LISTS[protocol.data_set.subset]


def _require_classes(protocol: Protocol, source: Source, split: str, images: LabelledImages) -> None:
    """Raise DataError for another number of classes than complete data has; a part of the images may be enough, a part
    of the classes is another task."""
    data_set = protocol.data_set
    if data_set.is_counted and len(images.classes) != data_set.classes:
        raise DataError(
            f"{source}: {len(images.classes)} classes in the {split} split, but {protocol.name} has"
            f" {data_set.classes}; check it with: twinbench data check {source}; or name"
            f" your own data: {protocol.name}@NAME"
        )
