"""Linear segmentation from a frozen backbone to its counts: the head trained, every test image scored."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from twinbench.convert.inputs import Inputs
from twinbench.dense.counting import Counted
from twinbench.dense.images import labels_of
from twinbench.dense.linear.images import TestImages, TrainPairs, test_size
from twinbench.dense.linear.model import LinearSegmenter, reduced
from twinbench.dense.linear.train import steps_of
from twinbench.dense.places import Places
from twinbench.dense.training import losses_of, trained
from twinbench.dense.trial import COUNTS, PICTURE, Measured, Run, segmented
from twinbench.protocols.kinds.linear_segmenter import LinearSegmenterRecipe
from twinbench.runtime.confusion import scores_of, table_of
from twinbench.runtime.windows import Inference


def measure_linear(run: Run) -> Measured | None:
    """Train the head and count the pixels of each pair of true and predicted class."""
    recipe: LinearSegmenterRecipe = run.recipe
    data, process = run.data, run.process
    places = Places(run.backbone.build(), recipe.blocks, recipe.dilations, recipe.padding).to(process.device)
    places = places.to(memory_format=torch.channels_last)
    model = LinearSegmenter(places, len(data.classes), recipe, run.trial.seed, process).to(process.device)
    inputs = Inputs(run.backbone.convention, process.device)
    owner = trained(run, model, TrainPairs(data.train, data.decode, recipe, model.seed), steps_of(model), inputs)
    tested = Tested(model, run, inputs)
    images = TestImages(data.test, recipe)
    counted = Counted(images, data.test, tested.truth, tested.predicted, classes=len(data.classes))
    cells = counted.cells(run.out / COUNTS, owner, process, run.workers)
    if not process.is_main:
        return None
    counted.draw(cells, data.classes, data.colours, run.out / PICTURE)
    scores = scores_of(table_of(cells, len(data.classes)), data.classes)
    return segmented(run, scores, {"loss": losses_of(run)}, {"features": model.features})


class Tested:
    """A trained model on the test images."""

    def __init__(self, model: LinearSegmenter, run: Run, inputs: Inputs) -> None:
        self.model, self.inputs = model.eval(), inputs
        recipe = model.recipe
        self.inference = Inference(recipe.test_mode, recipe.test_crop, recipe.test_stride, align_corners=False)
        self.records, self.decode = run.data.test, run.data.decode

    def truth(self, index: int) -> np.ndarray:
        """Return the labels (H, W) that an image is tested by: its own, or reduced to the recipe's grid."""
        recipe = self.model.recipe
        labels = labels_of(self.records[index], self.decode)
        if not recipe.grid:
            return labels
        height, width = test_size((labels.shape[1], labels.shape[0]), recipe)
        sized = reduced(torch.from_numpy(labels)[None], (height, width))
        return reduced(sized, (recipe.grid, recipe.grid))[0].numpy()

    def predicted(self, images: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]) -> Iterator[np.ndarray]:
        """Yield the classes (H, W), of the labels' size, of test images (3, h, w)."""
        for image, size in zip(images, sizes, strict=True):
            yield self._one(image, size)

    @torch.inference_mode()
    def _one(self, image: Tensor, size: tuple[int, ...]) -> np.ndarray:
        """Return the classes (H, W) of one image."""
        pixels = self.inputs(image[None])
        if self.model.recipe.grid:
            scores = self.model.scores(pixels)
        else:
            scores, _ = self.inference(self.model.scores, pixels, (size[0], size[1]))
        return scores[0].argmax(0).cpu().numpy()
