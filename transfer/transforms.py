"""Images into network inputs: the test transform of a protocol, and the training crops of the probes.

Training crops are a pure function of (seed, epoch, image), so that neither the number of loader processes nor a kill
in between changes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.transforms import InterpolationMode, functional

from twinbench.convert.convention import IMAGENET, InputConvention
from twinbench.data.images import read_rgb
from twinbench.data.items import ImageList
from twinbench.data.resize import resized
from twinbench.protocols.house import SettingError
from twinbench.protocols.kinds.augmentation import Augmentation
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.runtime.draws import seeded
from twinbench.runtime.seeds import draw_seed
from twinbench.transfer.noise import Erasing, policy_transform

Transform = Callable[[Image], Tensor]
PLAIN = Augmentation()
# Of ImageNet's RGB values in 0 to 1: eigenvalues, and eigenvectors as columns (MMSelfSup, pipelines/transforms.py).
COLOUR_VALUES = torch.tensor([0.2175, 0.0188, 0.0045])
COLOURS = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
PRELOAD_BYTES = 64 << 20  # of image files; sets up to this size are decoded once and kept in memory


def evaluation_transform(recipe: ImageTransform) -> Transform:
    """Return the deterministic transform PIL image -> uint8 (3, crop, crop), resized as its backend does it.

    pillow is torchvision, antialiased. SettingError for an interpolation that the others do not have.
    """
    if recipe.backend != "pillow":
        if recipe.interpolation != "bilinear":
            raise SettingError(
                f"setting transform.interpolation={recipe.interpolation}: expected bilinear where "
                f"transform.backend={recipe.backend}"
            )
        return partial(_by_opencv, recipe)
    return transforms.Compose([*_by_pillow(recipe), transforms.PILToTensor()])


def _by_pillow(recipe: ImageTransform) -> list[object]:
    """Return torchvision's steps from an image to the test image."""
    how = InterpolationMode(recipe.interpolation)
    first = (recipe.resize, recipe.resize) if recipe.shape == "squash-crop" else recipe.resize
    steps: list[object] = [transforms.Resize(first, how)] if recipe.resize else []
    if recipe.shape == "squash":
        return [*steps, transforms.Resize((recipe.crop, recipe.crop), how)]
    return [*steps, transforms.CenterCrop(recipe.crop)]


def _by_opencv(recipe: ImageTransform, image: Image) -> Tensor:
    """Transform an image with OpenCV's bilinear resizing.

    MMSelfSup (`opencv`) rounds the long side down and the crop's corner to the nearest even pixel, as torchvision
    does; albumentations rounds the long side to the nearest even pixel and the corner down.
    """
    pixels = np.asarray(image)
    rounds = recipe.backend == "albumentations"
    if recipe.resize and recipe.shape == "squash-crop":
        pixels = resized(pixels, recipe.resize, recipe.resize)
    elif recipe.resize:
        height, width = pixels.shape[:2]
        pixels = resized(pixels, *_sides(height, width, recipe.resize, round if rounds else int))
    if recipe.shape == "squash":
        pixels = resized(pixels, recipe.crop, recipe.crop)
    found = torch.tensor(pixels).permute(2, 0, 1).contiguous()  # (3, H, W)
    if recipe.shape == "squash":
        return found
    if not rounds:
        return functional.center_crop(found, [recipe.crop])
    top, left = ((side - recipe.crop) // 2 for side in found.shape[1:])
    return functional.crop(found, top, left, recipe.crop, recipe.crop)


def _sides(height: int, width: int, short: int, whole: Callable[[float], int]) -> tuple[int, int]:
    """Return the sides with the shorter one at `short`, and the longer one made a whole number by `whole`."""
    if height < width:
        return short, whole(short * width / height)
    return whole(short * height / width), short


def train_transform(
    recipe: ImageTransform, augmentation: Augmentation = PLAIN, convention: InputConvention = IMAGENET
) -> Transform:
    """Return a random transform that draws from torch's global generator, timm's parts from Python's and numpy's too.

    It gives uint8 as above; with lighting or erasing float32 of the same scale, which may leave 0 to 255, as the
    sources' does. `convention` is the network's, which erasing needs.
    """
    steps = [*_train_crop(recipe, augmentation), transforms.RandomHorizontalFlip()]
    if augmentation.policy:
        steps.append(policy_transform(augmentation.policy, recipe.crop, augmentation.interpolation))
    if augmentation.jitter:
        steps.append(transforms.ColorJitter(augmentation.jitter, augmentation.jitter, augmentation.jitter))
    steps.append(transforms.PILToTensor())
    if augmentation.lighting:
        steps.append(partial(_lit, augmentation.lighting))
    if augmentation.erasing:
        steps.append(Erasing(augmentation.erasing, convention))
    return transforms.Compose(steps)


def _train_crop(recipe: ImageTransform, augmentation: Augmentation) -> list[object]:
    """Return the steps that bring a training image to the crop's size."""
    if augmentation.crop == "resized":
        how = InterpolationMode(augmentation.interpolation)
        return [transforms.RandomResizedCrop(recipe.crop, interpolation=how)]  # scale .08 to 1
    if augmentation.crop == "none":
        return _by_pillow(recipe)
    return [*_by_pillow(replace(recipe, crop=recipe.resize)), transforms.RandomCrop(recipe.crop)]


def _lit(deviation: float, image: Tensor) -> Tensor:
    """Shift the colour of an image (3, H, W) of 0 to 255 along ImageNet's principal colours (Krizhevsky et al. 2012).

    By each of the three for a draw from a normal distribution of this deviation times the colour's eigenvalue.
    """
    shift = COLOURS @ (COLOUR_VALUES * torch.randn(3) * deviation)
    return image.float() + 255 * shift[:, None, None]


class TrainImages(Dataset[tuple[Tensor, Any]]):
    """Training crops by key (epoch, index) -> (input (3, crop, crop), target: a class index, or a row of labels).

    Further numbers of a key tell several crops of one image in an epoch apart.
    """

    def __init__(self, paths: ImageList, targets: Sequence[int] | np.ndarray, transform: Transform, seed: int) -> None:
        """Take the images at `paths` with `targets` (N,) or (N, K); small sets are decoded at once."""
        self.paths, self.targets, self.transform, self.seed = paths, targets, transform, seed
        self.decoded = [read_rgb(path) for path in paths] if _are_small(paths) else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, ...]) -> tuple[Tensor, Any]:
        index = key[1]
        image = self.decoded[index] if self.decoded else read_rgb(self.paths[index])
        with seeded(draw_seed(self.seed, *key)):
            return self.transform(image), self.targets[index]


def _are_small(paths: ImageList) -> bool:
    """Say whether images have PRELOAD_BYTES at most together; of a large set only the first few are asked."""
    total = 0
    for size in paths.sizes():
        total += size
        if total > PRELOAD_BYTES:
            return False
    return True
