"""The data sets that protocols are named for: how they lie on disk, what complete means.

A recipe runs on every data set of its task; what is special about one (its counts, the name it is published under)
stands here. Own data needs no entry: `RECIPE@NAME` takes classes and counts from what is there.
"""

from dataclasses import dataclass
from typing import Literal

from twinbench.protocols.kinds.base import Task

Layout = Literal["imagenet", "voc", "coco", "inat", "places", ""]  # the reader in data/; empty: seen from the folder
Subset = Literal["100%", "10%", "1%"]  # of the training images, by a list


@dataclass(frozen=True)
class DataSet:
    """A data set with its task.

    `classes` and `images` are of a complete copy, 0 where any number is complete.
    """

    name: str
    tasks: tuple[Task, ...]  # what its labels can be read as, the fullest first
    layout: Layout = ""
    place: str = ""  # the name of its folder in a suite's `data`; empty: its own name
    classes: int = 0
    images: tuple[int, int] = (0, 0)  # training, test
    subset: Subset = "100%"

    @property
    def folder(self) -> str:
        """The key of its root folder in a suite's `data`."""
        return self.place or self.name

    @property
    def is_counted(self) -> bool:
        """Say whether it is known what a complete copy holds."""
        return bool(self.classes)


_SINGLE: tuple[Task, ...] = ("single-label",)
_MULTI: tuple[Task, ...] = ("multi-label",)
_BOXES: tuple[Task, ...] = ("boxes",)
_MASKS: tuple[Task, ...] = ("masks", "boxes")

VOC07 = DataSet("voc07", _MULTI, "voc", "voc", 20, (5011, 4952))  # VOC2007: trainval, test
VOC0712 = DataSet("voc0712", _BOXES, "voc", "voc", 20, (16_551, 4952))  # VOC2007 + VOC2012 trainval, VOC2007 test
COCO17 = DataSet("coco17", _MASKS, "coco", "coco", 80, (118_287, 5000))  # COCO 2017: train, val
IMAGENET = DataSet("imagenet", _SINGLE, "imagenet", "imagenet", 1000, (1_281_167, 50_000))  # ILSVRC 2012: train, val
IMAGENET_10PCT = DataSet(
    "imagenet-10pct",
    _SINGLE,
    "imagenet",
    "imagenet",
    1000,
    (128_116, 50_000),
    "10%",  # SimCLR's 10percent.txt
)
IMAGENET_1PCT = DataSet(
    "imagenet-1pct",
    _SINGLE,
    "imagenet",
    "imagenet",
    1000,
    (12_811, 50_000),
    "1%",  # SimCLR's 1percent.txt
)
INAT18 = DataSet("inat18", _SINGLE, "inat", "inat", 8142, (437_513, 24_426))  # iNaturalist 2018: train, val
PLACES205 = DataSet("places205", _SINGLE, "places", "places", 205, (2_448_873, 20_500))  # Places205: train, val

PUBLISHED = (VOC07, VOC0712, COCO17, IMAGENET, IMAGENET_10PCT, IMAGENET_1PCT, INAT18, PLACES205)

SCENES = {  # the demo's version of each: ten digits
    VOC07: DataSet("scenes-voc07", _MULTI, "voc", "voc", 10, (600, 300)),
    VOC0712: DataSet("scenes-voc0712", _BOXES, "voc", "voc", 10, (800, 300)),
    COCO17: DataSet("scenes-coco17", _MASKS, "coco", "coco", 10, (600, 200)),
    IMAGENET: DataSet("scenes-imagenet", _SINGLE, "imagenet", "imagenet", 10, (3000, 500)),
    IMAGENET_10PCT: DataSet("scenes-imagenet-10pct", _SINGLE, "imagenet", "imagenet", 10, (300, 500), "10%"),
    IMAGENET_1PCT: DataSet("scenes-imagenet-1pct", _SINGLE, "imagenet", "imagenet", 10, (30, 500), "1%"),
    INAT18: DataSet("scenes-inat18", _SINGLE, "inat", "inat", 10, (1000, 300)),
    PLACES205: DataSet("scenes-places205", _SINGLE, "places", "places", 10, (1000, 300)),
}

DATA_SETS: dict[str, DataSet] = {entry.name: entry for entry in (*PUBLISHED, *SCENES.values())}
