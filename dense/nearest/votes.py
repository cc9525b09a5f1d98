"""The most frequent of labels, as torch.mode has it: of equally frequent ones no label first, then the lower class.

Letters: P patches of an image, L pixels of a patch, k neighbours.
"""

import torch
from torch import Tensor

VOTED = 256  # patches whose pixels' votes are counted at once


def modes(labels: Tensor, classes: int) -> Tensor:
    """Return the most frequent of each patch's labels (P, L), (P,)."""
    return _voted(labels[:, :, None], classes)[:, 0]


def labelled(labels: Tensor, classes: int) -> Tensor:
    """Return the numbers of the patches with labels (P, L) most of whose pixels have a label, or the most of a class.

    That there is no label, the number of classes, comes before all classes where both are as frequent.
    """
    return (modes(labels, classes) != classes).nonzero()[:, 0]


def votes(labels: Tensor, classes: int) -> Tensor:
    """Return what most of the k neighbours' labels (P, k, L) say for each pixel, (P, L)."""
    parts = [_voted(part, classes) for part in labels.split(VOTED)]
    return torch.cat(parts)


def _voted(labels: Tensor, classes: int) -> Tensor:
    """Return the most frequent of labels (P, n, L) along n; of equal ones no label first, then the lower class."""
    here, pixels = len(labels), labels.shape[2]
    numbers = (labels.long() + 1) % (classes + 1)  # no label, the number of classes, is 0
    places = torch.arange(here * pixels, device=labels.device).view(here, 1, pixels) * (classes + 1)
    counts = torch.bincount((numbers + places).flatten(), minlength=here * pixels * (classes + 1))
    most = counts.view(here, pixels, classes + 1).argmax(2)
    return (most + classes) % (classes + 1)
