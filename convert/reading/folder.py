"""A checkpoint that is a folder: of which kind it is, and what its small files say besides the tensors.

Folders come from transformers, timm and accelerate (config.json, model.safetensors or its shards), from
torch.distributed.checkpoint, from DeepSpeed, and from TensorFlow. In a folder of a trainer's files, the user names one.
"""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twinbench.convert.files import CheckpointError
from twinbench.convert.reading import tensorflow
from twinbench.convert.reading.containers import ENDINGS
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.deepspeed import open_deepspeed, states_folder
from twinbench.convert.reading.distributed import METADATA, open_distributed
from twinbench.convert.reading.parts import names_in, read_json
from twinbench.convert.reading.sharded import open_sharded

INDEX = ".index.json"
# In the order in which transformers looks for them; those of open_clip lie beside others for timm.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors" + INDEX,
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin" + INDEX,
    "open_clip_pytorch_model.bin",
    "pytorch_model_fsdp.bin",  # accelerate, FSDP's full state dict
)
FSDP = "pytorch_model_fsdp_0"  # accelerate's folder in a folder, torch.distributed.checkpoint
HINTS = {"config": "config.json", "preprocessor": "preprocessor_config.json", "open_clip": "open_clip_config.json"}
MAX_HINT = 1 << 20  # bytes
WEIGHT_ENDINGS = (".safetensors", ".bin", ".npz", *ENDINGS)
_SECOND_MODEL = re.compile(r"model_1\.safetensors|pytorch_model_1\.bin|pytorch_model_fsdp_1")
_PIECE = re.compile(r"shard-\d+-model-.*\.safetensors")
_SHOWN = 5


def open_named(path: Path, open_file: Callable[[Path], Contents]) -> Contents:
    """Open a folder, an index of shards, or any other file, the last with `open_file`."""
    if os.path.isdir(path):
        return _open_folder(path, open_file)
    if path.name == METADATA or path.suffix == ".distcp":
        raise CheckpointError(f"{path}: a part of a distributed checkpoint; name its folder: {path.parent}")
    if path.name in WEIGHTS:
        return _with_hints(path, open_file)
    return open_file(path)


def _open_folder(folder: Path, open_file: Callable[[Path], Contents]) -> Contents:
    """Open the checkpoint that a folder is."""
    names = names_in(folder)
    second = next(filter(_SECOND_MODEL.fullmatch, names), None)
    if second:
        raise CheckpointError(f"{folder}: a folder with several models ({second}); expected one; name one of the files")
    for name in WEIGHTS:
        if name in names:
            return _with_hints(folder / name, open_file)
    for candidate in (folder, folder / FSDP):
        if os.path.lexists(candidate / METADATA):
            return open_distributed(candidate)
    states = states_folder(folder)
    if states:
        return open_deepspeed(states, open_file)
    index = tensorflow.is_bundle(folder)  # last: some models' folders hold TensorFlow's original too
    if index:
        return tensorflow.open_bundle(index)
    raise CheckpointError(_no_checkpoint(folder, names))


def _with_hints(path: Path, open_file: Callable[[Path], Contents]) -> Contents:
    """Open a file of a model's folder, or the shards of its index, with what the files beside it say."""
    contents = open_sharded(path, open_file) if path.name.endswith(INDEX) else open_file(path)
    hints: dict[str, Any] = {}
    for key, name in HINTS.items():
        if os.path.lexists(path.with_name(name)):
            hints[key] = read_json(path.with_name(name), MAX_HINT)
    return replace(contents, hints=hints)


def _no_checkpoint(folder: Path, names: list[str]) -> str:
    """Return what a folder holds instead, with the name of a file to give."""
    found = [name for name in names if name.endswith(WEIGHT_ENDINGS)]
    if not found:
        return (
            f"{folder}: a folder without a checkpoint; expected {WEIGHTS[0]}, {WEIGHTS[3]} or an index of their "
            f"shards, {METADATA} with .distcp files, or a folder of DeepSpeed or TensorFlow; name the file or folder "
            "that has one"
        )
    if any(map(_PIECE.fullmatch, found)):
        return (
            f"{folder}: a folder with pieces of tensors ({found[0][:80]}), which torch's HuggingFaceStorageWriter left "
            "apart; write it with enable_consolidation=True, or consolidate_safetensors_files"
        )
    if len(found) == 1:
        return f"{folder}: a folder with one checkpoint file in it; name the file: {folder / found[0]}"
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    shown = ", ".join(name[:60] for name in found[:_SHOWN])
    return f"{folder}: a folder with {len(found)} checkpoint files in it; name one of them: {shown}{more}"
