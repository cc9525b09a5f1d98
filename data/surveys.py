"""What each layout holds at a root: its splits, class lists and annotations, with every problem noted, none raised."""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from twinbench.data import coco, voc
from twinbench.data.errors import DataError, unreadable
from twinbench.data.imagenet import CLASSES, LISTS, LISTS_SHA256, list_sha256
from twinbench.data.items import ImageList
from twinbench.data.layouts import read_labelled

OPTIONAL = {"1percent.txt": 12_811, "10percent.txt": 128_116}  # SimCLR's lists, counted where they are
EXPECTED = {
    # layout: images per split and classes of the published data set
    "imagenet": {"train": 1_281_167, "val": 50_000, "classes": CLASSES} | OPTIONAL,  # ILSVRC 2012
    "voc07": {"2007-trainval": 5011, "2007-test": 4952, "classes": 20},
    "voc": {"2007-trainval": 5011, "2007-test": 4952, "2012-trainval": 11_540, "trainval07+12": 16_551, "classes": 20},
    "coco": {"train": 118_287, "val": 5000, "classes": 80},  # COCO 2017
    "inat": {"train": 437_513, "val": 24_426, "classes": 8142},  # iNaturalist 2018
    "places": {"train": 2_448_873, "val": 20_500, "classes": 205},  # Places205
}
SHOWN = 3  # examples of each kind of problem; a missing folder can make millions


@dataclass(frozen=True)
class Split:
    """The image files that should be there, and where annotations say so their (width, height)."""

    paths: ImageList
    sizes: Sequence[tuple[int, int]] = ()


@dataclass
class Problem:
    """One kind of problem: how often it was met, and the first few places."""

    kind: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Survey:
    """The findings: image and class counts, the files of each split, and what is wrong."""

    counts: dict[str, int] = field(default_factory=dict)
    splits: list[Split] = field(default_factory=list)
    problems: dict[str, Problem] = field(default_factory=dict)

    def note(self, kind: str, line: str) -> None:
        """Note one problem: a line that says where it is, what was expected and what to do."""
        problem = self.problems.setdefault(kind, Problem(kind))
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
        if self.counts.setdefault("classes", len(classes)) != len(classes):
            self.note("classes", f"{split} has {len(classes)} classes, other splits have {self.counts['classes']}")


def survey(layout: str, root: Path) -> Survey:
    """Return what is found at `root`; `layout` is a key of EXPECTED."""
    findings = Survey()
    _SURVEYS[layout](root, findings)
    return findings


def _labelled(layout: str, root: Path, findings: Survey) -> None:
    """Survey a layout with one class an image."""
    for split, name in (("train", "train"), ("test", "val")):
        with findings.noting("layout"):
            images = read_labelled(layout, root, split)
            findings.add(name, Split(images.paths), images.classes)


def _imagenet(root: Path, findings: Survey) -> None:
    """Survey ImageNet, and the lists of 1 % and 10 % where they are."""
    _labelled("imagenet", root, findings)
    for fraction, name in LISTS.items():
        if "train" in findings.counts and os.path.lexists(root / name):
            with findings.noting("lists"):
                findings.counts[name] = len(read_labelled("imagenet", root, "train", fraction).paths)
                found = list_sha256(root / name)
                if findings.counts["classes"] == EXPECTED["imagenet"]["classes"] and found != LISTS_SHA256[name]:
                    findings.note(
                        "lists",
                        f"{root / name}: sha256 {found[:12]}..., expected SimCLR's {LISTS_SHA256[name][:12]}...; "
                        f"published numbers rest on that list: `twinbench data lists FOLDER` fetches it",
                    )


def _voc(parts: Sequence[tuple[int, str]], root: Path, findings: Survey) -> None:
    """Survey splits of a VOC devkit: image lists, class lists and every annotation."""
    for year, split in parts:
        with findings.noting("layout"):
            ids, classes = voc.image_ids(root, year, split), voc.class_names(root, year, split)
            folder = voc.year_folder(root, year)
            findings.add(f"{year}-{split}", Split(voc.image_files(root, year, ids)), classes)
            for title in classes:
                with findings.noting("class lists"):
                    voc.read_class_list(folder / "ImageSets" / "Main" / f"{title}_{split}.txt", ids)
            known = set(classes)
            for name in ids:
                with findings.noting("annotations"):
                    voc.check_annotation(folder / "Annotations" / f"{name}.xml", known, year == voc.EVALUATED_YEAR)
    if len(parts) == 3:
        findings.counts["trainval07+12"] = sum(findings.counts.get(f"{year}-trainval", 0) for year in (2007, 2012))


def _coco(root: Path, findings: Survey) -> None:
    """Survey COCO: images, classes and every annotation."""
    for split in ("train", "val"):
        with findings.noting("layout"):
            part = coco.read_coco(root, split)
            findings.add(split, Split(part.paths, part.sizes), part.classes)
            for problem in part.problems:
                findings.note("annotations", problem)


_VOC07 = ((2007, "trainval"), (2007, "test"))
_SURVEYS: dict[str, Callable[[Path, Survey], None]] = {
    "imagenet": _imagenet,
    "voc07": partial(_voc, _VOC07),
    "voc": partial(_voc, (*_VOC07, (2012, "trainval"))),
    "coco": _coco,
    "inat": partial(_labelled, "inat"),
    "places": partial(_labelled, "places"),
}
