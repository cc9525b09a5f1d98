"""How good the features are so far: k-NN accuracy on a folder of labelled images, while training goes on.

Leave-one-out: each image is classified by its neighbours among the others, weighted as in DINO's eval_knn.py.
"""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms

from twinbench.data.folders.imagenet import class_folders
from twinbench.data.folders.walk import Walk
from twinbench.data.images import ImageDataset
from twinbench.data.layouts import DataError
from twinbench.pretrain.augment import MEAN, STD
from twinbench.runtime.loading import batches_of
from twinbench.runtime.process import Process
from twinbench.runtime.stopping import ignore_signals

NEIGHBORS = 20  # DINO eval_knn.py: best k on ImageNet
TEMPERATURE = 0.07  # the same
RESIZE = 8 / 7  # of the crop: 256 for 224


class Monitor:
    """The labelled images, found once, and the accuracy of a backbone on them."""

    def __init__(self, folder: Path, crop: int, process: Process, workers: int) -> None:
        """List the class folders in `folder`; DataError where there are not two classes."""
        names = class_folders(folder)
        if set(names) <= {"train", "val"}:
            raise DataError(f"{folder}: holds {' and '.join(names)}, not classes; give one of them to --monitor")
        self.paths: list[Path] = []
        walk = Walk(folder)
        labels: list[int] = []
        for label, name in enumerate(names):
            found = [folder / name / image for image in walk.images(folder / name)]
            if not found:
                raise DataError(f"{folder / name}: no images in it; expected images of one class; is it complete?")
            self.paths += found
            labels += [label] * len(found)
        if len(names) < 2 or len(self.paths) < 3:
            raise DataError(
                f"{folder}: {len(self.paths)} images of {len(names)} classes; --monitor needs 2 classes, 3 images"
            )
        self.process, self.workers = process, workers
        self.labels = torch.tensor(labels)
        self.transform = transforms.Compose(
            [
                transforms.Resize(round(crop * RESIZE)),
                transforms.CenterCrop(crop),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def accuracy(self, backbone: nn.Module, device: torch.device) -> float:
        """Return the percentage of images whose neighbours vote for their class; all processes share the work."""
        features = functional.normalize(self._features(backbone, device), dim=1)
        labels = self.labels.to(device)
        right = 0
        for rows in torch.arange(len(labels), device=device).split(1024):
            alike = features[rows] @ features.T  # (1024, N)
            alike[torch.arange(len(rows)), rows] = -torch.inf  # not its own neighbour
            near, who = alike.topk(min(NEIGHBORS, len(labels) - 1))
            votes = near.new_zeros(len(rows), int(labels.max()) + 1)
            votes.scatter_add_(1, labels[who], (near / TEMPERATURE).exp())
            right += int((votes.argmax(1) == labels[rows]).sum())
        return 100 * right / len(labels)

    @torch.no_grad()
    def _features(self, backbone: nn.Module, device: torch.device) -> Tensor:
        """Return the features (N, F) of all images, in the order of their paths."""
        rank, world = self.process.rank, self.process.world
        loader = DataLoader(
            ImageDataset(self.paths[rank::world], self.transform),
            batch_size=128,
            num_workers=self.workers,
            worker_init_fn=ignore_signals,
        )
        backbone.eval()
        # None, in more processes than images.
        own = [backbone(images.to(device)).float() for images, _ in batches_of(loader)]
        backbone.train()
        if world == 1:
            return torch.cat(own)
        parts: list[Tensor | None] = [None] * world
        dist.all_gather_object(parts, torch.cat(own).cpu() if own else torch.empty(0))
        assert parts[0] is not None
        features = torch.empty(len(self.paths), parts[0].shape[1], device=device)
        for other, part in enumerate(parts):
            if part is not None and len(part):
                features[other::world] = part.to(device)
        return features
