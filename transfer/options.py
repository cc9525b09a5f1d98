"""What a classification trial takes beside what every trial does."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from twinbench.runtime.cache import named_cache
from twinbench.runtime.options import Option

SolverName = Literal["batched", "liblinear"]


@dataclass(frozen=True)
class Options:
    """The options of `twinbench transfer`, and of `twinbench.evaluate` on a classification protocol."""

    solver: Annotated[SolverName, Option("of the SVM protocols (default batched)")] = "batched"
    list: Annotated[
        Path | None,
        Option(
            "imagenet-1pct, imagenet-10pct: SimCLR's list of their training images (default: the one in DATA; "
            "`twinbench data lists FOLDER` fetches both)",
            "FILE",
        ),
    ] = None
    targets: Annotated[
        Path | None,
        Option(
            "low-shot: samples drawn by others, a folder of *_sample{s}_k{k}.npy files or an .npz with sample{s}_k{k} "
            "arrays, as published for VOC07 (default: draw them from the seed)",
            "PATH",
        ),
    ] = None
    head: Annotated[
        Path | None,
        Option(
            "what tests a trained head: the folder of the finished trial that trained it, on this backbone", "TRIAL"
        ),
    ] = None
    deterministic: Annotated[
        bool,
        Option("have a GPU repeat every bit, too, so that a run that was killed ends with the same numbers; slower"),
    ] = False
    partial: Annotated[bool, Option("go on with incomplete data or another list; the row is marked")] = False
    cache: Annotated[
        Path | None,
        Option(
            "keep features there for every protocol that shares them (default: $TWINBENCH_CACHE; else they are in "
            "OUT/features until the result is written)",
            "DIR",
        ),
    ] = field(default_factory=named_cache)
