"""COCO's things as images with masks, a number a pixel, with a list that makes its twelve groups the classes.

python coco_masks.py /datasets/coco things
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools.coco import COCO

GROUPS = {  # COCO's supercategories: name -> the first of its category ids; 90 is the last of all
    "background": 0,
    "person": 1,
    "vehicle": 2,
    "outdoor": 10,
    "animal": 16,
    "accessory": 26,
    "sports": 34,
    "kitchen": 44,
    "food": 52,
    "furniture": 62,
    "electronic": 72,
    "appliance": 78,
    "indoor": 84,
}

root, out = (Path(name).absolute() for name in sys.argv[1:])
for split in ("train", "val"):
    coco = COCO(root / "annotations" / f"instances_{split}2017.json")
    masks = out / "masks" / split
    masks.mkdir(parents=True)
    for number, image in coco.imgs.items():
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        things = coco.loadAnns(coco.getAnnIds(number))
        for thing in sorted(things, key=lambda thing: -thing["area"]):  # the small ones in front
            mask[coco.annToMask(thing) > 0] = 255 if thing["iscrowd"] else thing["category_id"]
        Image.fromarray(mask).save((masks / image["file_name"]).with_suffix(".png"))
    (out / "images").mkdir(exist_ok=True)
    (out / "images" / split).symlink_to(root / f"{split}2017")

firsts = [*GROUPS.values(), 91]
with (out / "labels.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(("number", "name", "train id"))
    for group, name in enumerate(GROUPS):
        writer.writerows((number, name, group) for number in range(firsts[group], firsts[group + 1]))
