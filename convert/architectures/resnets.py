"""ResNets told by their blocks: torchvision's of every depth, width and grouping, timm's with other stems and norms."""

from twinbench.convert.architectures.landmarks import Look
from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.architectures.network import Network, ResNet50Network

STEM = 64  # channels of the first convolution at width 1
MIN_WIDTH, MAX_WIDTH = 1 / 16, 5  # the demo's tests; the widest published (VICReg's and SimCLR's stop at 4)

_DEPTHS = {  # of basic blocks, of bottlenecks: blocks a stage; He et al. 2016, Table 1
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}
_OTHER_BLOCKS = {  # depth, and the first block's 3 x 3 convolution (outputs, inputs of a group): torchvision's name
    (50, (128, 128)): "wide_resnet50_2",
    (101, (128, 128)): "wide_resnet101_2",
    (50, (128, 4)): "resnext50_32x4d",
    (101, (256, 8)): "resnext101_32x8d",
    (101, (256, 4)): "resnext101_64x4d",
}
# timm's endings for stems of three 3 x 3 convolutions: channels of the first, and whether shortcuts average first.
_DEEP_STEMS = {(32, True): "d", (32, False): "c", (64, False): "s", (24, True): "t"}


def resnet_of(look: Look) -> Network | None:
    """Return the ResNet that the tensors under `look` are of; None if they are of something else.

    One that is nearly a ResNet-50 counts as one, so that the proof can say what is wrong with it.
    """
    if look("layer1.0.conv1.weight") is None:
        return None
    depth, inner, stem = _depth(look), look("layer1.0.conv2.weight"), look("conv1.weight")
    if look("conv1.0.weight") is not None:
        return _with_deep_stem(look, depth)
    if look("bn1.weight") is not None and look("bn1.running_mean") is None and depth == 50:
        return LibraryNetwork("timm", "resnet50_gn")
    grouped = _OTHER_BLOCKS.get((depth, inner[:2])) if inner and depth else None
    if grouped and stem and stem[0] == STEM:
        return LibraryNetwork("torchvision", grouped)
    if depth in (18, 34, 101, 152):
        return LibraryNetwork("torchvision", f"resnet{depth}")
    norm = look("bn1.weight")
    width = norm[0] / STEM if norm else 1.0
    return ResNet50Network(width) if MIN_WIDTH <= width <= MAX_WIDTH else ResNet50Network()


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


def _with_deep_stem(look: Look, depth: int | None) -> Network | None:
    """Return timm's ResNet with a stem of three convolutions."""
    first = look("conv1.0.weight")
    ending = (
        _DEEP_STEMS.get(
            (
                first[0],
                look("layer2.0.downsample.1.weight") is not None and look("layer2.0.downsample.0.weight") is None,
            )
        )
        if first
        else None
    )
    return LibraryNetwork("timm", f"resnet{depth}{ending}") if ending and depth else None
