"""What is found at a source: its splits, class lists and annotations, with every problem noted, none raised.

Each survey ends with the readers that the workers call: what passes here runs, and what they would refuse is told.
"""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from twinbench.data.checking.targets import PARTS
from twinbench.data.errors import DataError, unreadable
from twinbench.data.folders import voc
from twinbench.data.folders.imagenet import CLASSES, LISTS, LISTS_SHA256, list_sha256
from twinbench.data.folders.pool import read_pool
from twinbench.data.items import ImageList
from twinbench.data.labelled import LabelledImages, require_same_classes
from twinbench.data.layouts import LAYOUTS, TESTED, read_images, read_labelled
from twinbench.data.objects.find import find_objects, objects_layout
from twinbench.data.objects.shapes import shows_an_area
from twinbench.data.objects.split import Findings, ObjectSplit
from twinbench.data.objects.voc import find_list
from twinbench.data.pixels.depths import sound_depths
from twinbench.data.pixels.masks import seen_classes, told_unseen
from twinbench.data.pixels.read import DEPTHS, read_pixels
from twinbench.data.pixels.read import READERS as PIXEL_LAYOUTS
from twinbench.data.required import nothing_to_train_on, require_same_objects
from twinbench.data.source import Source

SHOWN = 3  # examples of each kind of problem; a missing folder can make millions


@dataclass(frozen=True)
class Split:
    """The images that should be there, and where annotations say so their (width, height)."""

    paths: ImageList
    sizes: Sequence[tuple[int, int]] = ()
    is_test: bool = False


@dataclass
class Problem:
    """One kind of problem: how often it was met, and the first few places."""

    kind: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Survey:
    """The findings: image and class counts, the files of each split, what else lies there, and what is wrong."""

    counts: dict[str, int] = field(default_factory=dict)
    splits: list[Split] = field(default_factory=list)
    problems: dict[str, Problem] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)  # defaults that were taken, and the like
    left_out: dict[str, int] = field(default_factory=dict)  # "train: why it is no image of the data" -> how many

    def note(self, kind: str, line: str) -> None:
        """Note one problem: a line that says where it is, what was expected and what to do."""
        problem = self.problems.setdefault(kind, Problem(kind))
        if line in problem.examples:  # what is wrong with both splits is one problem
            return
        problem.count += 1
        if problem.count <= SHOWN:
            problem.examples.append(line)

    @contextmanager
    def noting(self, kind: str) -> Generator[None]:
        """Turn a DataError or an OSError of the block into a noted problem: a check goes on and lists them all."""
        try:
            yield
        except DataError as error:
            self.note(kind, str(error))
        except OSError as error:
            self.note(kind, str(unreadable(error)))

    def add(self, split: str, images: Split, classes: Sequence[str]) -> None:
        """Count a split and its classes; a split whose classes are not as many as another's is a problem."""
        self.counts[split] = len(images.paths)
        self.splits.append(images)
        if classes and self.counts.setdefault("classes", len(classes)) != len(classes):
            self.note("classes", f"{split} has {len(classes)} classes, other splits have {self.counts['classes']}")


def survey(way: str, source: Source) -> Survey:
    """Return what is found at `source`, gone through in a `way` of SURVEYS."""
    findings = Survey()
    SURVEYS[way](source, findings)
    return findings


def _labelled(layout: str, names: tuple[str, str], source: Source, findings: Survey) -> None:
    """Survey a source with one or several classes an image, as the workers read it; `names` are its splits'."""
    found: list[LabelledImages] = []
    for split, name in zip(("train", "test"), names, strict=True):
        with findings.noting("layout"):
            images = read_labelled(layout, source, split)
            findings.add(name, Split(images.paths, is_test=split == "test"), images.classes)
            findings.left_out |= {f"{name}: {why}": count for why, count in images.left_out.items()}
            found.append(images)
    if len(found) == 2 and "classes" not in findings.problems:
        with findings.noting("classes"):
            require_same_classes(source, *found)


