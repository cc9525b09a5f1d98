"""VOC and COCO on disk as Detectron2's datasets: registered under their path, class names taken from the data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, load_voc_instances

from twinbench.data.errors import DataError
from twinbench.data.folders import coco, voc
from twinbench.data.folders.own import sniff_layout
from twinbench.data.required import require_boxes
from twinbench.detection.training.stream import Record
from twinbench.protocols.schema import Protocol


@dataclass(frozen=True)
class DetectionData:
    """A data set as a detector is trained and tested on it."""

    classes: tuple[str, ...]
    train: list[Record]  # with at least one object that is no crowd, as Detectron2 trains
    test: list[Record]
    test_name: str  # under which Detectron2's evaluators find what they need
    images: dict[str, int]  # split -> images of the data set, those without an object included
    layout: Literal["voc", "coco"]  # whose rules its AP is computed by
    mask_format: str = "polygon"  # or bitmask, where the data hold run-length codes


def open_data(protocol: Protocol, root: Path) -> DetectionData:
    """Return the data set of `protocol` at its usual `root`: VOCdevkit, or the folder of COCO's annotations.

    Raises DataError for what is missing or does not fit. Classes and their number are those of the data; where the
    protocol's data set has a number of them, it must be that.
    """
    data = OPENERS[layout_of(protocol, root)](root)
    require_boxes(protocol, root, data.layout, data.classes)
    return data


def layout_of(protocol: Protocol, root: Path) -> str:
    """Return the layout of the protocol's data: the named data set's, or the one that own data is seen to have."""
    return protocol.data_set.layout or sniff_layout(root, "detection")


def _open_voc(root: Path) -> DetectionData:
    """Train on VOC2007 trainval, and on VOC2012 trainval where it is there; test on VOC2007 test."""
    classes = voc.object_classes(root)
    parts = voc.detection_parts(root)
    records: dict[str, list[Record]] = {}
    for split, lists in parts.items():
        records[split] = []
        for year, name in lists:
            records[split] += _load_voc(root, year, name, classes)
    images = {split: len(found) for split, found in records.items()}
    tested = _voc_name(root, *parts["test"][0])
    return DetectionData(classes, _with_objects(records["train"]), records["test"], tested, images, "voc")


def _load_voc(root: Path, year: int, split: str, classes: tuple[str, ...]) -> list[Record]:
    """Register one split and return its records; the annotations are checked for what the evaluator will read."""
    ids, folder = voc.image_ids(root, year, split), voc.year_folder(root, year)
    if len(ids) < 2:  # Detectron2 reads a list of one image as no list at all
        raise DataError(f"{folder}/ImageSets/Main/{split}.txt: one image; Detectron2's VOC loader needs at least two")
    voc.check_annotations(root, year, split, classes)
    _require_images(folder / "JPEGImages", [f"{name}.jpg" for name in ids])
    records = load_voc_instances(str(folder), split, classes)
    about = {"thing_classes": list(classes), "dirname": str(folder), "year": year, "split": split}
    _register(_voc_name(root, year, split), records, **about)
    return records


def _voc_name(root: Path, year: int, split: str) -> str:
    """Return the name of a split among Detectron2's data sets."""
    return f"voc_{year}_{split} at {root.resolve()}"


def _open_coco(root: Path) -> DetectionData:
    """Train on train2017, test on val2017; crowds are left to the evaluator, as Detectron2 does."""
    train, classes = _load_coco(root, "train")
    test, test_classes = _load_coco(root, "val")
    if classes != test_classes:
        raise DataError(f"{root}/annotations: train2017 and val2017 have different categories; expected the same list")
    images = {"train": len(train), "test": len(test)}
    return DetectionData(
        classes, _with_objects(train), test, _coco_name(root, "val"), images, "coco", _mask_format(train)
    )


def _mask_format(records: list[Record]) -> str:
    """Return how Detectron2 is to draw the masks: as bitmaps if any of them is a run-length code."""
    for record in records:
        for thing in record["annotations"]:
            if not thing["iscrowd"] and isinstance(thing["segmentation"], dict):
                return "bitmask"
    return "polygon"


def _load_coco(root: Path, split: str) -> tuple[list[Record], tuple[str, ...]]:
    """Register one split, checked, and return its records and classes."""
    found = coco.read_coco(root, split)
    if found.problems:
        raise DataError(f"{found.problems[0]} ({len(found.problems)} such); fetch the file again")
    _require_images(root / f"{split}2017", [path.name for path in found.paths])
    path, name = root / "annotations" / f"instances_{split}2017.json", _coco_name(root, split)
    records = load_coco_json(str(path), str(root / f"{split}2017"), name)
    _register(name, records, json_file=str(path), image_root=str(root / f"{split}2017"))
    return records, found.classes


def _coco_name(root: Path, split: str) -> str:
    """Return the name of a split among Detectron2's data sets."""
    return f"coco_{split}2017 at {root.resolve()}"


def _register(name: str, records: list[Record], **about: object) -> None:
    """Make a split known to Detectron2's evaluators; opening the same folder again replaces it."""
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(**about)


def _require_images(folder: Path, names: list[str]) -> None:
    """Raise DataError naming the first of the files that is not in `folder`."""
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
    absent = [name for name in names if name not in present]
    if absent:
        raise DataError(
            f"{folder / absent[0]}: no such image, nor {len(absent) - 1} others; expected {len(names)} in all; "
            "unpack the data set again"
        )


def _with_objects(records: list[Record]) -> list[Record]:
    """Return the records with at least one object that is no crowd; Detectron2 trains on these."""
    kept: list[Record] = []
    for record in records:
        objects = [thing for thing in record["annotations"] if not thing.get("iscrowd", 0)]
        if objects:
            kept.append(record)
    return kept


OPENERS = {"voc": _open_voc, "coco": _open_coco}  # by layout
