"""One split of images with masks: a file of class numbers, or of depth, beside each image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twinbench.data.decode import read_numbers, read_size, upright_size
from twinbench.data.errors import DataError
from twinbench.data.objects.packed import Record
from twinbench.data.paths import PathList

IGNORED = 255  # in what `decode` returns: a pixel without a label
# A mask's file to class numbers (H, W), uint8, IGNORED where there is none; of depth to metres, float32
Decode = Callable[[Path], np.ndarray]


@dataclass(frozen=True)
class PixelImages:
    """The images of a split in their order, with as many masks; maps of depth have no classes."""

    root: Path  # of the data set: names in the identity start here
    paths: PathList
    masks: PathList
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]  # of each class, RGB
    decode: Decode
    lists: tuple[Path, ...] = ()  # files that say what the numbers mean
    # (number, class), of a layout that reads the same files as another one, by other classes
    meaning: tuple[tuple[int, int], ...] = ()
    size: Callable[[Path], tuple[int, int]] = read_size  # (width, height) of a mask

    def records(self) -> Iterator[Record]:
        """Yield each image in Detectron2's form; DataError for one whose mask is missing or has another size."""
        for index in range(len(self.paths)):
            yield self.record(index)

    def record(self, index: int) -> Record:
        """Return one image in Detectron2's form; DataError where its mask is missing or has another size."""
        path, mask = self.paths.one(index), self.masks.one(index)
        width, height = upright_size(path)  # masks are painted on what people see
        found = self.size(mask)
        if found != (width, height):
            raise DataError(
                f"{mask}: {found[0]} x {found[1]} pixels, its image {path.name} has {width} x {height}; expected "
                "the same; fetch both again"
            )
        return {
            "file_name": str(path.absolute()),
            "image_id": path.stem,
            "width": width,
            "height": height,
            "sem_seg_file_name": str(mask.absolute()),
        }


def read_mask(path: Path) -> np.ndarray:
    """Return the numbers in a mask, (H, W) uint8: grey levels, or places in a palette."""
    return read_numbers(path)


def require_known(path: Path, mask: np.ndarray, classes: int) -> np.ndarray:
    """Return the mask (H, W) if each of its numbers is a class or IGNORED; DataError names one that is not."""
    strange = (mask >= classes) & (mask != IGNORED)
    if strange.any():
        raise DataError(
            f"{path}: number {mask[strange].min()} in a mask; expected 0 to {classes - 1}, or {IGNORED} for no label"
        )
    return mask
