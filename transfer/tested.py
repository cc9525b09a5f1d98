"""Images that are tested after every epoch: what heads are fed of them is computed once, where the disk has room.

Of a ViT-B/16 the tokens of an image are 0.6 MB, those of ImageNet's 50,000 test images 30 GB. Without room they pass
through the backbone again in each test: of 90 epochs that is 4 % of the images of the training, and 15 % where a tenth
of the training images is tested, too.
"""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from twinbench.convert.backbone import Backbone
from twinbench.data.items import ImageList
from twinbench.protocols.kinds.heads import HeadsRecipe
from twinbench.runtime.process import Process
from twinbench.transfer.cache import WHOLE, cache_key, cached_features
from twinbench.transfer.features import CPU_BATCH, feature_loader
from twinbench.transfer.heads_model import rows_of

ROOM = 0.25  # the most that is taken of what a disk has free
BATCH_BYTES = 64 << 20  # of rows that go through the heads at a time


class TestedRows:
    """What heads are fed of the images that they are tested on; each process gets its part of them."""

    def __init__(self, backbone: Backbone, recipe: HeadsRecipe, cache: Path, process: Process, workers: int) -> None:
        """Keep rows, where a recipe tests images many times, in the folder `cache`."""
        self.backbone, self.recipe, self.cache, self.process, self.workers = backbone, recipe, cache, process, workers
        self._kept: dict[int, np.ndarray | None] = {}  # by a list of images, of which there are two in a run

    def rows(self, paths: ImageList, compute: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows (B, F) on the device and the places (B,) of their images among this process's.

        `compute` maps images as loaders give them to rows, for those that are not kept.
        """
        if id(paths) not in self._kept:  # asked once, so that a disk that fills up changes nothing
            self._kept[id(paths)] = self._found(paths, compute) if self.recipe.tested_rows else None
        kept, rank, world = self._kept[id(paths)], self.process.rank, self.process.world
        if kept is None:
            yield from self._computed(paths[rank::world], compute)
            return
        mine = kept[rank::world]
        size = max(CPU_BATCH, BATCH_BYTES // (4 * mine.shape[1]))
        for start in range(0, len(mine), size):
            rows = torch.from_numpy(np.array(mine[start : start + size]))
            yield rows.to(self.process.device), torch.arange(start, start + len(rows))

    def _computed(self, paths: ImageList, compute: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for images, places in feature_loader(paths, self.recipe.transform, self.process.device, self.workers):
            yield compute(images), places

    def _found(self, paths: ImageList, compute: Callable[[Tensor], Tensor]) -> np.ndarray | None:
        """Return the rows (N, F) of all images, memory-mapped, if they are there or the disk has room; else None."""
        features = self.recipe.tested_rows
        assert features is not None, "rows are kept only of images that are tested many times"
        whole = self.cache / cache_key(self.backbone, paths, features, self.process.device) / WHOLE
        if not whole.exists():
            width = next(self._computed(paths[:1], compute))[0].shape[1]
            self.cache.mkdir(parents=True, exist_ok=True)
            if 4 * len(paths) * width > ROOM * shutil.disk_usage(self.cache).free:
                return None
        return cached_features(
            self.cache,
            self.backbone,
            paths,
            features,
            process=self.process,
            workers=self.workers,
            what="tested images",
            rows_of=partial(rows_of, recipe=self.recipe),
        )
