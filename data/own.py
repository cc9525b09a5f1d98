"""A user's own data: which layout it has, and which of its files is meant where the published name is not there."""

from pathlib import Path

from twinbench.data.errors import DataError, unreadable
from twinbench.data.source import Source
from twinbench.protocols.house import unknown

PREFIXES = {"train": ("train",), "test": ("val", "test")}

# task: the layouts that hold its data, and what each is known by
KNOWN_BY = {
    "classification": {
        "imagenet": "train/<class>/ beside val/<class>/ or test/<class>/",
        "inat": "train*.json",
        "places": "train*.csv",
        "voc": "VOC2007/",
    },
    "detection": {
        "voc": "VOC2007/",
        "coco": "annotations/instances_*.json",
    },
}


def layout_of(given: str, source: Source, task: str = "classification") -> str:
    """Return the layout of a folder: the one that is `given`, or else seen from it; of other sources their form."""
    if not source.is_folder:
        return source.form
    return given or sniff_layout(source.path, task)


def sniff_layout(root: Path, task: str) -> str:
    """Return the layout of the data at `root`, of those that hold data of `task`; DataError unless it is just one."""
    if task not in KNOWN_BY:
        raise DataError(unknown("task", task, KNOWN_BY))
    if not root.is_dir():
        state = "not a folder" if root.exists() else "no such folder"
        raise DataError(f"{root}: {state}; expected the folder that holds a data set for {task}; check the path")
    signs = KNOWN_BY[task]
    try:
        found = [layout for layout in signs if _SNIFFERS[layout](root)]
    except OSError as error:
        raise unreadable(error) from None
    if len(found) == 1:
        return found[0]
    looked_for = ", ".join(f"{sign} ({layout})" for layout, sign in signs.items())
    if found:
        raise DataError(
            f"{root}: both {found[0]} and {found[1]}; looked for {looked_for}; give a folder that holds one"
        )
    raise DataError(f"{root}: no data for {task}; looked for {looked_for}; give the data set's root folder")


def _is_imagenet(root: Path) -> bool:
    return _has_folders(root / "train") and (_has_folders(root / "val") or _has_folders(root / "test"))


def _is_inat(root: Path) -> bool:
    return any(root.glob("train*.json"))


def _is_places(root: Path) -> bool:
    return any(root.glob("train*.csv")) or (root / "trainvalsplit_places205").is_dir()


def _is_voc(root: Path) -> bool:
    return (root / "VOC2007").is_dir() or (root / "VOCdevkit" / "VOC2007").is_dir()


def _is_coco(root: Path) -> bool:
    return any(root.glob("annotations/instances_*.json"))


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())


_SNIFFERS = {"imagenet": _is_imagenet, "inat": _is_inat, "places": _is_places, "voc": _is_voc, "coco": _is_coco}


def split_file(root: Path, split: str, published: str) -> Path:
    """Return the list of a split in `root`: the one of the `published` name, or the only one called like the split.

    The published name, too, where there is none.
    """
    if (root / published).exists():
        return root / published
    suffix = Path(published).suffix
    for prefix in PREFIXES[split]:
        found = sorted(root.glob(f"{prefix}*{suffix}"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:3])
            raise DataError(f"{root}: {len(found)} lists for {split}: {names}; expected one; move the others away")
        if found:
            return found[0]
    return root / published
