"""ResNets told by their blocks: torchvision's and timm's of every depth, width, grouping and stem.

Some networks have the very names and shapes of these and another forward pass, which no file tells: timm's resnetaa50
and resnetblur50 pool before they stride, CIFAR's have no first pooling. These are opened by name: timm:resnetaa50=FILE.
"""

from twinbench.convert.architectures.landmarks import Look, Shape
from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.architectures.network import Network, ResNet50Network

STEM = 64  # channels of the first convolution at width 1
MIN_WIDTH, MAX_WIDTH = 1 / 16, 5  # the demo's tests; the widest published (VICReg's and SimCLR's stop at 4)

_DEPTHS: dict[
    tuple[str, tuple[int, ...]], int
] = {  # of basic blocks, of bottlenecks: blocks a stage; He et al. 2016, Table 1, and timm's resnet.py
    ("basic", (1, 1, 1, 1)): 10,
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (1, 1, 1, 1)): 14,
    ("bottleneck", (2, 2, 2, 2)): 26,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
    ("bottleneck", (3, 24, 36, 3)): 200,
}
_BLOCKS: dict[
    tuple[int, ...], tuple[str, str]
] = {  # the first block's 3 x 3 convolution, outputs and inputs of a group: what stands around the depth
    (64, 64): ("resnet", ""),
    (128, 128): ("wide_resnet", "_2"),
    (128, 4): ("resnext", "_32x4d"),
    (256, 8): ("resnext", "_32x8d"),
    (512, 16): ("resnext", "_32x16d"),
    (1024, 32): ("resnext", "_32x32d"),
    (256, 4): ("resnext", "_64x4d"),
}
# timm's endings for stems of three 3 x 3 convolutions: channels of the first, and whether shortcuts average first.
_DEEP_STEMS = {(32, True): "d", (32, False): "c", (64, False): "s", (24, True): "t"}

_TORCHVISION = {
    *("resnet18", "resnet34", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
}
_TIMM = {
    *("resnet18d", "resnet34d", "resnet26", "resnet26d", "resnet26t", "resnet10t", "resnet14t", "resnet200"),
    *("resnet50c", "resnet50d", "resnet50s", "resnet50t", "resnet101c", "resnet101d", "resnet101s"),
    *("resnet152c", "resnet152d", "resnet152s", "resnet200d"),
    *("resnext50d_32x4d", "resnext101_32x4d", "resnext101_32x16d", "resnext101_32x32d"),
}


def resnet_of(look: Look) -> Network | None:
    """Return the ResNet that the tensors under `look` are of; None if they are of something else.

    Whatever is nearly one that is known counts as a ResNet-50, so that the proof can say what is wrong with it. So do
    tensors without statistics: they may be a ResNet-50's with group norms (timm's resnet50_gn), but also the bare
    parameters of one with batch norms, as averages of weights are often saved, and no name tells them apart.
    """
    inputs = look("layer1.0.conv1.weight")
    if inputs is None or len(inputs) != 4:
        return None
    name = _name(look)
    if name in _TORCHVISION:
        return LibraryNetwork("torchvision", name)
    if name in _TIMM:
        return LibraryNetwork("timm", name)
    width = inputs[1] / STEM
    return ResNet50Network(width) if MIN_WIDTH <= width <= MAX_WIDTH else ResNet50Network()


def _name(look: Look) -> str:
    """Return what a ResNet of these blocks would be called; whether there is one is another question."""
    inner = look("layer1.0.conv2.weight") or ()
    family, ending = _BLOCKS.get(inner[:2], ("", ""))
    return f"{family}{_depth(look)}{_stem_letter(look)}{ending}"


def _depth(look: Look) -> int | None:
    """Return the number of layers that a ResNet of these blocks is called by."""
    kind = "bottleneck" if look("layer1.0.conv3.weight") else "basic"
    return _DEPTHS.get((kind, tuple(_blocks(look, stage) for stage in range(1, 5))))


def _blocks(look: Look, stage: int) -> int:
    """Count the blocks of a stage."""
    count = 0
    while look(f"layer{stage}.{count}.conv1.weight") is not None:
        count += 1
    return count


def _stem_letter(look: Look) -> str:
    """Return timm's letter for a stem of three convolutions; nothing for one of one convolution."""
    first: Shape | None = look("conv1.0.weight")
    if first is None:
        return ""
    # An average pool has no tensors, and moves the shortcut's convolution and norm from 0 and 1 to 1 and 2.
    averages = look("layer2.0.downsample.2.weight") is not None
    return _DEEP_STEMS.get((first[0], averages), "?")
