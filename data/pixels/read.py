"""The layouts of images with masks: a new one is a module with such a reader, and one line here."""

from collections.abc import Callable

from twinbench.data.errors import DataError, unreadable
from twinbench.data.folders.own import sniff_layout
from twinbench.data.limit import limited_pixels
from twinbench.data.pixels.ade20k import read_ade20k
from twinbench.data.pixels.cityscapes import read_cityscapes
from twinbench.data.pixels.coco_stuff import read_coco_stuff, read_coco_stuff27
from twinbench.data.pixels.depths import read_depth_folders, read_nyuv2_depth
from twinbench.data.pixels.folders import read_folders
from twinbench.data.pixels.nyuv2 import read_nyuv2
from twinbench.data.pixels.split import PixelImages
from twinbench.data.pixels.voc import read_voc, read_voc_aug
from twinbench.data.source import SPLITS, Source
from twinbench.protocols.datasets.entry import DataSet
from twinbench.protocols.house import unknown
from twinbench.protocols.kinds.base import Task

READERS: dict[str, Callable[[Source, str], PixelImages]] = {
    "voc-pixels": read_voc,
    "voc-pixels-aug": read_voc_aug,
    "cityscapes-pixels": read_cityscapes,
    "ade20k-pixels": read_ade20k,
    "coco-stuff-pixels": read_coco_stuff,
    "coco-stuff27-pixels": read_coco_stuff27,
    "nyuv2-pixels": read_nyuv2,
    "pixels": read_folders,
    "nyuv2-depth": read_nyuv2_depth,
    "depth": read_depth_folders,
}
OWN = ("pixels", "depth")  # of one's own folders, whose splits a user names
DEPTHS = ("nyuv2-depth", "depth")  # whose masks are maps of depth
TASKS: dict[Task, str] = {"pixels": "segmentation", "depth": "depth"}  # of labels: as the identity of data calls it


def task_of(data_set: DataSet) -> str:
    """Return what data with a mask an image are read for; empty for other data."""
    return next((TASKS[task] for task in data_set.tasks if task in TASKS), "")


def read_pixels(layout: str, source: Source, split: str, task: str = "segmentation") -> PixelImages:
    """Return the `train` or `test` split of the data at `source`; DataError names what does not fit.

    The layout is the data set's own, or empty: then it is seen from the folder, of those that hold data of the `task`.
    """
    if not source.is_folder:
        raise DataError(f"{source}: expected masks in a folder; unpack the data set")
    layout = layout or sniff_layout(source, task)
    if layout not in READERS:
        raise DataError(unknown("layout with masks", layout, READERS))
    source.refuse(("classes",) if layout in OWN else ("classes", *SPLITS), f"the layout {layout}")
    try:
        return limited_pixels(READERS[layout](source, split), source)
    except OSError as error:
        raise unreadable(error) from None
