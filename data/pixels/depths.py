"""Depth beside images: a map of metres for each, 0 where nothing was measured.

    NYU Depth v2 as BTS made it    nyu_train.txt and nyu_test.txt: an image, its map and a focal length a line
    images/{train,val}/            beside  depth/{train,val}/   one's own
    {train,val}/images/            beside  {train,val}/depth/   one's own

A map is a PNG of 16 bits a pixel, in millimetres, or a .npy of numbers in metres (H, W), and is called like its image.
"""

import tokenize
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from twinbench.data import hints
from twinbench.data.decode import SIXTEEN_BITS, read_numbers, read_size
from twinbench.data.errors import DataError, read_lines
from twinbench.data.folders.walk import Walk
from twinbench.data.paths import PathList
from twinbench.data.pixels.folders import Folders, pair_of_folders
from twinbench.data.pixels.split import PixelImages
from twinbench.data.sizes import in_order, size
from twinbench.data.source import Source

VERSION = "1"  # raised when more is asked: what passed once would pass for ever
LISTS = {"train": "nyu_train.txt", "test": "nyu_test.txt"}
FOLDER = "depth"
ARRAY = ".npy"
SUFFIXES = (".png", ARRAY)
MILLIMETRES = 1000.0  # in a metre
EXPECTED = "images/train beside depth/train, or train/images beside train/depth"
EXPECTED_MAP = "depth in millimetres as a PNG of 16 bits a pixel, or in metres as .npy"


def is_nyuv2_depth(source: Source) -> bool:
    """Say whether a folder has the lists of NYU Depth v2."""
    return (source.path / LISTS["train"]).is_file()


def is_depth(source: Source) -> bool:
    """Say whether a folder holds depth of one's own."""
    return _folders(source, "train") is not None


def read_nyuv2_depth(source: Source, split: str) -> PixelImages:
    """Return NYU Depth v2's train or test, in the order of the sorted list; DataError for a line that is none."""
    path = source.path / LISTS[split]
    lines = sorted(read_lines(path, f"expected NYU Depth v2 as BTS made it, with {LISTS[split]}"))
    images: list[str] = []
    maps: list[str] = []
    for line in lines:
        words = line.split()
        if len(words) != 3:
            raise DataError(f"{path}: '{line[:80]}'; expected an image, its depth and a focal length; fetch it again")
        images.append(words[0].strip("/"))
        maps.append(words[1].strip("/"))
    return _images(source.path, images, maps, (path,))


def read_depth_folders(source: Source, split: str) -> PixelImages:
    """Return a split of a user's own images and depth, in the order of the names."""
    root = source.path
    folders = _folders(source, split)
    if folders is None:
        raise DataError(f"{root}: no images with depth to {split} on; expected {EXPECTED}")
    images = list(Walk(folders.images).images(folders.images))
    image_root, map_root = (folder.relative_to(root).as_posix() for folder in (folders.images, folders.masks))
    names = [_map_name(folders.masks, image) for image in images]
    return _images(
        root, [f"{image_root}/{image}" for image in images], [f"{map_root}/{name}" for name in names], lists=()
    )


def _images(root: Path, images: list[str], maps: list[str], lists: tuple[Path, ...]) -> PixelImages:
    """Return images with their maps; DataError where there are none."""
    if not images:
        raise DataError(f"{root}: no image with depth; expected some; check the path")
    return PixelImages(root, PathList(root, images), PathList(root, maps), (), (), read_depth, lists, size=depth_size)


def _folders(source: Source, split: str) -> Folders | None:
    """Return the folders of a split of one's own; None where there are none."""
    return pair_of_folders(source, split, (FOLDER,), Path.is_dir)


def _map_name(folder: Path, image: str) -> str:
    """Return the name of an image's map; a map that is missing as NAME.png."""
    names = [PurePosixPath(image).with_suffix(suffix).as_posix() for suffix in SUFFIXES]
    return next((name for name in names if (folder / name).is_file()), names[0])


def read_depth(path: Path) -> np.ndarray:
    """Return a map in metres (H, W) float32, 0 where nothing is known; DataError for what is no depth."""
    if path.suffix == ARRAY:
        with np.errstate(over="ignore"):  # too large for float32 is without end: refused below
            found = _array(path).astype(np.float32)
    else:
        found = read_numbers(path, SIXTEEN_BITS, f"{EXPECTED_MAP}; convert it").astype(np.float32) / MILLIMETRES
    if not np.isfinite(found).all() or found.min() < 0:
        raise DataError(f"{path}: a depth that is negative or no number; expected metres, and 0 where none is known")
    return found


def depth_size(path: Path) -> tuple[int, int]:
    """Return width and height of a map without reading its numbers."""
    if path.suffix == ARRAY:
        height, width = _array(path).shape
        return width, height
    return read_size(path)


def _array(path: Path) -> np.ndarray:
    """Return the numbers of a .npy (H, W), which stay on the disk; DataError for another content."""
    size(path)
    try:  # np.load would open an .npz or a torn one by this name, too
        found = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, OverflowError, tokenize.TokenError) as error:
        raise DataError(f"{path}: no readable .npy ({error}); expected {EXPECTED_MAP}; write it again") from None
    if found.ndim != 2 or found.dtype.kind != "f" or not found.size:
        raise DataError(
            f"{path}: {found.dtype} of shape {found.shape}; expected floating-point metres (height, width); convert it"
        )
    return found


def require_depths(source: Source, identity: str, split: str, images: PixelImages) -> list[str]:
    """Return what a reader must know of a split's maps: nothing; DataError for one that is not sound, or no depth.

    Of data of an `identity` that passed once no map is decoded again.
    """
    question = ["maps of depth", VERSION, identity, split]
    if identity and hints.recall(question):
        return []
    began = hints.now()
    problems: list[str] = []
    known = sound_depths(images, problems.append)
    if problems:
        raise DataError(problems[0])
    if not known:
        raise DataError(f"{source}: no map has a depth above 0; expected some to {split} on; check the maps")
    if identity:
        hints.keep(question, True, (), began)
    return []


def sound_depths(images: PixelImages, problem: Callable[[str], None]) -> bool:
    """Decode every map and say whether any depth is known; what is wrong with a map is told to `problem`."""
    known = False
    for found in in_order(partial(_shown, images), len(images.paths)):
        if isinstance(found, str):
            problem(found)
        else:
            known = known or found
    return known


def _shown(images: PixelImages, index: int) -> bool | str:
    """Say whether a map has a known depth, or return what is wrong with it."""
    try:
        images.record(index)
        return bool(images.decode(images.masks.one(index)).any())
    except DataError as error:
        return str(error)