def _imagenet(source: Source, findings: Survey) -> None:
    """Survey ImageNet, and the lists of 1 % and 10 % where they are."""
    _labelled("imagenet", ("train", "val"), source, findings)
    for fraction, name in LISTS.items():
        path = source.path / name
        if "train" in findings.counts and os.path.lexists(path):
            with findings.noting("lists"):
                findings.counts[name] = len(read_labelled("imagenet", source, "train", fraction).paths)
                found = list_sha256(path)
                if findings.counts["classes"] == CLASSES and found != LISTS_SHA256[name]:
                    findings.note(
                        "lists",
                        f"{path}: sha256 {found[:12]}..., expected SimCLR's {LISTS_SHA256[name][:12]}...; "
                        f"published numbers rest on that list: `twinbench data lists FOLDER` fetches it",
                    )


def _voc(parts: Sequence[tuple[int, str]], source: Source, findings: Survey) -> None:
    """Survey splits of a VOC devkit: image lists, class lists and every annotation."""
    root = source.path
    for year, split in parts:
        with findings.noting("layout"):
            ids, classes = voc.image_ids(root, year, split), voc.class_names(root, year, split)
            folder = voc.year_folder(root, year)
            images = Split(voc.image_files(root, year, ids), is_test=split == "test")
            findings.add(f"{year}-{split}", images, classes)
            for title in classes:
                with findings.noting("class lists"):
                    voc.read_class_list(folder / "ImageSets" / "Main" / f"{title}_{split}.txt", ids)
            sizes = _read_objects(find_list(root, year, split, classes), findings, f"{year}-{split}")
            findings.splits[-1] = replace(images, sizes=sizes)
    if len(parts) == 3:
        findings.counts["trainval07+12"] = sum(findings.counts.get(f"{year}-trainval", 0) for year in (2007, 2012))
    _as_workers_read("voc", source, findings)


def _own_voc(source: Source, findings: Survey) -> None:
    """Survey data of one's own in VOC's layout: labels, and boxes where there are XML files."""
    if not voc.is_flat(source.path / (source.named("train") or "train")):
        _labelled("voc", ("train", "test"), source, findings)
    if not _has_boxes(source):
        return
    if findings.problems:
        findings.remarks.append(f"boxes are checked without labels by: twinbench data check boxes {source}")
        return
    _objects("voc", source, findings)


def _has_boxes(source: Source) -> bool:
    """Say whether some image has an XML file."""
    try:
        return any(path.is_file() for path in find_objects("voc", source, "train").annotations[:1])
    except DataError:
        return False


def _objects(
    layout: str, source: Source, findings: Survey, *, fraction: str = "100%", detectors_alone: bool = False
) -> None:
    """Survey images with objects: every annotation is read as a worker does, whatever is measured of it.

    Of a `fraction` of COCO, such as 1%, the training images are those on its list, and no other need be there. For
    `detectors_alone` some training object must have an area; a classifier learns its labels without.
    """
    found: list[ObjectSplit] = []
    for split, name in (("train", "train"), ("test", "test" if layout == "voc" else "val")):
        with findings.noting("layout"):
            part = find_objects(layout, source, split, fraction)
            sizes = _read_objects(part, findings, name, trains=detectors_alone and split == "train")
            if name in findings.counts:  # its labels were surveyed
                findings.splits[len(found)] = replace(findings.splits[len(found)], sizes=sizes)
            else:
                findings.add(name, Split(part.paths, sizes, split == "test"), part.classes)
            found.append(part)
    if len(found) == 2:
        with findings.noting("classes"):
            require_same_objects(source, *found)


def _boxes(source: Source, findings: Survey) -> None:
    """Survey images with objects of whichever layout, and nothing but their objects."""
    _objects(objects_layout("", source), source, findings, detectors_alone=True)


