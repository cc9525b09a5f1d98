"""A val/ that is not sorted into class folders, with a file beside it or in it that names each image's class.

| file                            | lines                                           | found in                     |
|---------------------------------|-------------------------------------------------|------------------------------|
| val.txt (Caffe's)               | `ILSVRC2012_val_00000001.JPEG 65`               | ImageNet as published        |
| val.txt, labels alone           | `65`, a line for each image in order of names   | timm#1081                    |
| val_annotations.txt             | `val_0.JPEG n03444034 0 32 44 62`, tabs between | Tiny ImageNet, val/images/   |
| LOC_val_solution.csv            | `ILSVRC2012_val_00048981,n03995372 85 1 499 272`| Kaggle's ImageNet            |

A class is the name of a training class folder, or its number from 0 in the order of their names. The numbers 1 to K
are refused: ILSVRC's own ground truth counts so, in an order of its own, and every label would be wrong.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from twinbench.data.errors import DataError, read_lines
from twinbench.data.folders.walk import Walk
from twinbench.data.labelled import LabelledImages, as_targets
from twinbench.data.paths import PathList
from twinbench.data.source import Source

INNER = "images"  # Tiny ImageNet's folder in val/


def has_flat_images(folder: Path, classes: Sequence[str]) -> bool:
    """Say whether a split's folder holds images instead of class folders."""
    inner = Walk(folder.parent).classes(folder)
    return not inner or (inner == (INNER,) and INNER not in classes)


def read_flat(source: Source, folder: Path, classes: tuple[str, ...]) -> LabelledImages:
    """Return the images of `folder` in the order of their names, with the classes that a file names."""
    file = _label_file(source.path, folder)
    walk = Walk(source.path)
    names = list(walk.images(folder))
    numbers = {name: number for number, name in enumerate(classes)}
    if "classes" not in source.options:  # with it, the file's numbers count classes that are left out
        numbers = {str(number): number for number in range(len(classes))} | numbers
    texts = _texts(file, names, numbers)
    if "classes" in source.options:
        names = [name for name in names if texts[name] in numbers]
    _require_from_zero(file, set(texts.values()), numbers, len(classes))
    for name in names:
        if texts[name] not in numbers:
            raise DataError(
                f"{file}: class '{texts[name][:80]}' of {name} is none of train's; expected one of {len(classes)}"
                f" folder names such as {classes[0]}, or a number from 0 to {len(classes) - 1}; correct the list"
            )
    if not names:
        raise DataError(f"{folder}: no images of the classes in it; expected some; is the data set complete?")
    return LabelledImages(
        PathList(folder, names),
        as_targets([numbers[texts[name]] for name in names]),
        classes,
        root=source.path,
        sources=(file, folder, *walk.empty),
        left_out=dict(walk.left_out),
    )


def _label_file(root: Path, folder: Path) -> Path:
    """Return the file with the labels of the images in `folder`; DataError if there is none."""
    part = folder.name
    looked_for = (f"{part}.txt", f"{part}_annotations.txt", f"{part}_labels.txt", f"LOC_{part}_solution.csv")
    for place in (root, folder):
        for name in looked_for:
            if (place / name).is_file():
                return place / name
    raise DataError(
        f"{folder}: no class folders in it, and none of {', '.join(looked_for)} beside it; ImageNet's val images must"
        " be sorted into class folders, or named with their classes in such a file"
    )


def _texts(file: Path, names: Sequence[str], numbers: Collection[str]) -> dict[str, str]:
    """Return image name -> what the file says its class is; DataError unless it says so of each image."""
    lines = read_lines(file, "expected an image and its class a line")
    if all(line in numbers or not set(line) & set(" ,\t") for line in lines):
        if len(lines) != len(names):
            raise DataError(
                f"{file}: {len(lines)} labels for {len(names)} images; expected one for each image in the order of"
                " their names, or an image and its class a line"
            )
        return dict(zip(names, lines, strict=True))
    said = dict(_divided(line, numbers) for line in lines)
    found: dict[str, str] = {}
    for name in names:
        last = name.rpartition("/")[2]
        called = (name, f"{file.stem}/{name}", last, last.rpartition(".")[0])
        text = next((said[known] for known in called if known in said), None)
        if text is None:
            raise DataError(f"{file}: no class for {name}, of {len(said)} named; expected one for each image")
        found[name] = text
    return found


def _divided(line: str, numbers: Collection[str]) -> tuple[str, str]:
    """Return the image's name and its class; what stands behind the class, such as a box, is left out."""
    for between in ("\t", ","):
        if between in line:
            name, _, rest = line.partition(between)
            break
    else:
        name, _, rest = line.rpartition(" ")
    rest = rest.partition("\t")[0].strip()
    first = rest.split()[0] if rest else ""
    return name.strip(), first if rest not in numbers and first in numbers else rest


def _require_from_zero(file: Path, texts: set[str], numbers: Collection[str], classes: int) -> None:
    """Raise DataError for labels that count from 1."""
    top = str(classes)
    if "0" in numbers and top in texts and top not in numbers and "0" not in texts:
        raise DataError(
            f"{file}: labels up to {top}; expected 0 to {classes - 1}, in the order of the class folders' names;"
            " ILSVRC's ground truth counts from 1 in an order of its own: take a list that names the classes"
        )
