"""How an image becomes scores at test time: at once, in windows whose scores are averaged, or its centre alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional

Scorer = Callable[[Tensor], Tensor]  # pixels (1, 3, H, W) to scores (1, C, H, W)
TestMode = Literal["whole", "slide", "center"]
Region = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class Inference:
    """One way to test; `crop` is the side of windows or centre, `stride` the windows' step, in pixels."""

    mode: TestMode
    crop: int
    stride: int
    align_corners: bool

    def __call__(self, scorer: Scorer, pixels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Region]:
        """Return the scores of `pixels`, an image that was resized from `size` (height, width), and their region in it.

        The scores have the region's size. All but `center` score the whole image.
        """
        if self.mode == "center":
            return centre(scorer, pixels, self.crop)
        scores = windows(scorer, pixels, self.crop, self.stride) if self.mode == "slide" else scorer(pixels)
        if tuple(scores.shape[2:]) != size:
            scores = functional.interpolate(scores, size, mode="bilinear", align_corners=self.align_corners)
        return scores, (0, 0, *size)


def windows(scorer: Scorer, pixels: Tensor, crop: int, stride: int) -> Tensor:
    """Return the mean, at each pixel, of the scores of all windows that hold it.

    Windows start every `stride` pixels; the last of a row or column is moved back into the image. A side below `crop`
    has one window as long as itself.
    """
    height, width = pixels.shape[2:]
    total = count = None
    for top in starts(height, crop, stride):
        for left in starts(width, crop, stride):
            rows, columns = slice(top, min(top + crop, height)), slice(left, min(left + crop, width))
            scores = scorer(pixels[:, :, rows, columns])
            if total is None or count is None:
                total = scores.new_zeros(1, scores.shape[1], height, width)
                count = scores.new_zeros(1, 1, height, width)
            total[:, :, rows, columns] += scores
            count[:, :, rows, columns] += 1
    assert total is not None and count is not None
    return total / count


def starts(side: int, crop: int, stride: int) -> list[int]:
    """Return where the windows of `crop` pixels along a `side` begin."""
    last = max(side - crop, 0)
    steps = -(-last // stride)  # rounded up
    return [min(step * stride, last) for step in range(steps + 1)]


def centre(scorer: Scorer, pixels: Tensor, crop: int) -> tuple[Tensor, Region]:
    """Return the scores of the image's central square of `crop` pixels, and where it lies.

    A side below `crop` is padded at both ends with the mean colour, and only the image's own pixels are scored.
    """
    height, width = pixels.shape[2:]
    top, left = max(height - crop, 0) // 2, max(width - crop, 0) // 2
    part = pixels[:, :, top : top + crop, left : left + crop]
    tall, wide = part.shape[2:]
    above, before = (crop - tall) // 2, (crop - wide) // 2
    padded = functional.pad(part, (before, crop - wide - before, above, crop - tall - above))
    scores = scorer(padded)[:, :, above : above + tall, before : before + wide]
    return scores, (top, left, top + tall, left + wide)
