"""A state dict in several files, with an index of JSON that says which tensor lies in which file.

transformers and accelerate write `model.safetensors.index.json` or `pytorch_model.bin.index.json`:
{"metadata": {...}, "weight_map": {"vit.embeddings.cls_token": "model-00001-of-00002.safetensors", ...}}
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from torch import Tensor

from twinbench.convert.files import CheckpointError
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.parts import part_of, read_json
from twinbench.convert.reading.stored import Stored

MAX_INDEX = 16 << 20  # bytes; 5,000 names take half a megabyte
MAX_SHARDS = 1000  # each is an open file; the largest public vision backbones have ten


def open_sharded(index: Path, open_file: Callable[[Path], Contents]) -> Contents:
    """Open every file that an index names; each must hold exactly the tensors that the index promises."""
    tree: dict[str, Stored] = {}
    size, container = 0, ""
    for file, names in _shards(index).items():
        shard = open_file(part_of(index.parent, file, index.name))
        tensors = shard.tensors(shard.tree)
        _check_names(index, file, names, tensors)
        tree |= {name: _releasing(tensors[name], shard) for name in names}
        size += shard.size
        container = f"{shard.container}-sharded"
    return Contents(str(index), container, tree, size)


def _shards(index: Path) -> dict[str, list[str]]:
    """Return the names of the tensors in each file."""
    found = read_json(index, MAX_INDEX).get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(file, str) for file in found.values()):
        raise CheckpointError(f"{index}: no weight_map of tensors to files in it; expected one; get it again")
    shards: dict[str, list[str]] = {}
    for name, file in found.items():
        shards.setdefault(file, []).append(name)
    if len(shards) > MAX_SHARDS:
        raise CheckpointError(f"{index}: names {len(shards):,} files; expected at most {MAX_SHARDS:,}; refused")
    return shards


def _check_names(index: Path, file: str, promised: Iterable[str], held: Iterable[str]) -> None:
    """Raise if a file holds other tensors than the index says: a half-replaced folder would mix two checkpoints."""
    for name in sorted({*promised} ^ {*held}):
        fault = "lacks" if name in promised else "also holds"
        raise CheckpointError(
            f"{index}: {file[:80]} {fault} {name[:80]!r}, unlike the index; the folder mixes two checkpoints: get it "
            "again"
        )


def _releasing(stored: Stored, shard: Contents) -> Stored:
    """Return a tensor whose fetching first gives back the pages of its file that were read before.

    Its place is one in that file: each of them calls its storages 0, 1, 2.
    """

    def fetch() -> Tensor:
        shard.release()
        return stored.fetch()

    place = stored.place and (shard.name, stored.place)
    return Stored(stored.shape, stored.dtype, fetch, place)
