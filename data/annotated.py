"""Images with boxes, as far as an identity needs them: which images, and what the annotations say, as a digest.

| layout | train                                                    | test         | annotations            |
|--------|----------------------------------------------------------|--------------|------------------------|
| voc    | VOC2007 trainval, and VOC2012 trainval where it is there | VOC2007 test | an XML file an image   |
| coco   | train2017                                                | val2017      | a JSON file a split    |
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from twinbench.data.errors import DataError, read_text, unreadable
from twinbench.data.folders import voc
from twinbench.data.folders.coco import read_coco_images
from twinbench.data.paths import PathList
from twinbench.data.sizes import in_order, size
from twinbench.protocols.house import unknown
from twinbench.runtime.download import digest

Item = tuple[str, int, object]  # of an identity: relative path, size in bytes, labels


@dataclass(frozen=True)
class AnnotatedImages:
    """One split: the images below the data set's root, and the files that say what is on them."""

    paths: PathList
    classes: tuple[str, ...]
    annotations: tuple[Path, ...] = ()  # one for each image ...
    shared: Path | None = None  # ... or one for all of them

    @property
    def root(self) -> Path:
        """Return the folder that the names in the identity are relative to."""
        return self.paths.root

    @property
    def files(self) -> tuple[Path, ...]:
        """Return every annotation file."""
        return (self.shared,) if self.shared else self.annotations

    def items(self) -> Iterator[Item]:
        """Yield the items of the identity.

        Each image with the sha256 of its annotation; or first the shared file with its sha256, then the images.
        """
        if self.shared:
            yield self.shared.relative_to(self.root).as_posix(), size(self.shared), digest(self.shared, "sha256")
            labels = repeat(None, len(self.paths))
        else:
            labels = in_order(lambda index: _text_sha256(self.annotations[index]), len(self.paths))
        for index, (count, label) in enumerate(zip(self.paths.sizes(), labels, strict=True)):
            yield self.paths.name(index), count, label


def read_annotated(layout: str, root: Path, split: str) -> AnnotatedImages:
    """Return the `train` or `test` split of a detection data set; DataError names what does not fit."""
    if layout not in READERS:
        raise DataError(unknown("layout with boxes", layout, READERS))
    try:
        return READERS[layout](root, split)
    except OSError as error:
        raise unreadable(error) from None


def _read_voc(root: Path, split: str) -> AnnotatedImages:
    """Return VOC's images, those of 2007 first, each year by image id."""
    devkit = voc.year_folder(root, 2007).parent
    names: list[str] = []
    annotations: list[Path] = []
    for year, part in voc.detection_parts(devkit)[split]:
        folder = devkit / f"VOC{year}"
        for name in voc.image_ids(devkit, year, part):
            names.append(f"VOC{year}/JPEGImages/{name}.jpg")
            annotations.append(folder / "Annotations" / f"{name}.xml")
    return AnnotatedImages(PathList(devkit, names), voc.object_classes(devkit), annotations=tuple(annotations))


def _read_coco(root: Path, split: str) -> AnnotatedImages:
    """Return COCO's images by id."""
    part = {"train": "train", "test": "val"}[split]
    file, names, classes = read_coco_images(root, part)
    return AnnotatedImages(PathList(root, (f"{part}2017/{name}" for name in names)), classes, shared=file)


def _text_sha256(path: Path) -> str:
    """Return the sha256 of an annotation's text."""
    text = read_text(path, "expected an annotation for each image; unpack the data set again", voc.MAX_XML_BYTES)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


READERS: dict[str, Callable[[Path, str], AnnotatedImages]] = {"voc": _read_voc, "coco": _read_coco}