def _read_objects(part: ObjectSplit, findings: Survey, name: str, trains: bool = False) -> list[tuple[int, int]]:
    """Read every annotation, note what is wrong and what was assumed; return the images' sizes if all are known.

    What `trains` a detector must show it something.
    """
    reading = Findings(findings.note)
    sizes: list[tuple[int, int]] = []
    is_usable = not trains
    for record in part.read(reading, part.measures):
        sizes.append((record["width"], record["height"]))
        is_usable = is_usable or shows_an_area(record)
    notes = [f"{name}: {note}" for note in reading.notes]
    findings.remarks += notes
    if sizes and not is_usable and "annotations" not in findings.problems:
        findings.note("objects", nothing_to_train_on(part.root, notes))
    return sizes if len(sizes) == len(part.paths) else []


def _as_workers_read(layout: str, source: Source, findings: Survey) -> None:
    """Read both splits once more as a worker does, unless it is known already that it could not."""
    if findings.problems:
        return
    for split in ("train", "test"):
        with findings.noting("layout"):
            if layout in LAYOUTS:
                read_labelled(layout, source, split)


def _pixels(layout: str, source: Source, findings: Survey) -> None:
    """Survey images with masks: each mask is as large as its image, and has no number that is no class."""
    for split, name in (("train", "train"), ("test", "val")):
        with findings.noting("layout"):
            images = read_pixels(layout, source, split)
            findings.add(name, Split(images.paths, is_test=split == "test"), images.classes)
            seen = seen_classes(images, partial(findings.note, "masks"))
            if unseen := told_unseen(images, seen):
                findings.remarks.append(f"{name}: {unseen}")


def _depths(layout: str, source: Source, findings: Survey) -> None:
    """Survey images with depth: each map is as large as its image, and holds metres."""
    for split, name in (("train", "train"), ("test", "val")):
        with findings.noting("layout"):
            images = read_pixels(layout, source, split)
            findings.add(name, Split(images.paths, is_test=split == "test"), images.classes)
            known = sound_depths(images, partial(findings.note, "depth"))
            if not (known or "depth" in findings.problems):
                findings.note("depth", f"{source}: no map of {name} has a depth above 0; expected some")


def _only_tests(layout: str, source: Source, findings: Survey) -> None:
    """Survey a data set that is only tested on: its images, which train nothing."""
    with findings.noting("layout"):
        images = read_images(layout, source, "test")
        findings.add("test", Split(images.paths, is_test=True), images.classes)
        findings.left_out |= {f"test: {why}": count for why, count in images.left_out.items()}


def _pool(source: Source, findings: Survey) -> None:
    """Survey images to pretrain on: neither labels nor a second split are needed."""
    with findings.noting("layout"):
        images = read_pool(source)
        findings.counts["train"] = len(images.paths)
        findings.splits.append(Split(images.paths))
        findings.left_out |= {f"train: {why}": count for why, count in images.left_out.items()}


_VOC07 = ((2007, "trainval"), (2007, "test"))
SURVEYS: dict[str, Callable[[Source, Survey], None]] = {
    "imagenet": _imagenet,
    "voc07": partial(_voc, _VOC07),
    "voc": partial(_voc, (*_VOC07, (2012, "trainval"))),
    "own voc": _own_voc,
    "coco": partial(_objects, "coco"),
    **{way: partial(_objects, "coco", fraction=fraction) for fraction, way in PARTS.items()},
    "coco-keypoints": partial(_objects, "coco-keypoints"),
    "lvis": partial(_objects, "lvis"),
    "cityscapes": partial(_objects, "cityscapes"),
    **{layout: partial(_pixels, layout) for layout in PIXEL_LAYOUTS},
    **{layout: partial(_depths, layout) for layout in DEPTHS},
    "inat": partial(_labelled, "inat", ("train", "val")),
    "places": partial(_labelled, "places", ("train", "val")),
    "labelled": partial(_labelled, "", ("train", "test")),  # any other source: it says itself how it is read
    **{layout: partial(_only_tests, layout) for layout in TESTED},
    "pool": _pool,
    "boxes": _boxes,
}
