"""A trial run on few images: `DATA?limit=N`, at most N of each split, spread evenly over its order.

The readers of all tasks end here, so that one piece of code says which images these are. An identity of limited data
begins with the limit: it is never that of the whole data, also where a split has no more than N images.
"""

from collections.abc import Iterator
from dataclasses import replace

from twinbench.data.labelled import LabelledImages
from twinbench.data.objects.packed import Record
from twinbench.data.objects.split import Findings, ObjectSplit
from twinbench.data.pixels.split import PixelImages
from twinbench.data.source import LIMIT, Source

Mark = tuple[str, int, object]  # an item of an identity that is no image


def mark(source: Source) -> tuple[Mark, ...]:
    """Return what the identity of each split begins with; nothing of whole data."""
    return ((LIMIT, source.limit, None),) if source.limit else ()


def places(images: int, limit: int) -> list[int]:
    """Return the places of at most `limit` of so many images, as evenly spread as whole numbers are.

    Class folders follow each other: the first N images of ImageNet are of one class.
    """
    kept = min(images, limit)
    return [number * images // kept for number in range(kept)]


def limited_labels(images: LabelledImages, source: Source) -> LabelledImages:
    """Return the images of a split, or those within the source's limit."""
    if not source.limit:
        return images
    kept = places(len(images.paths), source.limit)
    return replace(images, paths=images.paths.select(kept), targets=images.targets[kept])


def limited_pixels(found: PixelImages, source: Source) -> PixelImages:
    """Return the images with their masks, or those within the source's limit."""
    if not source.limit:
        return found
    kept = places(len(found.paths), source.limit)
    return replace(found, paths=found.paths.select(kept), masks=found.masks.select(kept))


def limited_objects(found: ObjectSplit, source: Source) -> ObjectSplit:
    """Return the images with their annotations, or those within the source's limit."""
    return part_of(found, places(len(found.paths), source.limit)) if source.limit else found


def part_of(found: ObjectSplit, chosen: list[int]) -> ObjectSplit:
    """Return the images at these places, in ascending order, with their annotations."""

    def read(findings: Findings, measures: tuple[str, ...]) -> Iterator[Record]:
        wanted = set(chosen)
        for index, record in enumerate(found.read(findings, measures)):
            if index in wanted:
                yield record

    annotations = tuple(found.annotations[index] for index in chosen) if found.annotations else ()
    return replace(found, paths=found.paths.select(chosen), annotations=annotations, read=read)
