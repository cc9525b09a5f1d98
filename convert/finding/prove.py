"""Proving a backbone complete: every tensor there, of the right shape and type, finite, and trained."""

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from twinbench.convert.architectures.shapes import COUNTER, expected_shapes
from twinbench.convert.files import CheckpointError
from twinbench.convert.reading.stored import Stored

MAX_CHANNELS = 320  # width 5, the widest published
MIN_CHANNELS = 4
NAMED = 4  # how many tensors of one kind an error names


def width_of(conv1: Stored, name: str) -> float:
    """Return the width that the first convolution tells: its channels divided by 64."""
    channels = conv1.shape[0] if len(conv1.shape) == 4 else 0
    if conv1.shape[1:] != (3, 7, 7) or not MIN_CHANNELS <= channels <= MAX_CHANNELS:
        raise CheckpointError(
            f"{name}: its first convolution has shape {shape_text(conv1.shape)}, expected C x 3 x 7 x 7 with "
            f"C = 64 times the width, {MIN_CHANNELS} to {MAX_CHANNELS}; this is not a plain ResNet-50"
        )
    return channels / 64


def differences(found: Mapping[str, Stored], width: float, others: Sequence[str] = ()) -> list[str]:
    """Return what is wrong with the tensors `found` under torchvision's names, one phrase for each kind of fault.

    `others` are names of which one may be a missing tensor misspelled.

    The counters `num_batches_tracked` may be left out, all of them: no forward pass in eval mode uses them, and the
    writers of Detectron2, Haiku and Caffe2 files have none.
    """
    expected = expected_shapes(width)
    if not any(name.endswith(COUNTER) for name in found):
        expected = {name: shape for name, shape in expected.items() if not name.endswith(COUNTER)}
    missing: list[str] = []
    misshapen: list[str] = []
    mistyped: list[str] = []
    for name, shape in expected.items():
        tensor = found.get(name)
        if tensor is None:
            missing.append(_nearest(name, others) if len(missing) < NAMED else name)
            continue
        if tensor.shape != shape:
            misshapen.append(f"{name} is {shape_text(tensor.shape)}, expected {shape_text(shape)}")
        dtype = torch.int64 if name.endswith(COUNTER) else torch.float32
        if tensor.dtype != dtype:
            mistyped.append(f"{name} is {str(tensor.dtype).removeprefix('torch.')}")
    return [
        *listed("missing", missing),
        *listed("misshapen", misshapen),
        *listed("not float32 (int64 for counters)", mistyped),
    ]


def check_values(tensors: Iterable[tuple[str, Tensor]], name: str) -> None:
    """Refuse values that no training leaves behind: NaN, infinity, a negative variance or counter."""
    broken: list[str] = []
    negative: list[str] = []
    for key, values in tensors:
        if not torch.isfinite(values).all():
            broken.append(key)
        elif key.endswith(("running_var", COUNTER)) and (values < 0).any():
            negative.append(key)
    faults = [*listed("not finite", broken), *listed("negative", negative)]
    if faults:
        raise CheckpointError(f"{name}: {'; '.join(faults)}; the run diverged or the file is damaged")


def check_trained(state_dict: Mapping[str, Tensor], name: str, *, folded: bool) -> None:
    """Refuse a backbone that looks freshly initialised.

    A fresh ResNet-50 has batch norms of weight 1 (or 0) and bias 0, and statistics 0 and 1. The first optimizer step
    with a learning rate moves the former, the first forward pass in train mode the latter, so that a pretraining of two
    steps passes. `folded`: statistics of exactly 0 and 1 are right when they are part of weight and bias.
    """

    norms = [key.removesuffix(".running_mean") for key in state_dict if key.endswith(".running_mean")]

    def all_are(slot: str, *values: float) -> bool:
        return all(torch.isin(state_dict[norm + slot], torch.tensor(values)).all() for norm in norms)

    if all_are(".weight", 0.0, 1.0) and all_are(".bias", 0.0):
        raise CheckpointError(
            f"{name}: a freshly initialised backbone: no optimizer step has moved its batch norms; "
            "use the trained file, or ask for the backbone 'random' by name"
        )
    if not folded and all_are(".running_mean", 0.0) and all_are(".running_var", 1.0):
        raise CheckpointError(
            f"{name}: its batch-norm statistics are those of a fresh model (mean 0, variance 1) although its weights "
            "have moved: they were not saved, or the model never ran in train mode; features would be meaningless"
        )


def identity(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the sha256 of the 265 tensors' names, types, shapes and bytes in torchvision's order.

    The same weights have the same identity in any container and layout. The counters do not take part: some layouts
    have none, and no feature depends on them.
    """
    digest = hashlib.sha256()
    for name, values in tensors:
        if not name.endswith(COUNTER):
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
            digest.update(values.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def architecture(names: Iterable[str]) -> str | None:
    """Return which other ResNet the names under torchvision's spelling belong to, or None if they fit a ResNet-50."""
    names = set(names)
    if "layer1.0.conv2.weight" in names and "layer1.0.conv3.weight" not in names:
        return "a ResNet-34" if "layer3.5.conv1.weight" in names else "a ResNet-18"
    if "layer3.35.conv1.weight" in names:
        return "a ResNet-200" if "layer2.23.conv1.weight" in names else "a ResNet-152"
    if "layer3.22.conv1.weight" in names:
        return "a ResNet-101"
    return None


def listed(what: str, items: list[str], limit: int = NAMED) -> list[str]:
    """Return `["2 missing: a, b"]`, or nothing for no items; only the first few are named."""
    if not items:
        return []
    named = ", ".join(item[:120] for item in items[:limit])
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return [f"{len(items)} {what}: {named}{more}"]


def shape_text(shape: tuple[int, ...]) -> str:
    """Return `64 x 3 x 7 x 7`, short whatever a file declares."""
    return " x ".join(map(str, shape))[:60] or "a single number"


def _nearest(name: str, others: Sequence[str]) -> str:
    """Return a missing name with the nearest name that is there instead."""
    near = difflib.get_close_matches(name, others[:1000], n=1, cutoff=0.75)
    return f"{name} (nearest: {near[0]})" if near else name
