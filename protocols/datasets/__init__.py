"""The data sets that are known by name: how they lie on disk, what complete means, where to get them.

A recipe runs on every data set of its task; what is special about one (its counts, the name it is published under)
stands here. Own data needs no entry: `RECIPE@NAME` takes classes and counts from what is there. A new data set is one
entry, typed once more from its source in tests/oracles/datasets/.
"""

from twinbench.protocols.datasets import detection, large, more, suites
from twinbench.protocols.datasets.detection import (
    ADE20K,
    CITYSCAPES,
    CITYSCAPES_INSTANCES,
    COCO17,
    COCO17_1PCT,
    COCO17_2PCT,
    COCO17_5PCT,
    COCO17_10PCT,
    COCO17_KEYPOINTS,
    LVIS,
    VOC07,
    VOC0712,
    VOC12AUG_SEG,
)
from twinbench.protocols.datasets.entry import About, DataSet, File, Layout, OtherCopy, Subset
from twinbench.protocols.datasets.large import IMAGENET, IMAGENET_1PCT, IMAGENET_10PCT, INAT18, PLACES205
from twinbench.protocols.datasets.nyu import NYUV2_DEPTH
from twinbench.protocols.datasets.scenes import SCENES

__all__ = [
    "CIFAR10",
    "ADE20K",
    "CITYSCAPES",
    "CITYSCAPES_INSTANCES",
    "COCO17",
    "COCO17_10PCT",
    "COCO17_1PCT",
    "COCO17_2PCT",
    "COCO17_5PCT",
    "COCO17_KEYPOINTS",
    "DATA_SETS",
    "IMAGENET",
    "IMAGENET_10PCT",
    "IMAGENET_1PCT",
    "INAT18",
    "LVIS",
    "NYUV2_DEPTH",
    "PLACES205",
    "PUBLISHED",
    "SCENES",
    "TWELVE",
    "VOC07",
    "VOC0712",
    "VOC12AUG_SEG",
    "About",
    "DataSet",
    "File",
    "Layout",
    "OtherCopy",
    "Subset",
]

CIFAR10 = suites.CIFAR10
# Kornblith's, SimCLR's and BYOL's suite, in the order of BYOL's table 3.
TWELVE = (*suites.ELEVEN[:7], VOC07, *suites.ELEVEN[7:])

PUBLISHED = (
    *detection.PAPER,
    *large.PAPER,
    *suites.ELEVEN,
    *more.SMALL,
    *large.SIBLINGS,
    *detection.DENSE,
)

DATA_SETS: dict[str, DataSet] = {entry.name: entry for entry in (*PUBLISHED, *SCENES.values())}
