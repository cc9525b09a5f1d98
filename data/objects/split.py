"""What is found of one split before its annotations are read, and how a reader tells what it meets."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from twinbench.data.errors import DataError
from twinbench.data.objects.packed import Record
from twinbench.data.paths import PathList

Measure = Literal["box", "mask", "keypoint"]
Rule = Literal["voc-11-points", "voc-area", "coco", "lvis", "cityscapes"]  # whose average precision


@dataclass
class Findings:
    """What a reader meets. A problem ends a worker's reading with one line; `data check` notes all and reads on.

    `assumed` counts what a file leaves out or has beside the rule, by the words that a result says it in.
    """

    note: Callable[[str, str], None] | None = None  # (kind, line) of a problem; None: it is raised
    assumed: Counter[str] = field(default_factory=Counter[str])

    def problem(self, kind: str, line: str) -> None:
        """Tell what no training or evaluation could use."""
        if self.note is None:
            raise DataError(line)
        self.note(kind, line)

    def assume(self, words: str) -> None:
        """Count one more case of a default that was taken."""
        self.assumed[words] += 1

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the result must know, in the order of the words."""
        return tuple(f"{count} {words}" for words, count in sorted(self.assumed.items()))


@dataclass(frozen=True)
class KeypointNames:
    """The keypoints of the one class that has some: their names, and which are left and right of each other."""

    names: tuple[str, ...]
    flips: tuple[tuple[str, str], ...]
    sigmas: tuple[float, ...]


@dataclass(frozen=True)
class ObjectSplit:
    """One split: its images, the files that say what is on them, and how these are read.

    `annotations` are one file for each image, or `shared` is one for all of them. `read` yields the images' records in
    the order of `paths`: (Findings, what is measured) -> records.
    """

    root: Path  # of the data set: names in the identity start here
    paths: PathList
    classes: tuple[str, ...]
    measures: tuple[Measure, ...]  # what the annotations hold
    read: Callable[[Findings, tuple[str, ...]], Iterator[Record]]
    annotations: tuple[Path, ...] = ()
    shared: Path | None = None
    rule: Rule = "coco"
    keypoints: KeypointNames | None = None
    category_ids: tuple[int, ...] = ()  # what the file calls each class; empty: 1, 2, ...
    frequencies: tuple[str, ...] = ()  # of LVIS's classes: r, c or f
    lists: tuple[Path, ...] = ()  # the files that say which images are part of it

    @property
    def files(self) -> tuple[Path, ...]:
        """Return every annotation file."""
        return (self.shared,) if self.shared else self.annotations
