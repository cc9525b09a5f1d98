"""A user's own data: which layout it has, and which of its files is meant where the published name is not there."""

from pathlib import Path

from twinbench.data.errors import DataError, require_is_folder, unreadable
from twinbench.data.folders import voc
from twinbench.data.folders.leavings import is_leaving
from twinbench.data.lists.suggest import suggested
from twinbench.data.pixels.ade20k import is_ade20k
from twinbench.data.pixels.coco_stuff import is_coco_stuff
from twinbench.data.pixels.depths import is_depth, is_nyuv2_depth
from twinbench.data.pixels.folders import find_folders
from twinbench.data.pixels.nyuv2 import is_nyuv2
from twinbench.data.pixels.voc import find_lists
from twinbench.data.source import Source
from twinbench.protocols.house import unknown

PREFIXES = {"train": ("train",), "test": ("val", "test")}

# task: the layouts that hold its data, and what each is known by
KNOWN_BY = {
    "classification": {
        "imagenet": "train/<class>/ beside val/<class>/ or test/<class>/",
        "inat": "train*.json",
        "places": "train*.csv",
        "voc": "VOC2007/ or another folder with ImageSets/Main and JPEGImages",
    },
    "detection": {
        "voc": "VOC2007/ or another folder with ImageSets/Main and JPEGImages, or images beside XML files in train/",
        "coco": "annotations/*.json, or a .json in train/",
        "lvis": "annotations/lvis_*.json and no others",
        "cityscapes": "leftImg8bit/ beside gtFine/",
    },
    "segmentation": {
        "voc-pixels": "VOC2012/ or a folder itself with ImageSets/Segmentation",
        "cityscapes-pixels": "leftImg8bit/ beside gtFine/",
        "ade20k-pixels": "objectInfo150.txt with images/training/ and annotations/training/",
        "coco-stuff-pixels": "[images/]train2017/ beside annotations/train2017/ or stuffthingmaps/train2017/",
        "nyuv2-pixels": "train.txt with RGB/ and Label/, or train/rgb/ beside train/labels_40/",
        "pixels": "images/train/ beside masks/train/, train/images/ beside train/masks/, or NAME_mask.png in train/",
    },
    "depth": {
        "nyuv2-depth": "nyu_train.txt",
        "depth": "images/train/ beside depth/train/, or train/images/ beside train/depth/",
    },
}


def layout_of(given: str, source: Source, task: str = "classification") -> str:
    """Return the layout of a folder: the one that is `given`, or else seen from it; of other sources their form."""
    if not source.is_folder:
        return source.form
    return given or sniff_layout(source, task)


def layout_of_tested(given: str, source: Source, own: str) -> str:
    """Return the layout of a set that only tests: the `given` one; else as `layout_of` sees it, or else its `own`."""
    if given or not source.is_folder:
        return layout_of(given, source)
    require_is_folder(source.path, "a data set for classification")
    try:
        return sniff_layout(source, "classification")
    except DataError:
        return own


def sniff_layout(data: Path | Source, task: str) -> str:
    """Return the layout of the folder `data`, of those that hold data of `task`; DataError unless it is just one."""
    source = Source.of(data)
    root = source.path
    if task not in KNOWN_BY:
        raise DataError(unknown("task", task, KNOWN_BY))
    require_is_folder(root, f"a data set for {task}")
    signs = KNOWN_BY[task]
    try:
        found = [layout for layout in signs if _SNIFFERS[task][layout](source)]
    except OSError as error:
        raise unreadable(error) from None
    if len(found) == 1:
        return found[0]
    looked_for = ", ".join(f"{sign} ({layout})" for layout, sign in signs.items())
    if found:
        raise DataError(
            f"{root}: both {found[0]} and {found[1]}; looked for {looked_for}; give a folder that holds one"
        )
    hint = (suggested(root) if task == "classification" else "") or "give the data set's root folder"
    raise DataError(f"{root}: no data for {task}; looked for {looked_for}; {hint}")


def _is_imagenet(source: Source) -> bool:
    tests = [source.named("test")] if source.named("test") else ["val", "valid", "validation", "test"]
    train = source.path / (source.named("train") or "train")
    return _has_folders(train) and any((source.path / test).is_dir() for test in tests)


def _is_inat(source: Source) -> bool:
    return _has_list(source, ".json")


