"""From a file to a proven backbone: open it, find the backbone, fetch its values, check them; or say why not."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from twinbench.convert.architectures.network import is_counter
from twinbench.convert.backbone import Backbone
from twinbench.convert.convention import InputConvention
from twinbench.convert.conventions import convention_of
from twinbench.convert.files import CheckpointError
from twinbench.convert.finding import prove
from twinbench.convert.finding.find import Found, Wanted, find
from twinbench.convert.note import noted
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.reader import open_checkpoint


def load_backbone(
    path: Path | str,
    layout: str | None = None,
    drop: Sequence[str] = (),
    *,
    convention: InputConvention | None = None,
    cast: bool = False,
) -> Backbone:
    """Read the checkpoint `path`, of any known layout, container and architecture, and prove its backbone.

    `layout` chooses one backbone of several (`dino-full:student`), or a place in the file as KEYS/PREFIX
    (`state_dict/net.trunk.`); `drop` adds shell patterns of tensors that may lie beside it; `convention` replaces what
    is known of its input; `cast` allows to round values of 64 bits to 32. Raises CheckpointError.
    """
    contents = open_checkpoint(path)
    wanted = Wanted(layout, drop, noted(contents).network)
    return take(contents, find(contents, wanted), convention=convention, cast=cast)


def take(
    contents: Contents, found: Found, *, convention: InputConvention | None = None, cast: bool = False
) -> Backbone:
    """Fetch the values of the backbone that was found, check them, and return it."""
    needed = sum(tensor.nbytes for tensor in found.tensors.values())
    if needed > contents.size:
        raise CheckpointError(f"{contents.name}: declares {needed:,} bytes of backbone in a file of {contents.size:,}")
    known, known_from = convention_of(contents, found, convention)
    state_dict: dict[str, Tensor] = {}
    types: set[str] = set()
    for name, shape in found.network.shapes().items():
        if is_counter(name):
            state_dict[name] = _counter(found, name)
            continue
        tensor = found.tensors[name]
        state_dict[name] = _float32(tensor.fetch(), name, contents.name, cast)
        if tensor.dtype not in (torch.float32, torch.int64):
            types.add(prove.dtype_text(tensor.dtype))
        assert tuple(state_dict[name].shape) == shape
        contents.release()
    prove.check_values(state_dict, contents.name)
    prove.check_trained(state_dict, contents.name, folded=found.layout.folded)
    return Backbone(
        state_dict,
        found.label,
        found.prefix,
        prove.identity(state_dict),
        found.network,
        known,
        known_from,
        contents.name,
        ", ".join(sorted(types)),
    )


def _counter(found: Found, name: str) -> Tensor:
    """Return a batch counter; where there is none, or no whole number, 0."""
    tensor = found.tensors.get(name)
    is_there = tensor is not None and tensor.dtype == torch.int64 and tensor.shape == ()
    return tensor.fetch().clone() if tensor is not None and is_there else torch.zeros((), dtype=torch.int64)


def _float32(values: Tensor, name: str, file: str, cast: bool) -> Tensor:
    """Return a copy in float32, which holds every number of 16 bits; those of 64 bits only if nothing is lost."""
    if not values.is_floating_point():
        return values.clone()
    found = values.to(torch.float32, copy=True)
    if values.dtype == torch.float64 and not cast and not torch.equal(found.double(), values):
        raise CheckpointError(
            f"{file}: {name} holds numbers of 64 bits that 32 bits cannot; round them with twinbench convert --cast"
        )
    return found
