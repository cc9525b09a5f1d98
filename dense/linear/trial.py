"""Linear segmentation from a frozen backbone to its counts: the head trained, every test image scored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from twinbench.convert.inputs import Inputs
from twinbench.data.pixels.pairs import read_labels
from twinbench.data.pixels.pictures import Shown, best_and_worst, draw_sheet
from twinbench.dense.linear.images import TestImages, image_of, test_size
from twinbench.dense.linear.model import LinearSegmenter, reduced
from twinbench.dense.linear.train import LOG, STATE, Training
from twinbench.dense.places import Places
from twinbench.dense.trial import PICTURE, Measured, Run
from twinbench.protocols.kinds.linear_segmenter import LinearSegmenterRecipe
from twinbench.runtime.confusion import Cells, KeptCounts, confusion, image_scores, scores_of, table_of
from twinbench.runtime.distributed import from_main
from twinbench.runtime.download import digest
from twinbench.runtime.loading import batches_of
from twinbench.runtime.progress import bar, read_log
from twinbench.runtime.stopping import ignore_signals
from twinbench.runtime.windows import Inference

COUNTS = "confusions"  # folder of what the processes have counted


def measure_linear(run: Run) -> Measured | None:
    """Train the head and count the pixels of each pair of true and predicted class."""
    recipe: LinearSegmenterRecipe = run.recipe
    data, process = run.data, run.process
    places = Places(run.backbone.build(), recipe.blocks, recipe.dilations).to(process.device)
    places = places.to(memory_format=torch.channels_last)
    model = LinearSegmenter(places, len(data.classes), recipe, run.trial.seed, process).to(process.device)
    inputs = Inputs(run.backbone.convention, process.device)
    identity = run.trial.description
    Training(model, data.train, data.decode, inputs, identity=identity, out=run.out, workers=run.workers).run()
    tested = Tested(model, run, inputs)
    owner: dict[str, Any] = {"trial": identity, "head": from_main(process, lambda: digest(run.out / STATE, "sha256"))}
    kept = KeptCounts(run.out / COUNTS, owner, len(data.test), process)
    cells = kept.complete(tested.counts(kept.share))
    if not process.is_main:
        return None
    tested.draw(cells, run.out / PICTURE)
    losses = [[line["iteration"], round(line["loss"], 4)] for line in read_log(run.out / LOG)]
    scores = scores_of(table_of(cells, len(data.classes)), data.classes)
    return Measured(scores, {"loss": losses}, {"features": model.features}, (run.out / COUNTS,))


class Tested:
    """A trained model on the test images."""

    def __init__(self, model: LinearSegmenter, run: Run, inputs: Inputs) -> None:
        self.model, self.run, self.inputs = model.eval(), run, inputs
        recipe = model.recipe
        self.inference = Inference(recipe.test_mode, recipe.test_crop, recipe.test_stride, align_corners=False)
        self.records, self.decode = run.data.test, run.data.decode

    def counts(self, share: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the images of a share with their tables (C, C)."""
        images = TestImages(self.records, self.model.recipe)
        loader = DataLoader(
            Subset(images, share),
            batch_size=None,
            num_workers=self.run.workers,
            worker_init_fn=ignore_signals,
        )
        shown = bar(batches_of(loader), what="test images", total=len(share), unit="image")
        with shown as pixels:
            for index, image in zip(share, pixels, strict=True):
                truth = self._truth(index)
                yield index, confusion(truth, self._predicted(image, truth.shape), len(self.run.data.classes))

    def draw(self, cells: list[Cells], path: Path) -> None:
        """Write a picture of the best and the worst test images."""
        data, scores = self.run.data, image_scores(cells, self.run.data.classes)
        draw_sheet(
            (self._shown(index, scores[index]) for index in best_and_worst(scores)), data.classes, data.colours, path
        )

    def _shown(self, index: int, score: float) -> Shown:
        """Return one image's row."""
        record, truth = self.records[index], self._truth(index)
        image = TestImages(self.records, self.model.recipe)[index]
        return Shown(str(record["image_id"]), image_of(record), truth, self._predicted(image, truth.shape), score)

    def _truth(self, index: int) -> np.ndarray:
        """Return the labels (H, W) that an image is tested by: its own, or reduced to the recipe's grid."""
        recipe = self.model.recipe
        record = self.records[index]
        labels = read_labels(Path(record["sem_seg_file_name"]), self.decode)
        if not recipe.grid:
            return labels
        height, width = test_size((labels.shape[1], labels.shape[0]), recipe)
        sized = reduced(torch.from_numpy(labels)[None], (height, width))
        return reduced(sized, (recipe.grid, recipe.grid))[0].numpy()

    @torch.inference_mode()
    def _predicted(self, image: Tensor, size: tuple[int, ...]) -> np.ndarray:
        """Return the classes (H, W), of the labels' size, of a test image (3, h, w)."""
        pixels = self.inputs(image[None])
        if self.model.recipe.grid:
            scores = self.model.scores(pixels)
        else:
            scores, _ = self.inference(self.model.scores, pixels, (size[0], size[1]))
        return scores[0].argmax(0).cpu().numpy()
