"""LVIS: masks of 1,203 classes on COCO's images, in JSON of COCO's form, each image labelled for some classes only."""

from dataclasses import replace

from twinbench.data.errors import DataError
from twinbench.data.objects.coco import LVIS, find_coco
from twinbench.data.objects.split import ObjectSplit
from twinbench.data.source import Source

FREQUENCIES = ("r", "c", "f")  # rare, common, frequent


def find_lvis(source: Source, split: str) -> ObjectSplit:
    """Return the `train` or `test` split: lvis_v1_train.json or lvis_v1_val.json beside COCO's train2017 and val2017.

    Images of both lie in both folders; their addresses say where.
    """
    found = find_coco(source, split, LVIS)
    for name, frequency in zip(found.classes, found.frequencies, strict=True):
        if frequency not in FREQUENCIES:
            raise DataError(
                f"{found.shared}: category {name} has the frequency '{frequency[:20]}'; expected r, c or f, which AP is"
                " told apart by; is it LVIS's own file?"
            )
    return replace(found, rule="lvis")
