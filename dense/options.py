"""What a dense trial takes beside what every trial does."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from twinbench.protocols.kinds.nearest_patches import Search
from twinbench.runtime.cache import named_cache
from twinbench.runtime.options import Option


@dataclass(frozen=True)
class Options:
    """The options of `twinbench dense`, and of `twinbench.evaluate` on a dense protocol."""

    deterministic: Annotated[
        bool,
        Option("have a GPU repeat every bit, too, so that a run that was killed ends with the same numbers; slower"),
    ] = False
    search: Annotated[
        Search,
        Option("what finds nearest patches: twinbench itself, or faiss (extra `faiss`), by the same rule of ties"),
    ] = "exact"
    cache: Annotated[
        Path | None,
        Option(
            "of patches that are looked up or fitted: keep those of images that are not augmented there for every "
            "protocol that shares them (default: $TWINBENCH_CACHE; else a bank is in OUT/bank until the result is "
            "written)",
            "DIR",
        ),
    ] = field(default_factory=named_cache)
    compress: Annotated[
        bool,
        Option("compress what goes into --cache, without a loss: less on the disk, slower to read"),
    ] = False
