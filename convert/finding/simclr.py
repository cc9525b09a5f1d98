"""Google's SimCLR (v1 and v2): how its TensorFlow checkpoints name and shape a ResNet.

tf.layers numbers convolutions and batch norms as they are made (google-research/simclr, resnet.py): the stem, then
block by block the projection shortcut, where there is one, before the block's three. Each convolution is followed by
its batch norm, so that both have one count: conv2d_7 is normalised by batch_normalization_7.
"""

import re
from collections.abc import Sequence
from functools import partial

from torch import Tensor

from twinbench.convert.finding.naming import Naming

RESNET50, RESNET101, RESNET152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)  # blocks of each stage
SLOTS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_STEM = re.compile(r"(conv|bn)1\.(\w+)")
_CONVOLUTION = re.compile(r"layer(\d)\.(\d+)\.(?:conv(\d)|downsample\.0)\.(\w+)")
_NORM = re.compile(r"layer(\d)\.(\d+)\.(?:bn(\d)|downsample\.1)\.(\w+)")


def simclr_name(name: str, blocks: tuple[int, ...] = RESNET50) -> str:
    """Return SimCLR's name: layer1.0.bn2.bias -> batch_normalization_3/beta."""
    if stem := _STEM.fullmatch(name):
        return "conv2d/kernel" if stem[1] == "conv" else f"batch_normalization/{SLOTS.get(stem[2], stem[2])}"
    convolution, norm = _CONVOLUTION.fullmatch(name), _NORM.fullmatch(name)
    match = convolution or norm
    if match is None or int(match[2]) >= blocks[int(match[1]) - 1]:  # else its count would be another layer's
        raise LookupError(name)
    stage, block, number = int(match[1]), int(match[2]), int(match[3] or 0)
    blocks_before = sum(blocks[: stage - 1]) + block
    # The stem, three for each block, and a shortcut for each stage: this one's comes before its first convolution.
    count = 3 * blocks_before + stage + number
    return f"conv2d_{count}/kernel" if convolution else f"batch_normalization_{count}/{SLOTS.get(match[4], match[4])}"


def simclr_tf2_name(name: str) -> str:
    """Return the TensorFlow 2 code's name: layer1.0.bn2.bias -> block_groups/0/layers/0/conv_relu_.../4/bn/beta.

    Its lists hold more than layers with weights: an identity follows the stem, a DropBlock each of a block's three.
    """
    if stem := _STEM.fullmatch(name):
        tail = "0/conv2d/kernel" if stem[1] == "conv" else f"2/bn/{SLOTS.get(stem[2], stem[2])}"
        return f"initial_conv_relu_max_pool/{tail}"
    convolution, norm = _CONVOLUTION.fullmatch(name), _NORM.fullmatch(name)
    match = convolution or norm
    if match is None:
        raise LookupError(name)
    at = 3 * (int(match[3]) - 1) if match[3] else 0
    where = "conv_relu_dropblock_layers" if match[3] else "projection_layers"
    tail = f"{at}/conv2d/kernel" if convolution else f"{at + 1}/bn/{SLOTS.get(match[4], match[4])}"
    return f"block_groups/{int(match[1]) - 1}/layers/{match[2]}/{where}/{tail}"


def from_tensorflow(name: str, parts: Sequence[Tensor]) -> Tensor:
    """Turn a convolution's (H, W, in, out) into (out, in, H, W)."""
    [values] = parts
    return values.permute(3, 2, 0, 1).contiguous() if values.ndim == 4 else values


_MARKS = ("layer1.0.conv1.weight", "conv1.weight")
_SLOTS = ("*/Momentum", "*/.OPTIMIZER_SLOT/*")  # the optimizer's, one for each variable
SIMCLR = tuple(
    Naming(f"SimCLR's, ResNet-{depth}", _MARKS, partial(simclr_name, blocks=blocks), from_tensorflow, unused=_SLOTS)
    for depth, blocks in ((50, RESNET50), (101, RESNET101), (152, RESNET152))
)
SIMCLR_TF2 = Naming("SimCLR's, TensorFlow 2", _MARKS, simclr_tf2_name, from_tensorflow, unused=_SLOTS)
