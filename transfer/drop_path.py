"""Blocks of a transformer that are left out for some images in training (drop path, stochastic depth).

timm draws in each forward pass from the device's generator, so that the numbers of a run would depend on how many
processes share the batch, and those of a killed one on where it went on. Here they are drawn for the global batch, as a
function of (seed, epoch, step), and each process takes what belongs to its images.
"""

import torch
from torch import Tensor, nn

from twinbench.runtime.process import Process
from twinbench.runtime.seeds import generator

RATES = {"DropPath": "drop_prob", "StochasticDepth": "p"}  # by timm's and torchvision's class, where its rate stands
DROPPING = 2  # what these draws are for, among a trial's


class DropPath(nn.Module):
    """A branch that is left out for some images of a batch, and stronger by as much for the others."""

    def __init__(self, rate: float) -> None:
        """Take the share of images that it is left out for."""
        super().__init__()
        self.rate = rate
        self.factors = torch.ones(0)  # of the images that come next (N,)

    def forward(self, branch: Tensor) -> Tensor:
        """Scale what is to be added (N, ...)."""
        if not self.training:
            return branch
        assert len(self.factors) == len(branch), f"factors for {len(self.factors)} of {len(branch)} images"
        return branch * self.factors.to(branch.dtype).view(-1, *[1] * (branch.ndim - 1))


class DropPaths:
    """All of them in a trunk, in its order."""

    def __init__(self, trunk: nn.Module) -> None:
        """Put ours in the places of timm's and torchvision's."""
        self.paths: list[DropPath] = []
        for name, module in list(trunk.named_modules()):
            if type(module).__name__ in RATES:
                parent, _, attribute = name.rpartition(".")
                self.paths.append(DropPath(float(getattr(module, RATES[type(module).__name__]))))
                setattr(trunk.get_submodule(parent), attribute, self.paths[-1])

    def drawn(self, images: int, batch_size: int, place: tuple[int, int, int], process: Process) -> Tensor:
        """Return the factors (paths, images) of this process's `images` of a batch, by its (seed, epoch, step)."""
        seed, epoch, step = place
        rates = torch.tensor([path.rate for path in self.paths], dtype=torch.float64)[:, None]
        draws = torch.from_numpy(generator(seed, DROPPING, epoch, step).random((len(self.paths), batch_size)))
        factors = (draws >= rates) / (1 - rates)
        return factors.float()[:, process.rank :: process.world][:, :images].to(process.device)

    def use(self, factors: Tensor) -> None:
        """Have the next images be scaled by these (paths, N)."""
        for path, own in zip(self.paths, factors, strict=True):
            path.factors = own
