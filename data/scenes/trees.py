"""The scenes on disk: pictures of digits in the layouts of ImageNet, VOC, COCO, iNaturalist 2018 and Places205."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from twinbench.data.pixels.colours import palette
from twinbench.data.scenes.digits import CLASSES, SIZE, Placed, photo_pictures, plain_pictures, sources
from twinbench.data.scenes.outline import polygons, run_lengths

JPEG_QUALITY = 92
UNLABELLED = 255  # in a mask
Counts = Mapping[str, int]


def write_imagenet(root: Path, rng: np.random.Generator, counts: Counts) -> None:
    """Write train/<wnid>/<wnid>_<n>.JPEG, val/<wnid>/ILSVRC2012_val_<n>.JPEG and the 1 % and 10 % lists."""
    train, test = sources()
    wnids = [f"n{digit:08d}" for digit in range(10)]
    names: list[str] = []
    for number, (picture, digit) in enumerate(plain_pictures(rng, train, counts["train"])):
        names.append(f"{wnids[digit]}_{number}.JPEG")
        save_jpeg(picture, root / "train" / wnids[digit] / names[-1])
    for number, (picture, digit) in enumerate(plain_pictures(rng, test, counts["val"]), 1):
        save_jpeg(picture, root / "val" / wnids[digit] / f"ILSVRC2012_val_{number:08d}.JPEG")
    for percent in (1, 10):  # the digits go 0, 1, ... 9 in turn: the first of them are balanced
        listed = names[: max(10, len(names) * percent // 1000 * 10)]
        (root / f"{percent}percent.txt").write_text("".join(f"{name}\n" for name in listed))


def write_inat(root: Path, rng: np.random.Generator, counts: Counts) -> None:
    """Write train_val2018/<supercategory>/<category id>/<hash>.jpg, train2018.json and val2018.json."""
    categories = [{"id": digit, "name": name, "supercategory": "Digits"} for digit, name in enumerate(CLASSES)]
    first = 0  # image ids go on from one file to the next
    for split, source in zip(("train", "val"), sources(), strict=True):
        images, annotations = [], []
        for number, (picture, digit) in enumerate(plain_pictures(rng, source, counts[split]), first + 1):
            name = f"train_val2018/Digits/{digit}/{rng.bytes(16).hex()}.jpg"
            save_jpeg(picture, root / name)
            images.append({"id": number, "file_name": name, "width": SIZE, "height": SIZE, "license": 0})
            annotations.append({"id": number, "image_id": number, "category_id": digit})
        first += counts[split]
        lists = {"images": images, "annotations": annotations, "categories": categories}
        _write_json(root / f"{split}2018.json", lists)


def write_places(root: Path, rng: np.random.Generator, counts: Counts) -> None:
    """Write trainvalsplit_places205/*.csv and the images where the published archive unpacks them."""
    folders = [f"{name[0]}/{name}" for name in CLASSES]
    label_of = {folder: label for label, folder in enumerate(sorted(folders))}
    for split, source in zip(("train", "val"), sources(), strict=True):
        lines = []
        for picture, digit in plain_pictures(rng, source, counts[split]):
            name = f"{folders[digit]}/gsun_{rng.bytes(16).hex()}.jpg"
            save_jpeg(picture, root / "data/vision/torralba/deeplearning/images256" / name)
            lines.append(f"{name} {label_of[folders[digit]]}\n")
        _write_text(root / "trainvalsplit_places205" / f"{split}_places205.csv", "".join(lines))


def write_voc(root: Path, rng: np.random.Generator, counts: Counts) -> None:
    """Write VOC2007 (trainval and test) and VOC2012 (trainval) as the devkit has them."""
    train, test = sources()
    for year, split, source, first in (
        (2007, "trainval", train, 0),
        (2007, "test", test, 1),
        (2012, "trainval", train, 0),
    ):
        step = 2 if year == 2007 else 1  # the splits of 2007 share one numbering
        folder, values = root / f"VOC{year}", {}
        for number, (picture, placed) in enumerate(photo_pictures(rng, source, counts[f"{year}-{split}"])):
            serial = 1 + first + number * step
            name = f"{serial:06d}" if year == 2007 else f"2012_{serial:06d}"
            save_jpeg(picture, folder / "JPEGImages" / f"{name}.jpg")
            _write_text(folder / "Annotations" / f"{name}.xml", voc_xml(year, f"{name}.jpg", placed))
            values[name] = [voc_label(placed, digit) for digit in range(10)]
        _write_text(folder / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{name}\n" for name in values))
        for digit, title in enumerate(CLASSES):
            lines = [f"{name} {row[digit]:2d}\n" for name, row in values.items()]
            _write_text(folder / "ImageSets" / "Main" / f"{title}_{split}.txt", "".join(lines))


def voc_label(placed: Iterable[Placed], digit: int) -> int:
    """Return what VOC's class lists say of a picture: 1 the digit is there, 0 only a difficult one, -1 none."""
    faint = [thing.faint for thing in placed if thing.digit == digit]
    return -1 if not faint else 0 if all(faint) else 1


def voc_xml(year: int, name: str, placed: Iterable[Placed]) -> str:
    """Return the annotation of one picture; boxes count pixels from 1 and include the last."""
    objects = []
    for thing in placed:
        left, top, right, bottom = thing.box
        objects.append(
            f"\t<object>\n\t\t<name>{CLASSES[thing.digit]}</name>\n\t\t<pose>Unspecified</pose>\n"
            f"\t\t<truncated>0</truncated>\n\t\t<difficult>{int(thing.faint)}</difficult>\n"
            f"\t\t<bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
            "</bndbox>\n\t</object>\n"
        )
    return (
        f"<annotation>\n\t<folder>VOC{year}</folder>\n\t<filename>{name}</filename>\n\t<size><width>{SIZE}</width>"
        f"<height>{SIZE}</height><depth>3</depth></size>\n\t<segmented>0</segmented>\n{''.join(objects)}</annotation>\n"
    )


def write_coco(root: Path, rng: np.random.Generator, counts: Counts) -> None:
    """Write train2017/, val2017/ and annotations/instances_*.json with boxes and masks; faint digits are crowds."""
    categories = [{"id": digit + 1, "name": name, "supercategory": "digit"} for digit, name in enumerate(CLASSES)]
    serial = 0  # of images; unique over both splits
    for split, source in zip(("train", "val"), sources(), strict=True):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for picture, placed in photo_pictures(rng, source, counts[split]):
            serial += 1
            save_jpeg(picture, root / f"{split}2017" / f"{serial:012d}.jpg")
            images.append({"id": serial, "file_name": f"{serial:012d}.jpg", "width": SIZE, "height": SIZE})
            for number, thing in enumerate(placed):
                annotations.append({"id": 10 * serial + number, "image_id": serial, **coco_annotation(thing)})
        lists = {"images": images, "annotations": annotations, "categories": categories}
        _write_json(root / "annotations" / f"instances_{split}2017.json", lists)


def coco_annotation(thing: Placed) -> dict[str, Any]:
    """Return category, box (left, top, width, height from 0), area and mask: run lengths for a crowd, else polygons."""
    left, top, right, bottom = thing.box
    return {
        "category_id": thing.digit + 1,
        "bbox": [left, top, right - left, bottom - top],
        "area": int(thing.mask.sum()),
        "iscrowd": int(thing.faint),
        "segmentation": run_lengths(thing.mask) if thing.faint else polygons(thing.mask),
    }


def write_masks(root: Path, rng: np.random.Generator, counts: Counts) -> None:
    """Write VOC2012 with a mask for each picture, and classes.txt, which names what the numbers in the masks are."""
    folder = root / "VOC2012"
    for split, source in zip(("train", "val"), sources(), strict=True):
        names: list[str] = []
        for number, (picture, placed) in enumerate(photo_pictures(rng, source, counts[split])):
            names.append(f"{split}_{number:06d}")
            save_jpeg(picture, folder / "JPEGImages" / f"{names[-1]}.jpg")
            save_mask(class_mask(placed), folder / "SegmentationClass" / f"{names[-1]}.png")
        _write_text(folder / "ImageSets" / "Segmentation" / f"{split}.txt", "".join(f"{name}\n" for name in names))
    _write_text(folder / "classes.txt", "".join(f"{name}\n" for name in ("background", *CLASSES)))


def class_mask(placed: Iterable[Placed]) -> np.ndarray:
    """Return the class of each pixel, (SIZE, SIZE) uint8: 0 the ground, digit + 1; 255 borders and faint digits."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for thing in placed:
        mask[_grown(thing.mask)] = UNLABELLED
    for thing in placed:
        mask[thing.mask] = UNLABELLED if thing.faint else thing.digit + 1
    return mask


def _grown(mask: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) bool with one pixel more on each side."""
    padded = np.pad(mask, 1)
    return padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]


def save_mask(mask: np.ndarray, path: Path) -> None:
    """Write classes (H, W) uint8 as a PNG with VOC's palette; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    image.putpalette(np.array(palette(256), np.uint8).tobytes())
    image.save(path, "PNG")


def save_jpeg(picture: np.ndarray, path: Path) -> None:
    """Write a picture (H, W, 3) uint8; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, "JPEG", quality=JPEG_QUALITY)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _write_text(path, json.dumps({"info": {"description": "scenes of handwritten digits"}, **content}))
