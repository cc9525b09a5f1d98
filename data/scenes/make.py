"""The demo scenes: small data sets in the usual layouts, made in seconds from nothing but bundled pictures."""

import fcntl
import json
import math
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from twinbench.data.errors import DataError, read_text
from twinbench.data.scenes import trees
from twinbench.protocols.text import TextError, parse_json
from twinbench.runtime.progress import bar
from twinbench.runtime.seeds import generator

VERSION = 1  # of the pictures: another one means other pixels, labels or counts
MARKER = "scenes.json"
MAX_MARKER_BYTES = 1_000_000
LOCK = ".lock"
COUNTS = {
    # tree: images per split, at scale 1
    "imagenet": {"train": 3000, "val": 500},
    "VOCdevkit": {"2007-trainval": 600, "2007-test": 300, "2012-trainval": 200},
    "coco": {"train": 600, "val": 200},
    "inat": {"train": 1000, "val": 300},
    "places": {"train": 1000, "val": 300},
    "masks": {"train": 600, "val": 200},  # the last: the pictures of a tree depend on its place here
}
WRITERS = {
    "imagenet": trees.write_imagenet,
    "VOCdevkit": trees.write_voc,
    "coco": trees.write_coco,
    "inat": trees.write_inat,
    "places": trees.write_places,
    "masks": trees.write_masks,
}
LEAST = 20  # images in a split, however small the scale: two of each class


def make_scenes(root: Path, seed: int = 0, scale: float = 1.0) -> dict[str, dict[str, int]]:
    """Write the trees imagenet, VOCdevkit, coco, inat, places and masks into `root`; return the image counts of each.

    The pictures are a function of `seed` (0 or more); `scale` multiplies the counts. A tree that is already there from
    the same seed and scale is kept; one that a kill left unfinished is begun again. DataError if `root` holds anything
    else.
    """
    if seed < 0 or not math.isfinite(scale) or scale <= 0:
        raise DataError(f"seed {seed}, scale {scale}: expected a seed from 0 and a scale above 0, for example 1")
    plan = {tree: _scaled(counts, scale) for tree, counts in COUNTS.items()}
    try:
        _require_own(root)
        root.mkdir(parents=True, exist_ok=True)
        with _only_maker(root):
            for number, (tree, counts) in enumerate(bar(plan.items(), what="scenes", unit="tree")):
                marker = {"version": VERSION, "seed": seed, "scale": scale, "images": counts}
                if not _is_made(root / tree, marker):
                    _make_tree(root, tree, generator(seed, number), marker)
    except OSError as error:
        raise DataError(f"{root}: {error.strerror}; expected a folder with room that you may write to") from None
    return plan


@contextmanager
def _only_maker(root: Path) -> Generator[None]:
    """Hold `root` for the length of the block; DataError if another process holds it."""
    with (root / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{root}: another process is making scenes there; wait for it, then try again") from None
        yield


def _make_tree(root: Path, tree: str, rng: np.random.Generator, marker: Mapping[str, Any]) -> None:
    """Write one tree beside its place, the marker last, and move it there."""
    unfinished = _unfinished(root, tree)
    if unfinished.exists():  # left by a kill
        shutil.rmtree(unfinished)
    unfinished.mkdir()
    WRITERS[tree](unfinished, rng, marker["images"])
    (unfinished / MARKER).write_text(json.dumps(marker, indent=1) + "\n")
    os.replace(unfinished, root / tree)  # one step: a tree is there whole or not at all


def read_marker(tree: Path) -> dict[str, Any] | None:
    """Return what `make_scenes` wrote beside the images of a tree, or None for somebody else's data."""
    path = tree / MARKER
    if not path.exists():
        return None
    text = read_text(path, "expected what `data make` wrote; make the scenes anew", MAX_MARKER_BYTES)
    try:
        marker = parse_json(text, str(path))
        return {**marker, "images": {str(split): int(count) for split, count in marker["images"].items()}}
    except (TextError, ValueError, LookupError, TypeError, AttributeError):
        raise DataError(f"{path}: damaged; expected what `data make` wrote; make the scenes anew") from None


def _scaled(counts: Mapping[str, int], scale: float) -> dict[str, int]:
    """Return the counts times `scale`, in whole tens, so that the classes stay balanced."""
    return {split: max(LEAST, round(count * scale / 10) * 10) for split, count in counts.items()}


def _unfinished(root: Path, tree: str) -> Path:
    """Return the folder in which a tree is written before it gets its name."""
    return root / f".{tree}.part"


def _require_own(root: Path) -> None:
    """Raise DataError if `root` is a file, or a folder with anything that `make_scenes` did not write."""
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: a file; expected a new or empty folder for the scenes; give another path")
    ours = {LOCK, *COUNTS, *(_unfinished(root, tree).name for tree in COUNTS)}
    foreign = sorted(set(os.listdir(root)) - ours) if root.exists() else []
    foreign += [tree for tree in COUNTS if (root / tree).exists() and read_marker(root / tree) is None]
    if foreign:
        raise DataError(f"{root}: holds {foreign[0]}, which `data make` did not write; give a new or empty folder")


def _is_made(tree: Path, marker: Mapping[str, Any]) -> bool:
    """True if the finished tree is the one asked for; DataError if it is another one."""
    found = read_marker(tree)
    if found is not None and found != marker:
        told = ", ".join(f"{key} {found.get(key)}" for key in ("version", "seed", "scale"))
        raise DataError(
            f"{tree}: scenes of {told}; asked for version {VERSION}, seed {marker['seed']}, scale {marker['scale']};"
            " remove that folder or give another"
        )
    return found is not None
