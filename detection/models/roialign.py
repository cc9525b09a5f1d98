"""ROIAlign as matrix products: the same numbers as torchvision's kernel, and the same bits in every run.

The backward pass of torchvision's CUDA kernel adds with atomics, in the order of arrival; asked for deterministic
kernels, torchvision (since 0.16) compiles a form in Python instead, which needs a C compiler on the machine. But a bin
is the mean over a grid of samples, each of them bilinear, so rows and columns part:

    out[k, c, p, q] = sum_i sum_j  rows[k, p, i] * columns[k, q, j] * features[c, i, j]

    k a region    c a channel    p, q a bin    i, j a row and a column of the feature map

Two matrix products for each image, then, and two more on the way back, which a GPU repeats to the bit.
"""

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

LAYER: Any = import_module("detectron2.layers.roi_align")  # the package shows the function in place of this module
REGIONS = 128  # at once: a C4 map of 1024 x 50 x 84 takes 0.4 GB in between


@contextmanager
def repeatable_roi_align(wanted: bool = True) -> Generator[None]:
    """Have Detectron2's ROIAlign layers compute by matrix products for the length of the block."""
    theirs = LAYER.roi_align
    if wanted:
        LAYER.roi_align = roi_align
    try:
        yield
    finally:
        LAYER.roi_align = theirs


def roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Return (K, C, *output_size) means over the bins of K regions of `features` (N, C, H, W).

    `rois` (K, 5) are the image's number and x0, y0, x1, y1 in pixels of the image; `spatial_scale` takes them to the
    feature map. A `sampling_ratio` of 0 takes about one sample a pixel, as torchvision.ops.roi_align does.
    """
    height, width = features.shape[2:]
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    left, top, right, bottom = corners.unbind(1)
    least = 0.0 if aligned else 1.0  # pixels of a side: the older form took no smaller region
    places: list[Tensor] = []
    parts: list[Tensor] = []
    for number, image in enumerate(features):
        here = (rois[:, 0] == number).nonzero()[:, 0]
        for part in here.split(REGIONS):
            rows = _weights(top[part], bottom[part], output_size[0], height, sampling_ratio, least)
            columns = _weights(left[part], right[part], output_size[1], width, sampling_ratio, least)
            across = torch.einsum("cij,kqj->kicq", image, columns)
            parts.append(torch.einsum("kpi,kicq->kcpq", rows, across))
            places.append(part)
    return torch.cat(parts)[torch.cat(places).argsort()]


def _weights(start: Tensor, end: Tensor, bins: int, size: int, sampling_ratio: int, least: float) -> Tensor:
    """Return (K, bins, size): how much of each pixel of one axis goes into each bin.

    A sample between two pixels takes 1 - distance of each; one up to a pixel outside takes the border's, one farther
    out nothing. Samples are counted along with those that take nothing.
    """
    step = (end - start).clamp(min=least) / bins  # (K,)
    count = torch.full_like(step, sampling_ratio) if sampling_ratio > 0 else step.ceil()
    most = int(count.max()) if len(count) else 0
    number = torch.arange(most, device=start.device)  # (S,)
    within = (number + 0.5) * (step / count)[:, None]  # (K, S)
    first = start[:, None] + torch.arange(bins, device=start.device) * step[:, None]  # (K, bins)
    at = first[:, :, None] + within[:, None, :]  # (K, bins, S)
    counts = (number < count[:, None])[:, None, :] & (at >= -1) & (at <= size)
    pixel = torch.arange(size, device=start.device)
    hat = (1 - (at.clamp(0, size - 1)[..., None] - pixel).abs()).clamp(min=0)  # (K, bins, S, size)
    return torch.where(counts[..., None], hat, 0).sum(2) / count.clamp(min=1)[:, None, None]
