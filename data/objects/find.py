"""The layouts of images with objects: a new one is a module with such a finder, and one line here."""

from collections.abc import Callable
from functools import partial

from twinbench.data.errors import DataError, unreadable
from twinbench.data.folders.own import sniff_layout
from twinbench.data.limit import limited_objects
from twinbench.data.objects.cityscapes import find_cityscapes
from twinbench.data.objects.coco import find_coco
from twinbench.data.objects.lvis import find_lvis
from twinbench.data.objects.parts import training_part
from twinbench.data.objects.split import ObjectSplit
from twinbench.data.objects.voc import find_voc
from twinbench.data.source import Source
from twinbench.protocols.house import unknown

Finder = Callable[[Source, str], ObjectSplit]  # (the source; "train" or "test")

FINDERS: dict[str, Finder] = {
    "voc": find_voc,
    "coco": find_coco,
    "coco-keypoints": partial(find_coco, kind="person_keypoints"),
    "lvis": find_lvis,
    "cityscapes": find_cityscapes,
}


def objects_layout(given: str, source: Source) -> str:
    """Return the layout of data with objects: the data set's own that is `given`, or the one that is seen."""
    if source.form == "coco":
        return given if given.startswith("coco") else "coco"
    if not source.is_folder:
        raise DataError(f"{source}: expected boxes in a folder, or coco:TRAIN.json,TEST.json; unpack the data set")
    return given or sniff_layout(source, "detection")


def find_objects(layout: str, source: Source, split: str, fraction: str = "100%") -> ObjectSplit:
    """Return the `train` or `test` split of the data at `source`; DataError names what does not fit.

    With a `fraction` of COCO, such as 1%, the training images are those on its list.
    """
    if layout not in FINDERS:
        raise DataError(unknown("layout with boxes", layout, FINDERS))
    source.refuse(("classes",), f"the layout {layout}, of images with objects,")
    try:
        found = FINDERS[layout](source, split)
        if fraction != "100%" and split == "train":
            found = training_part(found, source, fraction)
        return limited_objects(found, source)
    except OSError as error:
        raise unreadable(error) from None
