"""RandAugment and random erasing by timm, on the images that loaders give: uint8, or float32 of the same scale."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, functional

from twinbench.convert.convention import IMAGENET, InputConvention
from twinbench.protocols.house import SettingError, UserError, optional
from twinbench.protocols.kinds.augmentation import Interpolation

TRANSLATED = 0.45  # of an image's side: timm's largest shift, transforms_factory.py


class AugmentationError(UserError):
    """An augmentation that this environment does not have."""


def timm_module(name: str, who: str) -> Any:
    """Return a module of timm that `who` needs; AugmentationError where timm is not installed."""
    return optional(name, "models", who, AugmentationError)


def policy_transform(policy: str, side: int, interpolation: Interpolation) -> Callable[[Image], Image]:
    """Return timm's RandAugment of this name for crops of `side` pixels, set up as timm's training transform does.

    It draws from numpy's and Python's global generators. SettingError for a name that timm does not read.
    """
    timm = timm_module("timm.data.auto_augment", f"setting policy={policy}")
    resampling: Any = functional.pil_modes_mapping  # type: ignore[attr-defined]
    grey = tuple(min(255, round(255 * value)) for value in IMAGENET.mean)  # what comes in from outside the image
    settings = {
        "translate_const": int(side * TRANSLATED),
        "img_mean": grey,
        "interpolation": resampling[InterpolationMode(interpolation)],
    }
    try:
        made = timm.rand_augment_transform(policy, settings)
    except (AssertionError, ValueError, KeyError) as error:
        raise SettingError(
            f"setting policy={policy}: timm does not read it ({error}); expected its RandAugment"
        ) from None
    for operation in made.ops:
        if operation.aug_fn is timm.posterize:
            operation.aug_fn = partial(_posterized, timm.posterize)
    return made


def _posterized(posterize: Callable[..., Image], image: Image, bits: int, **settings: Any) -> Image:
    """Keep so many of a colour's bits; of none, black is left.

    The strongest posterize of an increasing policy keeps none. Pillow 13 raises ValueError there, once in some hundred
    images of the common policy, where the versions that the papers used gave a black image.
    """
    return posterize(image, bits, **settings) if bits > 0 else image.point(lambda value: 0)


class Erasing:
    """A rectangle of some images becomes noise, normal as the network sees it (Zhong et al., arXiv:1708.04896)."""

    def __init__(self, chance: float, convention: InputConvention) -> None:
        """Take how often, and what the network's input is normalised by."""
        timm = timm_module("timm.data.random_erasing", f"setting erasing={chance:g}")
        self.erase: Callable[[Tensor], Tensor] = timm.RandomErasing(chance, mode="pixel", max_count=1, device="cpu")
        scale = 255 / convention.scale
        mean, std = (torch.tensor(values)[:, None, None] * scale for values in (convention.mean, convention.std))
        is_bgr = convention.order == "bgr"  # images are RGB here
        self.mean, self.std = (values.flip(0) if is_bgr else values for values in (mean, std))

    def __call__(self, image: Tensor) -> Tensor:
        """Return an image (3, H, W) of 0 to 255 as float32; noise may leave that range, as the source's does."""
        noise = self.erase(torch.full(image.shape, torch.nan))  # what timm writes on an empty sheet
        return torch.where(noise.isnan(), image.float(), noise * self.std + self.mean)
