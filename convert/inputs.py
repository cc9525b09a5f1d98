"""What a backbone was trained on, made of uint8 images on the device: a quarter of the bytes travel there."""

import torch
from torch import Tensor

from twinbench.convert.convention import InputConvention


class Inputs:
    """Images as a backbone's input convention has them."""

    def __init__(self, convention: InputConvention, device: str) -> None:
        """Take order, scale, mean and std from the backbone's convention."""
        self.convention, self.device = convention, device
        self.mean = torch.tensor(convention.mean, device=device)[:, None, None]
        self.std = torch.tensor(convention.std, device=device)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 RGB (N, 3, H, W) to float32 of the same shape, channels last."""
        images = images.to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
        if self.convention.order == "bgr":
            images = images.flip(1)
        return (images.float().div_(255 / self.convention.scale) - self.mean).div_(self.std)
