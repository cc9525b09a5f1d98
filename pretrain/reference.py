"""Views made one image at a time by the operations of Barlow Twins' main.py: slow, and exact to the pixel.

Worker processes crop with this for both kinds of views; `views=pil` makes whole views with it.
"""

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms import functional as F

from twinbench.pretrain.augment import MEAN, STD
from twinbench.pretrain.views import Colors, Crops

JITTER = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)  # in the order of views.JITTER


def crop_resize_pil(image: Image.Image, crops: Crops, size: int) -> Image.Image:
    """Return the first of `crops`, resized to (size, size) by Pillow's bicubic filter and perhaps mirrored."""
    top, left = int(crops.top[0]), int(crops.left[0])
    box = (left, top, left + int(crops.width[0]), top + int(crops.height[0]))
    # Cropped before it is resized: the filter must not see what lies outside.
    view = image.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    return ImageOps.mirror(view) if crops.flip[0] else view


def recolor_pil(image: Image.Image, colors: Colors) -> Image.Image:
    """Jitter, grey, blur and solarise one image with the first of `colors`."""
    if colors.jittered[0]:
        for operation in colors.order[0]:
            image = JITTER[operation](image, float(colors.factors[0, operation]))
    if colors.gray[0]:
        image = ImageOps.grayscale(image).convert("RGB")
    if colors.blurred[0]:
        image = image.filter(ImageFilter.GaussianBlur(float(colors.sigma[0])))
    return ImageOps.solarize(image) if colors.solarized[0] else image


def to_bytes(image: Image.Image) -> Tensor:
    """Return an RGB image as uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def to_input(image: Image.Image) -> Tensor:
    """Return an RGB image as the network's input, float32 (3, H, W)."""
    return F.normalize(F.to_tensor(image), list(MEAN), list(STD))
