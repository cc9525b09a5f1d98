"""What a check is about: which data set, how its source is gone through, and what a complete copy holds.

A check is asked for by the name of a data set (`oxford-pets`), by a layout (`coco`, which means the published set of
that layout), as a `pool` of images to pretrain on, as `boxes` whose labels as classified images do not matter, as
`pixels` with masks beside the images, as `depth` with maps of it, or by none of these: then the layout is seen from the
folder, and the counts tell which set it may be.
"""

from dataclasses import dataclass, field

from twinbench.data.errors import DataError
from twinbench.data.folders.own import sniff_layout
from twinbench.data.objects.find import objects_layout
from twinbench.data.pixels.read import READERS as PIXEL_LAYOUTS
from twinbench.data.scenes.make import read_marker
from twinbench.data.source import Source
from twinbench.protocols.datasets import DATA_SETS, DataSet
from twinbench.protocols.datasets.entry import FOLDER
from twinbench.protocols.house import unknown

LAYOUTS = {  # what a layout's name alone stands for
    "imagenet": "imagenet",
    "voc07": "voc07",
    "voc": "voc0712",
    "coco": "coco17",
    "inat": "inat18",
    "places": "places205",
}
POOL = "pool"
BOXES = "boxes"  # one class on every image trains a detector, and is no data for a classifier
PIXELS = "pixels"  # images with masks, in whichever layout
DEPTH = "depth"  # images with depth, in whichever layout
OPTIONAL = {"1percent.txt": 12_811, "10percent.txt": 128_116}  # SimCLR's lists, counted where they are
PARTS = {  # of COCO: which way through them goes through the images that its list names
    entry.subset: f"coco {entry.subset}"
    for entry in DATA_SETS.values()
    if entry.layout == "coco" and entry.subset != "100%"
}
# Whose survey counts its splits as train and val.
TRAIN_AND_VAL = (
    "coco",
    *PARTS.values(),
    "coco-keypoints",
    "lvis",
    "cityscapes",
    "inat",
    "places",
    *PIXEL_LAYOUTS,
)
LISTS = {"10%": "10percent.txt", "1%": "1percent.txt"}


@dataclass(frozen=True)
class Target:
    """One data set to check. `expected` are the counts of a complete copy, by the names that the survey counts by."""

    title: str  # for people
    source: Source
    way: str  # a key of SURVEYS
    entry: DataSet | None = None
    expected: dict[str, int] = field(default_factory=dict)
    expected_from: str = "nothing: own data"

    @property
    def optional(self) -> set[str]:
        """The counts that a complete copy need not have: SimCLR's lists, but for the one that the data set is."""
        subset = self.entry.subset if self.entry else "100%"
        return OPTIONAL.keys() - {LISTS.get(subset, "")}


def target(what: str, source: Source) -> Target:
    """Return what is checked when `source` is said to be `what`: a data set's name, a layout's, or nothing."""
    if what == POOL:
        return Target("images to pretrain on", source, POOL)
    if what == BOXES:
        return Target(f"boxes in {objects_layout('', source)} layout", source, BOXES)
    if what == PIXELS:
        layout = sniff_layout(source, "segmentation")
        return Target(f"masks in {layout} layout", source, layout)
    if what == DEPTH:
        layout = sniff_layout(source, "depth")
        return Target(f"depth in {layout} layout", source, layout)
    if what not in LAYOUTS and what not in DATA_SETS:
        if what:
            raise DataError(
                unknown(
                    "layout or data set",
                    what,
                    {POOL, BOXES, PIXELS, DEPTH, *LAYOUTS, *DATA_SETS},
                    "twinbench data list",
                )
            )
        return _seen(source)
    entry = DATA_SETS[LAYOUTS.get(what, what)]
    source, way = _read_by(entry, source)
    expected = expected_counts(entry, way)
    if marked := _marked(source, expected):
        return Target(what, source, way, entry, marked, "the demo scenes' marker")
    return Target(what, source, way, entry, expected, entry.about.source or "its entry")


def expected_counts(entry: DataSet, way: str) -> dict[str, int]:
    """Return what a complete copy of a data set holds, by the names of its splits in a survey."""
    if not entry.is_counted:
        return {}
    train, test = entry.images
    found = {"train": train, "test": test}
    if way == "imagenet":
        found = {"train": train, "val": test}
        if entry.subset != "100%":  # the list is beside the whole data set, which is checked, too
            whole = DATA_SETS[entry.name.rpartition("-")[0]]
            found = {"train": whole.images[0], "val": test, LISTS[entry.subset]: train}
        elif entry.name == "imagenet":
            found |= OPTIONAL
    elif way in TRAIN_AND_VAL:
        found = {"train": train, "val": test}
    elif way == "voc07":
        found = {"2007-trainval": train, "2007-test": test}
    elif way == "voc":
        found = {**dict(entry.about.splits), "trainval07+12": train, "2007-test": test}
    elif entry.trains_on:
        found = {"test": test}
    return {name: count for name, count in (found | {"classes": entry.classes}).items() if count}


def _seen(source: Source) -> Target:
    """Return the target for data of which nothing was said."""
    if not source.is_folder:
        return Target(source.form, source, "labelled")
    masks = _layout_of(source, "segmentation")
    depth = _layout_of(source, "depth")
    if depth and masks == PIXELS:
        raise DataError(
            f"{source}: holds masks and maps of depth beside its images; expected one of them to be asked for: "
            f"twinbench data check {PIXELS} {source}, or {DEPTH}"
        )
    if depth or masks == PIXELS:  # train/images beside train/masks are two class folders, too
        return Target(f"{depth or masks} layout", source, depth or masks)
    try:
        layout = sniff_layout(source, "classification")
    except DataError as error:
        layout = _layout_of(source, "detection") or masks
        if not layout:
            raise DataError(f"{error}; to check images to pretrain on: twinbench data check {POOL} {source}") from None
    return Target(f"{layout} layout", source, "own voc" if layout == "voc" else layout)


def _layout_of(source: Source, task: str) -> str:
    """Return the layout of a folder that holds data of `task`; nothing for any other."""
    try:
        return sniff_layout(source, task)
    except DataError:
        return ""


def _read_by(entry: DataSet, source: Source) -> tuple[Source, str]:
    """Return where the copy of a data set is read from, and by which survey."""
    if not source.is_folder:
        return source, "labelled"
    if entry.layout == "voc":
        return source, "voc07" if entry.tasks == ("multi-label",) else "voc"
    if entry.layout:
        return source, PARTS.get(entry.subset, "coco") if entry.layout == "coco" else entry.layout
    if entry.about.form and not _has_layout(source):
        form = entry.about.form.replace(FOLDER, source.place)
        return Source.of(form), "labelled"
    return source, "labelled"


def _has_layout(source: Source) -> bool:
    """Say whether a folder is in one of the layouts, whatever the copies of its data set are usually like."""
    try:
        return bool(sniff_layout(source, "classification"))
    except DataError:
        if not source.path.is_dir():
            raise
        return False


def _marked(source: Source, expected: dict[str, int]) -> dict[str, int]:
    """Return the counts that the demo scenes say of themselves; nothing for other data."""
    if not source.is_folder:
        return {}
    for tree in (source.path, source.path / "VOCdevkit"):
        if marker := read_marker(tree):
            counts = {split: count for split, count in marker["images"].items() if split in expected}
            if "trainval07+12" in expected:
                counts["trainval07+12"] = counts["2007-trainval"] + counts["2012-trainval"]
            return {**counts, "classes": 10}
    return {}
