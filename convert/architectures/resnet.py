"""The ResNet-50 trunk that every room shares: torchvision's names, any width, no classifier."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from twinbench.convert.architectures.shapes import STAGES
from twinbench.convert.architectures.trunk import MAPS, POOLED, Trunk


class ResNet50(Trunk):
    """A ResNet-50 backbone with torchvision's 318 tensor names, all channel counts multiplied by `width`.

    At width 1 it is torchvision's `resnet50` without `fc`, to the bit. `features` is the size of its output.
    """

    offers = frozenset({POOLED, MAPS})

    def __init__(self, width: float = 1.0, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        self.name = "resnet50"
        channels = round(64 * width)
        self.features = 4 * round(STAGES[-1][0] * width)
        self.conv1 = nn.Conv2d(3, channels, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        for number, (planes, blocks) in enumerate(STAGES, start=1):
            stage = _stage(channels, round(planes * width), blocks, stride=1 if number == 1 else 2)
            self.add_module(f"layer{number}", stage)
            channels = 4 * round(planes * width)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self._initialize(zero_init_residual)

    def _initialize(self, zero_init_residual: bool) -> None:
        """Initialise as torchvision does: Kaiming normal (fan out), batch norm 1 and 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, Bottleneck):
                    nn.init.zeros_(cast(Tensor, module.bn3.weight))

    def maps(self, images: Tensor, last: int = 4) -> Sequence[Tensor]:
        """Return the outputs of the `last` of res2 to res5, of which res5's is (N, features, H/32, W/32)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # (N, 64 width, H/4, W/4)
        kept: list[Tensor] = []
        for number in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
            if number > len(STAGES) - last:
                kept.append(x)
        return kept

    def stages(self) -> Sequence[nn.Module]:
        """Return res2 to res5."""
        return [self.get_submodule(f"layer{number}") for number in range(1, len(STAGES) + 1)]

    def stem(self) -> nn.Module:
        """Return the first ReLU: its output is (N, 64 width, H/2, W/2)."""
        return self.relu

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to globally averaged features (N, features)."""
        [res5] = self.maps(images, last=1)
        return self.avgpool(res5).flatten(1)


def _stage(channels: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    """Build one stage; its first block changes resolution and width, and so has a projection shortcut."""
    shortcut = nn.Sequential(
        nn.Conv2d(channels, 4 * planes, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(4 * planes)
    )
    first = Bottleneck(channels, planes, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(4 * planes, planes) for _ in range(blocks - 1)))
