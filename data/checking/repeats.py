"""Images that are in the training and in the test split, byte for byte.

Published sets have some, so this is told and not refused. Only images whose size in bytes is met in both splits are
read for it, by the processes that decode them anyway; that the same picture was encoded anew is not seen.
"""

from collections.abc import Sequence

import numpy as np

from twinbench.data.checking.surveys import Split
from twinbench.data.errors import DataError


class Repeats:
    """Counts the test images that train, too. `meet` must be called for every image, `candidates` before."""

    def __init__(self, splits: Sequence[Split], looked_for: bool) -> None:
        """Ask for the sizes of all images, unless they are not `looked_for` or some are missing."""
        self._training: set[bytes] = set()
        self._tests: list[bytes] = []
        self._sizes: dict[int, np.ndarray] = {}  # by split: (N,) int64
        self._common = np.array([], dtype=np.int64)
        self.is_known = looked_for and {split.is_test for split in splits} == {False, True}
        if self.is_known:
            self._ask(splits)

    def _ask(self, splits: Sequence[Split]) -> None:
        try:
            for split in splits:
                self._sizes[id(split)] = np.fromiter(split.paths.sizes(), dtype=np.int64, count=len(split.paths))
        except DataError:  # an image is missing: the check says so, and there is no whole split to compare
            self.is_known = False
            return
        sides = [[self._sizes[id(split)] for split in splits if split.is_test is side] for side in (False, True)]
        self._common = np.intersect1d(np.concatenate(sides[0]), np.concatenate(sides[1]))

    def candidates(self, split: Split, start: int, count: int) -> list[bool]:
        """Say of `count` images of a split, from `start` on, whether one of the other split may be the same."""
        if not self.is_known:
            return [False] * count
        return np.isin(self._sizes[id(split)][start : start + count], self._common).tolist()

    def meet(self, split: Split, digest: bytes) -> None:
        """Take one image's digest; empty for what is no candidate or cannot be read."""
        if not digest:
            return
        if split.is_test:
            self._tests.append(digest)
        else:
            self._training.add(digest)

    @property
    def count(self) -> int | None:
        """How many test images are training images, too; None where that is not known."""
        if not self.is_known:
            return None
        return sum(digest in self._training for digest in self._tests)
