"""Masks in the layout of ADE20K's scene parsing benchmark: images/{training,validation}/ beside annotations/.

A mask has the numbers 1 to 150, and 0 where there is no class (CSAILVision/sceneparsing, README.md). Their names stand
in objectInfo150.txt: a number, shares of pixels and images, and a name a line, under a line of headings.
"""

from pathlib import Path

from twinbench.data.errors import DataError, read_text
from twinbench.data.paths import PathList
from twinbench.data.pixels.colours import palette
from twinbench.data.pixels.numbers import decode_from_1
from twinbench.data.pixels.split import PixelImages
from twinbench.data.source import Source

CLASSES = 150
FOLDER, NAMES = "ADEChallengeData2016", "objectInfo150.txt"
SPLITS = {"train": "training", "test": "validation"}


def find_root(source: Source) -> Path | None:
    """Return the folder with images and annotations; None where there is none."""
    for root in (source.path / FOLDER, source.path):
        if all((root / part / "training").is_dir() for part in ("images", "annotations")):
            return root
    return None


def is_ade20k(source: Source) -> bool:
    """Say whether a folder is a copy of it, rather than other masks in folders of such names."""
    root = find_root(source)
    return root is not None and (root / NAMES).is_file()


def read_ade20k(source: Source, split: str) -> PixelImages:
    """Return ADE20K's training or validation, in the order of the names; DataError where it is not."""
    root = find_root(source)
    if root is None:
        raise DataError(
            f"{source.path}: no images/training beside annotations/training; expected ADEChallengeData2016; unpack it"
        )
    part = SPLITS[split]
    stems = sorted(path.stem for path in (root / "images" / part).glob("*.jpg"))
    if not stems:
        raise DataError(f"{root / 'images' / part}: no *.jpg; expected the images of ADE20K; unpack them again")
    names = root / NAMES
    return PixelImages(
        root,
        PathList(root, (f"images/{part}/{stem}.jpg" for stem in stems)),
        PathList(root, (f"annotations/{part}/{stem}.png" for stem in stems)),
        _classes(names),
        palette(CLASSES),
        decode_from_1(CLASSES),
        lists=(names,) if names.is_file() else (),
    )


def _classes(path: Path) -> tuple[str, ...]:
    """Return the names of the classes, the first of several that each has; their numbers where there is no list."""
    if not path.is_file():
        return tuple(str(number) for number in range(1, CLASSES + 1))
    expected = "expected a number, shares and a name a line, separated by tabs"
    rows = [line.split("\t") for line in read_text(path, expected).splitlines()[1:] if line.strip()]
    if [row[0].strip() for row in rows] != [str(number) for number in range(1, CLASSES + 1)]:
        raise DataError(f"{path}: not the numbers 1 to {CLASSES}; {expected}; fetch it again")
    return tuple(row[-1].split(",")[0].strip() for row in rows)
