"""The labelled images of a classification data set, read from its usual folder layout.

| layout   | DATA is the folder that holds                                                              |
|----------|--------------------------------------------------------------------------------------------|
| imagenet | train/<class>/*.JPEG, val/<class>/*.JPEG; for 1 % and 10 %: 1percent.txt, 10percent.txt    |
| voc      | VOC2007/ or another such folder (also below VOCdevkit/), or it is one, with JPEGImages,    |
|          | ImageSets/Main and Annotations                                                             |
| inat     | train2018.json, val2018.json, train_val2018/<supercategory>/<category id>/*.jpg            |
| places   | train_places205.csv, val_places205.csv and the images; or train/<class>/, val/<class>/     |

The `test` split is the one that papers report on: val of ImageNet, iNaturalist 2018 and Places205, test of VOC2007.
Other names of splits go by `?train=NAME&test=NAME`, and `?classes=FILE` lists the classes to keep. Sets that only test
have layouts of their own: folders/tested.py.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from twinbench.data.classes import keep_classes
from twinbench.data.errors import DataError, unreadable
from twinbench.data.folders.imagenet import read_imagenet
from twinbench.data.folders.inat import read_inat
from twinbench.data.folders.own import sniff_layout
from twinbench.data.folders.places import read_places
from twinbench.data.folders.subset import below_class, places_on
from twinbench.data.folders.tested import read_corruptions, read_real, read_test_classes, read_test_numbers
from twinbench.data.folders.voc_labels import read_voc
from twinbench.data.labelled import LabelledImages, require_both_sides, require_counts, require_same_classes
from twinbench.data.limit import limited_labels
from twinbench.data.source import FORMS, Source
from twinbench.protocols.house import unknown

# Those of the ground modules stand here, too: who reads a data set needs them beside `read_labelled`.
__all__ = ["LAYOUTS", "DataError", "LabelledImages", "read_labelled", "require_counts", "require_same_classes"]

Reader = Callable[[Source, str], LabelledImages]  # (the folder, with options; "train" or "test")

# The registry: a new layout of a folder is a module with such a reader, and one line here.
READERS: dict[str, Reader] = {
    "imagenet": read_imagenet,
    "voc": read_voc,
    "inat": read_inat,
    "places": read_places,
}
LAYOUTS = tuple(READERS)
# Of sets that only test, which no folder is taken for by what it holds.
TESTED: dict[str, Reader] = {
    "test-classes": read_test_classes,
    "test-numbers": read_test_numbers,
    "imagenet-real": read_real,
    "corruptions": read_corruptions,
}


def read_labelled(
    layout: str, data: Path | Source, split: str, fraction: str = "100%", subset: Path | None = None
) -> LabelledImages:
    """Return the `train` or `test` split of the data set at `data`.

    `layout` is a folder's: a key of READERS, or empty where it is to be seen from what the folder holds; other sources
    say themselves how they are read. `fraction` is `100%`, or `10%` or `1%` of ImageNet's training images by the list
    `subset`, by default the one in the folder. The order is the same on every machine: VOC by image id, the others by
    path or by their list. DataError names what does not fit.
    """
    source = Source.of(data)
    images = _read_whole(layout, source, split, fraction, subset)
    require_both_sides(source, split, images)
    return limited_labels(images, source)


def read_images(
    layout: str, source: Source, split: str, fraction: str = "100%", subset: Path | None = None
) -> LabelledImages:
    """Return what `read_labelled` does for whom labels do not matter: a class may have no positives or no negatives."""
    return limited_labels(_read_whole(layout, source, split, fraction, subset), source)


def _read_whole(layout: str, source: Source, split: str, fraction: str, subset: Path | None) -> LabelledImages:
    """Return the images of a split, the source's limit left aside, with the classes to keep."""
    if split not in ("train", "test"):
        raise DataError(unknown("split", split, ("train", "test")))
    try:
        return keep_classes(_read(layout, source, split, fraction, subset), source)
    except OSError as error:
        raise unreadable(error) from None


def _read(layout: str, source: Source, split: str, fraction: str, subset: Path | None) -> LabelledImages:
    """Return what the reader of the layout or form finds."""
    if not source.is_folder:
        images = FORMS[source.form].read(source, split)
        return images if fraction == "100%" else _on_list(images, source, split, fraction, subset)
    layout = layout or sniff_layout(source, "classification")
    if layout in TESTED and fraction == "100%":
        return TESTED[layout](source, split)
    if layout not in READERS:
        raise DataError(unknown("layout", layout, READERS))
    if fraction == "100%":
        return READERS[layout](source, split)
    if (layout, split) != ("imagenet", "train"):
        raise DataError(f"{fraction} of {layout} {split}: only the training images of imagenet have subset lists")
    return read_imagenet(source, split, fraction, subset)


def _on_list(images: LabelledImages, source: Source, split: str, fraction: str, subset: Path | None) -> LabelledImages:
    """Return the training images on a list; DataError without one: no folder is there that it could lie in."""
    if split != "train" or subset is None:
        raise DataError(
            f"{source}: {fraction} of its {split} images, and no list of them; expected one for the training images;"
            " name it with --list (`list` in a suite)"
        )
    places = places_on(subset, source.path, below_class(images.paths))
    sources = (*images.sources, subset)
    return replace(images, paths=images.paths.select(places), targets=images.targets[places], sources=sources)
