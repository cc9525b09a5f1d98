"""Views made as batches of tensors, on any device: the fast form of what reference.py does image by image.

Every image has parameters of its own. Values are float32 in [0, 1], images (n, 3, H, W). Crop and resize are linear in
rows and in columns, so they are two small matrices per image, and two batched matrix products. Colours and blur are
kornia's operations.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from kornia import enhance
from kornia.color import rgb_to_grayscale
from kornia.filters import gaussian_blur2d
from torch import Tensor

from twinbench.pretrain.views import JITTER, Colors, Crops

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, as Barlow Twins' main.py
STD = (0.229, 0.224, 0.225)
SOLARIZE_FROM = 127.5 / 255  # Pillow's threshold is 128; values here are not rounded


def sent(values: np.ndarray, device: torch.device) -> Tensor:
    """Return an array as a tensor on `device`, on its way there where that is a GPU.

    Every plain copy to a GPU waits until the GPU has done all that it was given, here the step before: the views of
    the next one were then made while it stood still, and the log's `waiting` told of images that were there.
    """
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def crop_resize(images: Tensor, crops: Crops, size: int) -> Tensor:
    """Return the crops of images (n, 3, H, W), resized and mirrored (n, 3, size, size).

    Bicubic with antialiasing, as Pillow resizes: the kernel widens where the crop shrinks.
    """
    height, width = images.shape[-2:]
    rows = _resize_matrix(crops.top, crops.height, np.zeros_like(crops.flip), height, size, images.device)
    columns = _resize_matrix(crops.left, crops.width, crops.flip, width, size, images.device)
    return _both_sides(rows, images, columns).clamp_(0, 1)


def _resize_matrix(
    start: np.ndarray, length: np.ndarray, flip: np.ndarray, pixels: int, size: int, device: torch.device
) -> Tensor:
    """Return (n, size, pixels): the weight of each source pixel in each target pixel, along one axis."""
    first, extent = (sent(x.astype(np.float32), device)[:, None, None] for x in (start, length))
    target = torch.arange(size, device=device) + 0.5
    target = torch.where(sent(flip, device)[:, None], size - target, target)[:, :, None]  # (n, size, 1)
    source = torch.arange(pixels, device=device) + 0.5 - first  # (n, 1, pixels), from the crop's edge
    scale = extent / size  # source pixels per target pixel
    weights = _bicubic(((source - target * scale) / scale.clamp(min=1)).abs_())
    weights *= (source > 0) & (source < extent)  # the filter must not see what lies outside the crop
    return weights / weights.sum(-1, keepdim=True)


def _bicubic(x: Tensor) -> Tensor:
    """Return Keys' cubic convolution kernel with a = -1/2, which Pillow uses, at distances x >= 0."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _both_sides(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    """Apply one matrix to the rows and one to the columns of each image: (n, R, H) (n, 3, H, W) (n, C, W)."""
    n, channels, height, width = images.shape
    images = images.reshape(n, channels * height, width) @ columns.mT  # (n, 3 H, C)
    return rows[:, None] @ images.view(n, channels, height, -1)  # (n, 3, R, C)


def recolor(images: Tensor, colors: Colors) -> Tensor:
    """Jitter, grey, blur and solarise images in [0, 1] with each one's own parameters; works in place."""
    for place in range(len(JITTER)):
        for operation, name in enumerate(JITTER):
            chosen = colors.jittered & (colors.order[:, place] == operation)
            _apply(images, chosen, ADJUST[name], colors.factors[:, operation])
    _apply(images, colors.gray, lambda x: rgb_to_grayscale(x).expand_as(x))
    _apply(images, colors.blurred, lambda x: blur(x, torch.from_numpy(colors.sigma[colors.blurred])))
    _apply(images, colors.solarized, lambda x: torch.where(x < SOLARIZE_FROM, x, 1 - x))
    return images


def _apply(images: Tensor, chosen: np.ndarray, operation: Callable[..., Tensor], *parameters: np.ndarray) -> None:
    """Replace the chosen images by what `operation` makes of them; `parameters` have one row per image."""
    if chosen.any():
        rows = sent(chosen.nonzero()[0], images.device)
        own = (sent(values[chosen], images.device) for values in parameters)
        images[rows] = operation(images[rows], *own)


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` turns (n,), value and saturation kept (the HSV model)."""
    return enhance.adjust_hue(x, 2 * math.pi * shift)


ADJUST = {
    "brightness": enhance.adjust_brightness_accumulative,
    "contrast": enhance.adjust_contrast_with_mean_subtraction,  # blends with the image's own mean luma
    "saturation": enhance.adjust_saturation_with_gray_subtraction,
    "hue": adjust_hue,
}  # the forms that Pillow has; kornia's plain names multiply instead


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with a `sigma` (n,) in pixels each; the border repeats outwards, as in Pillow.

    `sigma` lies on the processor wherever `x` does: its largest one, and kornia's check of its sign, are read here, and
    reading from a GPU waits for it.
    """
    reach = min(int(3 * float(sigma.max())) + 1, min(x.shape[-2:]) - 1)
    both = torch.stack((sigma, sigma), 1)
    if x.is_cuda:
        both = both.pin_memory()
    return gaussian_blur2d(x, 2 * reach + 1, both, border_type="replicate")


def normalize(x: Tensor) -> Tensor:
    """Take out ImageNet's mean and deviation, in place, and lay channels last."""
    mean, std = (sent(np.array(values, np.float32), x.device).view(3, 1, 1) for values in (MEAN, STD))
    return x.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
