"""Cityscapes' instances: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png beside gtFine/.../*_gtFine_instanceIds.png.

A pixel of an instance is label * 1000 + number; one of a group that nobody told apart is the label itself. Numbers of
labels as in cityscapesScripts, helpers/labels.py.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from twinbench.data.decode import SIXTEEN_BITS, read_numbers, read_size
from twinbench.data.errors import DataError
from twinbench.data.objects.packed import Record
from twinbench.data.objects.shapes import XYXY
from twinbench.data.objects.split import Findings, ObjectSplit
from twinbench.data.paths import PathList
from twinbench.data.source import Source

LABELS = {
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
VOID = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)  # labels that no evaluation counts
IMAGE, INSTANCES = "_leftImg8bit.png", "_gtFine_instanceIds.png"
PER_LABEL = 1000


def find_cityscapes(source: Source, split: str) -> ObjectSplit:
    """Return Cityscapes' train or val, in the order of the names."""
    root, part = source.path, "train" if split == "train" else "val"
    images = sorted((root / "leftImg8bit" / part).glob(f"*/*{IMAGE}"))
    if not images:
        raise DataError(
            f"{root / 'leftImg8bit' / part}: no CITY/*{IMAGE}; expected Cityscapes' leftImg8bit and gtFine; unpack both"
        )
    stems = [f"{path.parent.name}/{path.name.removesuffix(IMAGE)}" for path in images]
    paths = PathList(root, (f"leftImg8bit/{part}/{stem}{IMAGE}" for stem in stems))
    maps = tuple(root / "gtFine" / part / f"{stem}{INSTANCES}" for stem in stems)
    read = partial(_records, paths, maps)
    return ObjectSplit(root, paths, tuple(LABELS), ("box", "mask"), read, annotations=maps, rule="cityscapes")


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """Return a mask (H, W) in COCO's uncompressed form: pixels column by column, runs that begin with zeros."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    counts = np.diff(ends, prepend=0)
    return {"size": list(mask.shape), "counts": counts.tolist()}


def _records(
    paths: PathList, maps: tuple[Path, ...], findings: Findings, measures: tuple[str, ...]
) -> Iterator[Record]:
    """Yield the record of each image."""
    for index, file in enumerate(maps):
        image = paths.one(index)
        try:
            ids = read_numbers(file, ("L", *SIXTEEN_BITS))
            size = read_size(image)
        except DataError as error:
            findings.problem("annotations", str(error))
            continue
        if ids.shape[::-1] != size:
            findings.problem(
                "image sizes",
                f"{file}: {ids.shape[1]} x {ids.shape[0]} pixels, its image {size[0]} x {size[1]}; expected the same; "
                "unpack both again",
            )
            continue
        things = [thing for number in np.unique(ids) if (thing := _thing(ids, int(number), measures))]
        yield {
            "file_name": str(image),
            "image_id": image.name,
            "width": ids.shape[1],
            "height": ids.shape[0],
            "annotations": things,
            "void": run_lengths(np.isin(ids, VOID)),
        }


def _thing(ids: np.ndarray, number: int, measures: tuple[str, ...]) -> Record | None:
    """Return an instance or a group of one of the classes, None for other labels and for a single row or column.

    Its box goes from the first pixel to the last, as Detectron2 has it.
    """
    label = number // PER_LABEL if number >= PER_LABEL else number
    if label not in LABELS.values():
        return None
    mask = ids == number
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    if right <= left or bottom <= top:
        return None
    thing: Record = {
        "bbox": [left, top, right, bottom],
        "bbox_mode": XYXY,
        "category_id": list(LABELS.values()).index(label),
        "iscrowd": int(number < PER_LABEL),
        "area": int(mask.sum()),
    }
    if "mask" in measures:
        thing["segmentation"] = run_lengths(mask)
    return thing
