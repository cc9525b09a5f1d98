"""Proving a backbone complete: every tensor there, of the right shape and type, finite, and trained."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from twinbench.convert.architectures.network import is_counter
from twinbench.convert.architectures.shapes import Shapes
from twinbench.convert.files import CheckpointError
from twinbench.convert.reading.stored import Stored

HUGE = 1e19  # float32 ends at 3.4e38: the squares of larger numbers do not exist
DTYPES = {torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64}  # int64: tables of indices
NAMED = 4  # how many tensors of one kind an error names


def differences(found: Mapping[str, Stored], shapes: Shapes, others: Sequence[str] = ()) -> list[str]:
    """Return what is wrong with the tensors `found` of a network of these `shapes`, one phrase for each kind of fault.

    `others` are names of which one may be a missing tensor misspelled. Counters may be missing: no feature depends on
    them, and half precision, averaging and other libraries' writers lose them.
    """
    missing: list[str] = []
    misshapen: list[str] = []
    mistyped: list[str] = []
    for name, shape in shapes.items():
        tensor = found.get(name)
        if is_counter(name):
            continue
        if tensor is None:
            missing.append(_nearest(name, others) if len(missing) < NAMED else name)
            continue
        if tensor.shape != shape:
            misshapen.append(f"{name} is {shape_text(tensor.shape)}, expected {shape_text(shape)}")
        if tensor.dtype not in DTYPES:
            mistyped.append(f"{name} is {dtype_text(tensor.dtype)}")
    return [
        *listed("missing", missing),
        *listed("misshapen", misshapen),
        *listed("of a type that holds no weights (expected floats of 16, 32 or 64 bits)", mistyped),
    ]


def check_values(tensors: Mapping[str, Tensor], name: str) -> None:
    """Refuse values that no training leaves behind.

    NaN and infinity; numbers whose square is beyond float32; variances that are negative, or zero in every channel;
    weights of a layer that are all the same number, as those of a layer that was cleared or never filled are.
    """
    broken: list[str] = []
    huge: list[str] = []
    variances: list[str] = []
    constant: list[str] = []
    for key, values in tensors.items():
        if is_counter(key) or not values.is_floating_point():
            continue
        low, high = values.aminmax()
        if not (torch.isfinite(low) and torch.isfinite(high)):
            broken.append(key)
        elif max(-low, high) > HUGE:
            huge.append(key)
        elif key.endswith("running_var") and (low < 0 or high == 0):
            variances.append(key)
        elif key.endswith("weight") and values.ndim > 1 and values.numel() > 1 and low == high:
            constant.append(key)
    faults = [
        *listed("not finite", broken),
        *listed(f"beyond {HUGE:.0e}", huge),
        *listed("no variances (negative, or all zero)", variances),
        *listed("one and the same number all over", constant),
    ]
    if faults:
        raise CheckpointError(f"{name}: {'; '.join(faults)}; the run diverged or the file is damaged")


def check_trained(state_dict: Mapping[str, Tensor], name: str, *, folded: bool = False) -> None:
    """Refuse a backbone that looks freshly initialised, whole or in part.

    Fresh norms have weight 1 (or 0) and bias 0, and batch norms statistics 0 and 1. The first optimizer step with a
    learning rate moves the former, the first forward pass in train mode the latter, so that a pretraining of two steps
    passes. A network without norms is told by its biases, which most libraries draw as 0. `folded`: statistics of
    exactly 0 and 1 are right when they are part of weight and bias.
    """
    norms = [key.removesuffix(".weight") for key in state_dict if _is_norm(key, state_dict)]
    batch_norms = [norm for norm in norms if f"{norm}.running_mean" in state_dict]

    def is_fresh(norm: str) -> bool:
        return _holds_only(state_dict[f"{norm}.weight"], 0.0, 1.0) and _is_zero(state_dict.get(f"{norm}.bias"))

    def never_ran(norm: str) -> bool:
        mean, variance = state_dict[f"{norm}.running_mean"], state_dict[f"{norm}.running_var"]
        return _is_zero(mean) and _holds_only(variance, 1.0)

    biases = [values for key, values in state_dict.items() if key.endswith("bias")]
    if all(map(is_fresh, norms)) if norms else bool(biases) and all(map(_is_zero, biases)):
        raise CheckpointError(
            f"{name}: a freshly initialised backbone: no optimizer step has moved its {'norms' if norms else 'biases'};"
            " use the trained file, or ask for random weights by name"
        )
    if folded or not batch_norms:
        return
    if all(map(never_ran, batch_norms)):
        raise CheckpointError(
            f"{name}: its batch-norm statistics are those of a fresh model (mean 0, variance 1) although its weights "
            "have moved: they were not saved, or the model never ran in train mode; features would be meaningless"
        )
    left = [norm for norm in batch_norms if is_fresh(norm) and never_ran(norm)]
    if left:
        raise CheckpointError(
            f"{name}: {listed('batch norms are as initialised, the others are trained', left)[0]}; part of the "
            "backbone was never loaded or never trained"
        )


def _is_norm(key: str, state_dict: Mapping[str, Tensor]) -> bool:
    """Say whether a tensor is the weight of a norm: only these have one number a channel."""
    return key.endswith(".weight") and state_dict[key].ndim == 1


def _holds_only(values: Tensor, *allowed: float) -> bool:
    return bool(torch.isin(values, torch.tensor(allowed)).all())


def _is_zero(values: Tensor | None) -> bool:
    return values is None or not values.any()


def identity(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the tensors' names, types, shapes and bytes in the order of the network's state dict.

    The same weights have the same identity in any container and layout. The counters do not take part: some layouts
    have none, and no feature depends on them.
    """
    digest = hashlib.sha256()
    for name, values in tensors.items():
        if not is_counter(name):
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
            digest.update(values.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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


def dtype_text(dtype: object) -> str:
    """Return `float16`."""
    return str(dtype).removeprefix("torch.")


def _nearest(name: str, others: Sequence[str]) -> str:
    """Return a missing name with the nearest name that is there instead."""
    near = difflib.get_close_matches(name, others[:1000], n=1, cutoff=0.75)
    return f"{name} (nearest: {near[0]})" if near else name
