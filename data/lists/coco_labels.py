"""COCO's JSON as labels of whole images: `coco:FOLDER` and `coco:TRAIN.json,TEST.json`, with any names and classes.

A class is present (1) in an image that has an annotation of it, a crowd's too, and absent (0) otherwise. So does the
code of ASL (Ben-Baruch et al., 2021; its CocoDetection), but it leaves images without any annotation out; here they
stay, and lack every class. mmpretrain counts classes that only a crowd shows as not known. In LVIS a class is absent
only where the image says so (`neg_category_ids`), and else not known (-1).

Classes are the categories by id. One that only groups others (Roboflow's first, the `supercategory` of all) is none.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.folders.coco import (
    annotation_file,
    class_titles,
    grouping_categories,
    image_name,
    image_roots,
)
from twinbench.data.folders.json_lists import by_id, is_known, read_json_lists
from twinbench.data.labelled import LabelledImages, absent
from twinbench.data.lists.placed import placed, tidy
from twinbench.data.source import Source

GROUPS = "categories that only group others"


def read_coco_labels(source: Source, split: str) -> LabelledImages:
    """Return one split by image id, with several labels an image."""
    file = annotation_file(source, split)
    lists = read_json_lists(file, annotations="ids")
    images = by_id(file, lists["images"], "images")
    categories = by_id(file, lists["categories"], "categories")
    groups = grouping_categories(categories, lists["annotations"])
    columns = {category: column for column, category in enumerate(sorted(categories.keys() - groups))}
    order = sorted(images)
    targets = _absent(file, [images[image] for image in order], columns)
    rows = {image: row for row, image in enumerate(order)}
    for annotation in lists["annotations"]:
        image, category = annotation.get("image_id"), annotation.get("category_id")
        if not is_known(image, images) or not is_known(category, categories):
            raise DataError(
                f"{file}: an annotation of image {image} as category {category}; expected ids of its lists of images"
                " and categories; fetch the file again"
            )
        targets[rows[image], columns[category]] = 1
    names = tidy([image_name(file, images[image]) for image in order])
    if len(set(names)) < len(names):
        raise DataError(f"{file}: two images of one file_name; expected one entry an image; correct the file")
    found = placed(file, names, image_roots(source, file), "images")
    left_out = {GROUPS: len(groups)} if groups else {}
    return LabelledImages(found, targets, class_titles(categories, list(columns)), found.root, (file,), left_out)


def _absent(file: Path, images: Sequence[dict[str, Any]], columns: Mapping[int, int]) -> np.ndarray:
    """Return (N, K) int8 as if no class were present: 0, or -1 where a class is not known to be absent."""
    targets = absent(file, len(images), len(columns))
    if not any("neg_category_ids" in image for image in images):
        return targets
    targets -= 1
    for row, image in enumerate(images):
        lacking = image.get("neg_category_ids")
        for category in lacking if isinstance(lacking, list) else ():
            if is_known(category, columns):
                targets[row, columns[category]] = 0
    return targets
