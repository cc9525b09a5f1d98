"""Google's SimCLR (v1 and v2): how its TensorFlow checkpoints name and shape a ResNet.

tf.layers numbers convolutions and batch norms as they are made (google-research/simclr, resnet.py): the stem, then
block by block the projection shortcut, where there is one, before the block's three. Each convolution is followed by
its batch norm, so that both have one count: conv2d_7 is normalised by batch_normalization_7.
"""

import re

from torch import Tensor

from twinbench.convert.convention import UNIT
from twinbench.convert.finding.layouts import Layout
from twinbench.convert.finding.names import Naming

RESNET50 = (3, 4, 6, 3)  # blocks of each stage
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
    assert match, name
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
    assert match, name
    at = 3 * (int(match[3]) - 1) if match[3] else 0
    where = "conv_relu_dropblock_layers" if match[3] else "projection_layers"
    tail = f"{at}/conv2d/kernel" if convolution else f"{at + 1}/bn/{SLOTS.get(match[4], match[4])}"
    return f"block_groups/{int(match[1]) - 1}/layers/{match[2]}/{where}/{tail}"


def from_tensorflow(values: Tensor) -> Tensor:
    """Turn a convolution's (H, W, in, out) into (out, in, H, W)."""
    return values.permute(3, 2, 0, 1).contiguous() if values.ndim == 4 else values


SIMCLR = Naming(simclr_name, from_tensorflow)
SIMCLR_TF2 = Naming(simclr_tf2_name, from_tensorflow)
_BESIDE = ("head_supervised/*", "head_contrastive/*", "global_step")
_TRAINER = ("model/resnet_model/*/.OPTIMIZER_SLOT/*", "optimizer/*", "global_step", "save_counter")  # tf2/run.py
ROWS = (
    Layout(
        "simclr",
        "SimCLR of Google (TensorFlow)",
        (),
        "base_model/",
        (*_BESIDE, "base_model/*/Momentum", "ema_model/*"),  # Momentum: the optimizer's
        naming=SIMCLR,
        convention=UNIT,
    ),
    Layout(
        "simclr",
        "SimCLR v2 of Google (TensorFlow), moving average",
        (),
        "ema_model/base_model/",
        (*_BESIDE, "base_model/*", "ema_model/head_*", "ema_model/base_model/*/Momentum"),
        "ema",
        naming=SIMCLR,
        convention=UNIT,
    ),
    Layout(
        "simclr-tf2",
        "SimCLR of Google (TensorFlow 2)",
        (),
        "model/resnet_model/",
        ("model/_projection_head/*", "model/supervised_head/*", *_TRAINER),
        naming=SIMCLR_TF2,
        convention=UNIT,
    ),
)
