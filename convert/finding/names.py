"""How other libraries name the tensors of a ResNet-50: one rule each, from torchvision's name to theirs.

Every rule is a bijection on the 265 tensors of the backbone (318 with `num_batches_tracked`), and some change a layout
of values: Haiku stores convolutions as (height, width, in, out) and batch norms as (1, 1, 1, channels).
"""

import re
from collections.abc import Sequence

from torch import Tensor

from twinbench.convert.files import CheckpointError
from twinbench.convert.finding.naming import Naming

_BLOCK = re.compile(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)")
_STEM = re.compile(r"(conv|bn)1\.(\w+)")


def detectron2_name(name: str) -> str:
    """Return Detectron2's name: layer1.0.bn2.bias -> res2.0.conv2.norm.bias (facts: MoCo's converter)."""
    if stem := _STEM.fullmatch(name):
        return f"stem.conv1.{'norm.' if stem[1] == 'bn' else ''}{stem[2]}"
    stage, block, kind, number, slot = _parts(name)
    part = "shortcut" if kind == "downsample." else f"conv{number}"
    norm = "norm." if kind == "bn" or (kind, number) == ("downsample.", "1") else ""
    return f"res{stage + 1}.{block}.{part}.{norm}{slot}"


def caffe2_name(name: str) -> str:
    """Return Caffe2's blob: layer1.0.bn2.bias -> res2_0_branch2b_bn_b (Goyal et al. 2019)."""
    slots = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}  # riv holds the variance
    if stem := _STEM.fullmatch(name):
        return "conv1_w" if stem[1] == "conv" else f"res_conv1_bn_{slots.get(stem[2], stem[2])}"
    stage, block, kind, number, slot = _parts(name)
    branch = "branch1" if kind == "downsample." else f"branch2{'abc'[int(number) - 1]}"
    is_norm = kind == "bn" or (kind, number) == ("downsample.", "1")
    return f"res{stage + 1}_{block}_{branch}_{'bn_' + slots.get(slot, slot) if is_norm else 'w'}"


def haiku_name(name: str) -> str:
    """Return Haiku's name: layer1.0.bn2.bias -> block_group_0/~/block_0/~/batchnorm_1/offset (BYOL)."""
    slots = {
        "weight": "scale",
        "bias": "offset",
        "running_mean": "~/mean_ema/average",
        "running_var": "~/var_ema/average",
    }
    if stem := _STEM.fullmatch(name):
        return "initial_conv/w" if stem[1] == "conv" else f"initial_batchnorm/{slots.get(stem[2], stem[2])}"
    stage, block, kind, number, slot = _parts(name)
    is_norm = kind == "bn" or (kind, number) == ("downsample.", "1")
    part = "shortcut_" if kind == "downsample." else ""
    index = "" if kind == "downsample." else f"_{int(number) - 1}"
    tail = f"batchnorm{index}/{slots.get(slot, slot)}" if is_norm else f"conv{index}/w"
    return f"block_group_{stage - 1}/~/block_{block}/~/{part}{tail}"


def sequential_name(name: str) -> str:
    """Return OBoW's name: conv1.weight -> 0.Conv.weight, layer1.0.bn2.bias -> 1.0.bn2.bias (feature_extractor.py)."""
    if stem := _STEM.fullmatch(name):
        return f"0.{'Conv' if stem[1] == 'conv' else 'bn'}.{stem[2]}"
    return name.removeprefix("layer")


def _parts(name: str) -> tuple[int, str, str, str, str]:
    """Split layer1.0.bn2.bias into stage, block, kind, number, slot."""
    match = _BLOCK.fullmatch(name)
    if match is None:
        raise LookupError(name)
    return int(match[1]), match[2], match[3], match[4], match[5]


def children_name(name: str) -> str:
    """Return the name in `nn.Sequential(*resnet.children())`: conv1 is 0, bn1 1, layer1 to layer4 4 to 7."""
    return _numbered(name, 3)


def without_pool_name(name: str) -> str:
    """Return the same where max-pooling was left out (leftthomas/SimCLR): layer1 to layer4 are 3 to 6."""
    return _numbered(name, 2)


def _without_pool(name: str, parts: Sequence[Tensor]) -> Tensor:
    """Refuse the values: such files mostly fail by their 3 x 3 stem, and with 7 x 7 a pooling would be put in."""
    if not parts[0].is_meta:
        raise CheckpointError(
            "a ResNet in nn.Sequential without its max-pooling, which neither torchvision nor timm has; "
            "measure it as a module, from Python"
        )
    return parts[0]


def _numbered(name: str, before: int) -> str:
    """Return a name whose stage `n` is called n + before."""
    if stem := _STEM.fullmatch(name):
        return f"{0 if stem[1] == 'conv' else 1}.{stem[2]}"
    _parts(name)  # LookupError for what is in no stage
    return f"{int(name[len('layer')]) + before}.{name.partition('.')[2]}"


def transformers_name(name: str) -> str:
    """Return transformers' ResNet name: layer1.0.bn2.bias -> encoder.stages.0.layers.0.layer.1.normalization.bias."""
    if stem := _STEM.fullmatch(name):
        return f"embedder.embedder.{'convolution' if stem[1] == 'conv' else 'normalization'}.{stem[2]}"
    stage, block, kind, number, slot = _parts(name)
    is_norm = kind == "bn" or (kind, number) == ("downsample.", "1")
    part = "shortcut" if kind == "downsample." else f"layer.{int(number) - 1}"
    return f"encoder.stages.{stage - 1}.layers.{block}.{part}.{'normalization' if is_norm else 'convolution'}.{slot}"


def _from_haiku(name: str, parts: Sequence[Tensor]) -> Tensor:
    """Turn (H, W, in, out) into (out, in, H, W), and (1, 1, 1, C) into (C,)."""
    [values] = parts
    if values.ndim == 4 and values.shape[:3] == (1, 1, 1):
        return values.reshape(-1)
    return values.permute(3, 2, 0, 1).contiguous() if values.ndim == 4 else values


_MARKS = ("layer1.0.conv1.weight", "conv1.weight")
TORCHVISION = Naming("torchvision", ("layer1.0.conv1.weight", "layer1.0.conv1.weight"))  # timm's and most authors', too
DETECTRON2 = Naming("Detectron2", _MARKS, detectron2_name, unused=("stem.fc.*",))  # MoCo's converter keeps the head so
# Jigsaw's first of nine branches that share their weights is _s0_.
CAFFE2 = Naming("Caffe2", _MARKS, caffe2_name, tidy=lambda name: name.replace("_s0_", "_"))
HAIKU = Naming("Haiku", _MARKS, haiku_name, _from_haiku, nested=True)
OBOW = Naming("OBoW", _MARKS, sequential_name)
CHILDREN = Naming("nn.Sequential of a ResNet's children", _MARKS, children_name)
WITHOUT_POOL = Naming("nn.Sequential without max-pooling", _MARKS, without_pool_name, _without_pool)
TRANSFORMERS = Naming("transformers", _MARKS, transformers_name)
RESNETS = (TORCHVISION, DETECTRON2, CAFFE2, OBOW, CHILDREN, WITHOUT_POOL, TRANSFORMERS)
