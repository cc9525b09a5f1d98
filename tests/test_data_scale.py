"""What listing and identity cost grows with the number of files, not faster: questions to the disk, and memory."""

import os
import stat
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from twinbench.data.identity import contents
from twinbench.data.layouts import read_labelled

CLASSES = 20
SIZES = (20, 100)  # images a class
WHOLE = 1_300_000  # files, of which no more than 1 GB may come


def tree(root: Path, images: int) -> Path:
    """Make a data set of empty files, as many images a class in train/, one in val/."""
    for split, count in (("train", images), ("val", 1)):
        for label in range(CLASSES):
            folder = root / split / f"n{label:08d}"
            folder.mkdir(parents=True)
            for index in range(count):
                os.mknod(folder / f"n{label:08d}_{index}.JPEG", 0o644 | stat.S_IFREG)
    return root


def asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often the disk was asked for the identity of a data set."""
    counts: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        for name in ("stat", "scandir"):

            def counting(
                *given: object, name: str = name, real: object = getattr(os, name), **options: object
            ) -> object:
                counts[name] += 1
                return real(*given, **options)  # type: ignore[operator]

            patch.setattr(os, name, counting)
        contents("imagenet", root)
    return counts


def peak(root: Path) -> int:
    """Return the most bytes that listing a data set and telling its identity hold."""
    tracemalloc.start()
    images = read_labelled("imagenet", root, "train")
    contents("imagenet", root, read={"train": images})
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two data sets of the same classes; they are too small for hints."""
    root = tmp_path_factory.mktemp("trees")
    small, large = SIZES
    return tree(root / "small", small), tree(root / "large", large)


def test_more_images_are_asked_for_once_each(trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (asked(root, monkeypatch) for root in trees)
    assert large["stat"] - small["stat"] == CLASSES * (SIZES[1] - SIZES[0])


def test_folders_are_listed_as_often_whatever_is_in_them(
    trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = (asked(root, monkeypatch) for root in trees)
    assert (large["scandir"], large["scandir"] <= 3 * 2 * CLASSES) == (small["scandir"], True)


def test_memory_for_every_further_image_leaves_a_whole_imagenet_below_a_gigabyte(trees: tuple[Path, Path]) -> None:
    read_labelled("imagenet", trees[0], "train")  # what is imported and kept at the first time
    small, large = map(peak, trees)
    further = (large - small) / (CLASSES * (SIZES[1] - SIZES[0]))
    assert further * WHOLE < 1e9
