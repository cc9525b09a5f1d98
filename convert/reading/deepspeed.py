"""DeepSpeed's folders: the weights are in `mp_rank_00_model_states.pt`, under the key `module`.

That file lies in the folder of a tag, which the file `latest` names (global_step1000; `pytorch_model` if accelerate
wrote it), or in `checkpoint` (Lightning). With ZeRO stage 3 no file holds whole weights: each rank writes
`zero_pp_rank_N_mp_rank_00_model_states.pt` with empty parameters, and its share of their values with the optimizer's.
"""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from twinbench.convert.files import CheckpointError
from twinbench.convert.reading.contents import Contents, fields
from twinbench.convert.reading.parts import names_in, text_start

WEIGHTS = "mp_rank_00_model_states.pt"
MAX_TAG = 200  # bytes
_STATES = re.compile(r"(zero_pp_rank_\d+_)?mp_rank_\d+_model_states\.pt")


def states_folder(folder: Path) -> Path | None:
    """Return the folder with DeepSpeed's files: this one, Lightning's `checkpoint`, or the one that `latest` names."""
    tag = _tag(folder / "latest")
    for candidate in (folder, folder / "checkpoint", folder / tag):
        if os.path.isdir(candidate) and _states(candidate):
            return candidate
    return None


def _tag(latest: Path) -> str:
    """Return what the file `latest` says; nothing if there is none, or if it is no plain name."""
    tag = text_start(latest, MAX_TAG).strip()
    return tag if re.fullmatch(r"\w[\w.=-]*", tag) else ""


def _states(folder: Path) -> list[str]:
    """Return the names of the files of model states."""
    return list(filter(_STATES.fullmatch, names_in(folder)))


def open_deepspeed(folder: Path, open_file: Callable[[Path], Contents]) -> Contents:
    """Open the file of weights in a folder of model states; CheckpointError where the weights are split."""
    names = _states(folder)
    if WEIGHTS not in names or any(name.startswith("zero_") for name in names):
        raise CheckpointError(
            f"{folder}: DeepSpeed's ZeRO stage 3 has split the weights over {len(names)} files of optimizer states; "
            "expected whole weights; run the zero_to_fp32.py beside it (python zero_to_fp32.py . OUT) and name OUT"
        )
    if len(names) > 1:
        raise CheckpointError(
            f"{folder}: the weights are split over {len(names)} files by model parallelism; expected {WEIGHTS} alone; "
            "gather them with DeepSpeed and save the state dict"
        )
    contents = open_file(folder / WEIGHTS)
    if not fields(fields(contents.tree).get("module")):
        raise CheckpointError(
            f"{contents.name}: no weights under its key 'module', as with pipeline parallelism; gather them with "
            "DeepSpeed and save the state dict"
        )
    return replace(contents, container="deepspeed")