def _is_places(source: Source) -> bool:
    if (source.path / "trainvalsplit_places205").is_dir():
        return True
    lists = list(source.path.glob("train*.csv"))
    return _has_list(source, ".csv") and not (lists and all(map(_has_header, lists)))


def _is_voc(source: Source) -> bool:
    devkits = [source.path, source.path / "VOCdevkit"]
    return any(_is_voc_folder(folder) for devkit in devkits for folder in (devkit, *_folders(devkit)))


def _is_coco(source: Source) -> bool:
    return bool(_json_files(source)) and not _is_lvis(source)


def _is_lvis(source: Source) -> bool:
    files = _json_files(source)
    return bool(files) and all(path.name.startswith("lvis_") for path in files)


def _json_files(source: Source) -> list[Path]:
    folders = ("annotations", source.named("train") or "train")
    return [path for folder in folders for path in (source.path / folder).glob("*.json")]


def _is_voc_of_boxes(source: Source) -> bool:
    return _is_voc(source) or voc.is_flat(source.path / (source.named("train") or "train"))


def _is_voc_pixels(source: Source) -> bool:
    return find_lists(source) is not None


def _is_cityscapes(source: Source) -> bool:
    return all((source.path / folder).is_dir() for folder in ("leftImg8bit", "gtFine"))


def _is_pixels(source: Source) -> bool:
    return find_folders(source, "train") is not None and not is_ade20k(source)


def _is_voc_folder(folder: Path) -> bool:
    return folder.name == "VOC2007" or ((folder / "ImageSets" / "Main").is_dir() and (folder / "JPEGImages").is_dir())


def _has_list(source: Source, suffix: str) -> bool:
    given = source.named("train")
    if given:
        return (source.path / given).suffix == suffix or (source.path / f"{given}{suffix}").is_file()
    return any(source.path.glob(f"train*{suffix}"))


def _has_header(path: Path) -> bool:
    """Say whether a list begins with the names of columns, or has labels that are names: not as Places205's."""
    if not path.is_file():  # opening a pipe would wait for ever
        return False
    with path.open(errors="replace") as lines:
        first = lines.readline(1000).strip()
    return bool(first) and not first.replace(",", " ").rpartition(" ")[2].isdigit()


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [entry for entry in folder.iterdir() if entry.is_dir() and not is_leaving(entry.name)]


def _has_folders(folder: Path) -> bool:
    return bool(_folders(folder))


_SNIFFERS = {
    "classification": {"imagenet": _is_imagenet, "inat": _is_inat, "places": _is_places, "voc": _is_voc},
    "detection": {"voc": _is_voc_of_boxes, "coco": _is_coco, "lvis": _is_lvis, "cityscapes": _is_cityscapes},
    "segmentation": {
        "voc-pixels": _is_voc_pixels,
        "cityscapes-pixels": _is_cityscapes,
        "ade20k-pixels": is_ade20k,
        "coco-stuff-pixels": is_coco_stuff,
        "nyuv2-pixels": is_nyuv2,
        "pixels": _is_pixels,
    },
    "depth": {"nyuv2-depth": is_nyuv2_depth, "depth": is_depth},
}


def split_file(source: Source, split: str, published: str) -> Path:
    """Return the list of a split: the one that the user names, of the `published` name, or called like the split.

    The published name, too, where there is none.
    """
    root, suffix = source.path, Path(published).suffix
    given = source.named(split)
    if given:
        return _named_file(source, split, given, suffix)
    if (root / published).exists():
        return root / published
    for prefix in PREFIXES[split]:
        found = sorted(root.glob(f"{prefix}*{suffix}"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:3])
            raise DataError(
                f"{root}: {len(found)} lists for {split}: {names}; expected one; name it: DATA?{split}={found[0].name}"
            )
        if found:
            return found[0]
    return root / published


def _named_file(source: Source, split: str, given: str, suffix: str) -> Path:
    """Return the list that the user names, with or without its suffix; DataError if there is none."""
    for name in (given, f"{given}{suffix}"):
        if ".." not in name.split("/") and (source.path / name.lstrip("/")).is_file():
            return source.path / name.lstrip("/")
    raise DataError(f"{source.path}/{given}: no such list; expected a file in the data's folder; check ?{split}=")
