"""Views made as batches of tensors, on any device: the fast form of what reference.py does image by image.

Every image has parameters of its own. Values are float32 in [0, 1], images (n, 3, H, W). Crop, resize and blur are
linear in rows and in columns, so each is small matrices per image, and two batched matrix products.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pretrain.views import JITTER, Colors, Crops

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, as Barlow Twins' main.py
STD = (0.229, 0.224, 0.225)
GRAY = (0.299, 0.587, 0.114)  # ITU-R 601-2 luma, as Pillow's convert("L")
SOLARIZE_FROM = 127.5 / 255  # Pillow's threshold is 128; values here are not rounded


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
    first, extent = (torch.from_numpy(x.astype(np.float32)).to(device)[:, None, None] for x in (start, length))
    target = torch.arange(size, device=device) + 0.5
    target = torch.where(torch.from_numpy(flip).to(device)[:, None], size - target, target)[:, :, None]  # (n, size, 1)
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
            factors = torch.from_numpy(colors.factors[chosen, operation]).to(images.device)
            _apply(images, chosen, OPERATIONS[name], factors[:, None, None, None])
    _apply(images, colors.gray, lambda x: luma(x).expand_as(x))
    sigma = torch.from_numpy(colors.sigma[colors.blurred]).to(images.device)
    _apply(images, colors.blurred, blur, sigma)
    _apply(images, colors.solarized, solarize)
    return images


def _apply(images: Tensor, chosen: np.ndarray, operation: Callable[..., Tensor], *factors: Tensor) -> None:
    """Replace the chosen images by what `operation` makes of them."""
    if chosen.all():
        images.copy_(operation(images, *factors))
    elif chosen.any():
        rows = torch.from_numpy(chosen.nonzero()[0]).to(images.device)
        images[rows] = operation(images[rows], *factors)


def luma(x: Tensor) -> Tensor:
    """Return the brightness that people see (n, 1, H, W)."""
    return (x * x.new_tensor(GRAY).view(3, 1, 1)).sum(1, keepdim=True)


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Scale images towards black (0) or beyond 1; `factor` (n, 1, 1, 1)."""
    return (x * factor).clamp_(0, 1)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blend images with their own mean luma."""
    mean = luma(x).mean((1, 2, 3), keepdim=True)
    return (x * factor).add_(mean * (1 - factor)).clamp_(0, 1)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Blend images with their grey selves."""
    return (x * factor).add_(luma(x) * (1 - factor)).clamp_(0, 1)


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` turns (n, 1, 1, 1), value and saturation kept (the HSV model)."""
    value, least = x.amax(1), x.amin(1)  # (n, H, W)
    chroma = value - least
    red, green, blue = x.unbind(1)
    divisor = torch.where(chroma == 0, 1.0, chroma)
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    ).add_(6 * shift[:, 0])  # in sixths of a turn
    channels = []
    for offset in (5, 3, 1):  # red, green, blue: value - chroma * max(0, min(k, 4 - k, 1)), k = offset + hue mod 6
        k = torch.remainder(hue + offset, 6)
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(channels, 1)


OPERATIONS = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of square images with a `sigma` (n,) in pixels each; the border repeats outwards, as in Pillow.

    One matrix per image makes `block` pixels out of the block + 2 reach around them, in rows and then in columns.
    """
    n, channels, size, _ = x.shape
    reach, blocks = int(3 * float(sigma.max())) + 1, math.ceil(size / 64)
    block = math.ceil(size / blocks)
    pixel, window = torch.arange(block, device=x.device), torch.arange(block + 2 * reach, device=x.device)
    matrix = torch.exp(-0.5 * ((window - reach - pixel[:, None]) / sigma[:, None, None]) ** 2)
    matrix *= (window - reach - pixel[:, None]).abs() <= reach  # the same taps for each pixel
    matrix /= matrix.sum(-1, keepdim=True)  # (n, block, block + 2 reach)
    after = reach + blocks * block - size
    x = functional.pad(x, (reach, after, reach, after), mode="replicate")
    x = matrix[:, None, None] @ x.unfold(2, len(window), block).mT  # (n, 3, blocks, block, padded size)
    x = x.reshape(n, channels * blocks * block, -1).unfold(2, len(window), block)  # (n, rows, blocks, window)
    x = x.reshape(n, -1, len(window)) @ matrix.mT
    return x.view(n, channels, blocks * block, blocks * block)[:, :, :size, :size]


def solarize(x: Tensor) -> Tensor:
    """Invert what is bright."""
    return torch.where(x >= SOLARIZE_FROM, 1 - x, x)


def normalize(x: Tensor) -> Tensor:
    """Take out ImageNet's mean and deviation, in place, and lay channels last."""
    mean, std = x.new_tensor(MEAN).view(3, 1, 1), x.new_tensor(STD).view(3, 1, 1)
    return x.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
