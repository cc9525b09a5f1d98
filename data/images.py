"""Images as a torch data set: the file at a path, decoded and transformed, with its place in the list."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch.utils.data import Dataset

from twinbench.data.decode import read_rgb
from twinbench.data.items import ImageFile

__all__ = ["ImageDataset", "read_rgb"]


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """Item i is (`transform` of the RGB image at `paths[i]`, i)."""

    def __init__(self, paths: Sequence[ImageFile], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        """`transform` turns a decoded RGB image into a tensor, (3, H, W) for most."""
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Decode and transform image `index`; DataError names a damaged file."""
        return self.transform(read_rgb(self.paths[index])), index
