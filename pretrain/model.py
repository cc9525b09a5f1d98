"""The network of Barlow Twins: a ResNet-50, a projector, and the last batch norm, which the loss applies itself.

Ablations leave out the projector's batch norm, put a predictor behind one view's projector, or hold the other view's
branch back from the gradient.
"""

import torch
from torch import Tensor, nn

from twinbench.convert.architectures.resnet import ResNet50
from twinbench.protocols.pretraining import PretrainRecipe


class BarlowTwins(nn.Module):
    """Two views in, two embeddings out; tensors are named as in Barlow Twins' main.py.

    `bn` only follows the embeddings' statistics, for the checkpoint's sake: the loss normalises over all processes.
    """

    def __init__(self, recipe: PretrainRecipe) -> None:
        super().__init__()
        self.backbone = ResNet50(recipe.width, zero_init_residual=recipe.zero_init_residual)
        self.projector = _layers(self.backbone.features, recipe.projector, normed=recipe.projector_norm)
        self.predictor = _layers(recipe.projector[-1], recipe.predictor) if recipe.predictor else nn.Identity()
        self.stop_gradient = recipe.stop_gradient
        self.bn = nn.BatchNorm1d(recipe.projector[-1], affine=False)

    def forward(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Tensor]:
        """Map two views (n, 3, S, S) to embeddings (n, D); each passes alone, so batch statistics are per view."""
        z1 = self.predictor(self.projector(self.backbone(view1)))
        z2 = self.projector(self.backbone(view2))
        if self.stop_gradient:
            z2 = z2.detach()
        with torch.no_grad(), torch.autocast(z1.device.type, enabled=False):
            self.bn(z1.float())
            self.bn(z2.float())
        return z1, z2


def _layers(features: int, sizes: tuple[int, ...], *, normed: bool = True) -> nn.Sequential:
    """Build linear layers without bias, with ReLU between them and, if `normed`, batch norm before it."""
    layers: list[nn.Module] = []
    for size in sizes[:-1]:
        norm = [nn.BatchNorm1d(size)] if normed else []
        layers += [nn.Linear(features, size, bias=False), *norm, nn.ReLU(inplace=True)]
        features = size
    return nn.Sequential(*layers, nn.Linear(features, sizes[-1], bias=False))
