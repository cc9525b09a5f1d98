"""What a dense trial takes beside what every trial does."""

from dataclasses import dataclass
from typing import Annotated, Literal

from twinbench.runtime.options import Option

Search = Literal["exact", "faiss"]


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
