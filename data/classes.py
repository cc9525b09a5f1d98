"""The classes to keep, `?classes=FILE`: one rule for every layout and form.

The file holds one class name a line (ImageNet-100's lists do); what follows a name after a blank is a remark, as in
`n01440764 tench`, unless the whole line is a class. Classes keep the data set's order, whatever the list's: labels do
not depend on how somebody wrote the list. Images of one class each stay if their class does; images of several classes
all stay, with the labels of the classes kept.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from twinbench.data.errors import DataError, read_lines
from twinbench.data.labelled import LabelledImages
from twinbench.data.source import Source

OTHERS = "images of classes that are not on the list"


def kept_classes(classes: Sequence[str], source: Source) -> tuple[str, ...]:
    """Return those of `classes` that the source keeps, in their order; DataError for a list that does not fit."""
    file = source.options.get("classes", "")
    if not file:
        return tuple(classes)
    listed = _listed(Path(file), frozenset(classes))
    return tuple(name for name in classes if name in listed)


def keep_classes(images: LabelledImages, source: Source) -> LabelledImages:
    """Return the images of the classes that the source keeps; of all, where it has no list."""
    file = source.options.get("classes", "")
    if not file:
        return images
    listed = _listed(Path(file), frozenset(images.classes))
    columns = [index for index, name in enumerate(images.classes) if name in listed]
    sources = (*images.sources, Path(file))
    classes = tuple(images.classes[index] for index in columns)
    if images.targets.ndim > 1:
        return replace(images, targets=images.targets[:, columns], classes=classes, sources=sources)
    kept = np.isin(images.targets, columns)
    if kept.all():
        paths, targets, left_out = images.paths, images.targets, images.left_out
    else:
        paths = images.paths.select(np.flatnonzero(kept).tolist())
        targets, left_out = images.targets[kept], images.left_out | {OTHERS: int((~kept).sum())}
    targets = np.searchsorted(columns, targets).astype(np.int64)
    return replace(images, paths=paths, targets=targets, classes=classes, sources=sources, left_out=left_out)


def _listed(path: Path, known: Collection[str]) -> set[str]:
    """Return the classes on the list; DataError for one that is not known, and for an empty list."""
    listed: set[str] = set()
    for line in read_lines(path, "expected the classes to keep, one name a line"):
        name = line if line in known else line.split()[0]
        if name not in known:
            shown = ", ".join(sorted(known)[:3])
            raise DataError(
                f"{path}: '{line[:80]}' is no class of the data; expected one name a line, of {len(known)} such as"
                f" {shown}; correct the list"
            )
        listed.add(name)
    if not listed:
        raise DataError(f"{path}: an empty list; expected the classes to keep, one name a line")
    return listed
